"""`labelwright serve`: which model it serves, and a port that it cannot have."""

import socket
from pathlib import Path

import pytest
from mlflow import MlflowClient

from labelwright.models.paths import tracking_uri
from tests.processes import HOST, Command, Service, free_port

pytest_plugins = ["tests.worlds"]


def test_serve_picks_the_only_champion(service: Service) -> None:
    with service.client() as client:
        model = client.get("/v1/model").json()
    assert (model["name"], model["version"]) == ("small", "1")
    assert model["uri"] == "models:/small@champion"


@pytest.mark.usefixtures("empty_world")
def test_serve_lists_the_choices_when_there_are_two_champions(
    command: Command, bundle: Path
) -> None:
    client = MlflowClient(tracking_uri(), tracking_uri())
    for name in ("cafés", "bars"):
        client.create_registered_model(name)
        client.create_model_version(name, bundle.as_uri())
        client.set_registered_model_alias(name, "champion", "1")
    said = command("serve", "--port", free_port())
    assert said.code == 4
    assert "models:/bars@champion, models:/cafés@champion" in said.err


@pytest.mark.usefixtures("empty_world")
def test_serve_takes_the_model_that_the_environment_names(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELWRIGHT_MODEL", "models:/from-the-environment/7")
    said = command("serve", "--port", free_port())
    assert said.code == 4
    assert "from-the-environment" in said.err


def test_a_port_in_use_is_a_clear_error(command: Command, bundle: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        said = command("serve", "--model", bundle, "--port", port)
    assert said.code == 1
    assert f"cannot listen on {HOST}:{port}: Address already in use" in said.err
