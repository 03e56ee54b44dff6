"""`labelwright serve`: the choice of the model, and a port in use."""

import socket
from pathlib import Path

import pytest
from mlflow import MlflowClient

from labelwright.models.paths import tracking_uri
from tests.processes import HOST, Command, Service, free_port

pytest_plugins = ["tests.worlds"]


def test_serve_uses_the_only_champion(service: Service) -> None:
    with service.client() as client:
        model = client.get("/v1/model").json()
    assert (model["name"], model["version"]) == ("small", "1")
    assert model["uri"] == "models:/small@champion"


@pytest.mark.usefixtures("empty_world")
def test_serve_lists_the_champions_if_there_are_several(command: Command, bundle: Path) -> None:
    client = MlflowClient(tracking_uri(), tracking_uri())
    for name in ("cafés", "bars"):
        client.create_registered_model(name)
        client.create_model_version(name, bundle.as_uri())
        client.set_registered_model_alias(name, "champion", "1")
    completed = command("serve", "--port", free_port())
    assert completed.code == 4
    assert "models:/bars@champion, models:/cafés@champion" in completed.err


@pytest.mark.usefixtures("empty_world")
def test_serve_uses_the_model_of_the_environment(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELWRIGHT_MODEL", "models:/from-the-environment/7")
    completed = command("serve", "--port", free_port())
    assert completed.code == 4
    assert "from-the-environment" in completed.err


def test_a_port_in_use_is_a_clear_error(command: Command, bundle: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        completed = command("serve", "--model", bundle, "--port", port)
    assert completed.code == 1
    assert f"cannot listen on {HOST}:{port}: Address already in use" in completed.err
