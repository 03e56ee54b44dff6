"""Missing models, registries and ports: a clear error and its exit code."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient

from labelwright.models.paths import tracking_uri
from tests.labelwright.bad_input.files import text
from tests.labelwright.bad_input.outcomes import CANARY, refused
from tests.processes import HOST, Command, environment, free_port, spawn

if TYPE_CHECKING:
    from tests.conftest import World

pytest_plugins = ["tests.worlds"]


@pytest.mark.usefixtures("trained_world")
@pytest.mark.parametrize(
    "uri",
    [
        "nowhere",
        "/dev/null",
        "runs:/0123456789abcdef0123456789abcdef/model",
        "models:/nobody@champion",
        "models:/nobody/1",
        "models:/small/99",
        "models:/small",
        "models:/small/newest",
        "models:/small@nobody",
        "models:/small@",
        "models:/@champion",
        "models:/small/99999999999999999999",
        "runs:/",
    ],
)
def test_a_missing_model_is_a_clear_error(command: Command, tmp_path: Path, uri: str) -> None:
    source = text(tmp_path / "in.csv", "name\nBar\n")
    refused(command("label", source, tmp_path / "out.csv", "--model", uri), 4, "")
    assert not (tmp_path / "out.csv").exists()


@pytest.fixture
def run_of_the_world(world: "World", home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of the run of the shared model, which is read from another state folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{world.home / 'mlflow.db'}")
    client = MlflowClient(tracking_uri(), tracking_uri())
    return str(client.get_model_version_by_alias("small", "champion").run_id)


def test_a_missing_artifact_of_a_run_is_a_clear_error(
    command: Command, run_of_the_world: str, home: Path, tmp_path: Path
) -> None:
    source = text(tmp_path / "in.csv", "name\nBar\n")
    uri = f"runs:/{run_of_the_world}/nothing"
    completed = command("label", source, tmp_path / "out.csv", "--model", uri)
    assert completed.code == 4
    assert "labelwright: Failed to download artifacts from path 'nothing'" in completed.err
    assert not list(home.glob("cache/*"))


def test_fetching_the_model_of_a_run_prints_nothing_else(
    command: Command, run_of_the_world: str, tmp_path: Path
) -> None:
    source = text(tmp_path / "in.csv", "name\nBar\n")
    output = tmp_path / "out.csv"
    completed = command("label", source, output, "--model", f"runs:/{run_of_the_world}/model")
    assert completed.code == 0
    assert completed.err == f"1 rows -> {output}\n"


@pytest.mark.usefixtures("home")
def test_a_registry_that_is_down_is_reported_within_seconds(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = text(tmp_path / "in.csv", "name,labels\nBar,a\n")
    for variable in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.delenv(variable, raising=False)
    uri = f"http://{HOST}:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    started = time.monotonic()
    refused(command("train", "--data", source), 5, f"the registry at {uri} failed: .*")
    assert time.monotonic() - started < 30


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "arguments",
    [
        ("serve",),
        ("label", "in.csv", "out.csv", "--model", "models:/small@champion"),
        ("evaluate", "--data", "in.csv", "--model", "runs:/0123456789abcdef/model"),
    ],
    ids=" ".join,
)
def test_every_command_reports_a_registry_that_is_down(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    text(tmp_path / "in.csv", "name,labels\nBar,a\n")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{HOST}:{free_port()}")
    refused(command(*arguments), 5, f"the registry at http://{HOST}:")


@pytest.mark.usefixtures("home")
def test_the_password_of_a_registry_is_never_printed(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:{CANARY}@{HOST}:{free_port()}")
    completed = command("serve")
    refused(completed, 5, f"the registry at http://{HOST}:")
    assert CANARY not in completed.err


def test_a_database_that_cannot_be_created_is_named(
    command: Command, empty_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////dev/null/mlflow.db")
    completed = command("serve")
    refused(completed, 6, "/dev/null/mlflow.db")
    assert str(empty_world) not in completed.err


def test_a_port_above_65535_is_a_clear_error(bundle: Path, tmp_path: Path) -> None:
    settings = environment(tmp_path)
    completed = spawn("serve", "--model", bundle, "--port", 65_536, environment=settings)
    assert completed.code in (1, 2)
    assert "Traceback" not in completed.err
