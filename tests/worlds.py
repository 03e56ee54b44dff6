"""Fixtures of end-to-end tests: state folders, an in-process command line, a running service.

Test modules load these fixtures with `pytest_plugins = ["tests.worlds"]`.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from labelwright.__main__ import main
from tests.processes import (
    Command,
    CommandResult,
    FirstVisit,
    Service,
    environment,
    free_port,
    serving,
    spawn,
)

if TYPE_CHECKING:
    from tests.conftest import World


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line, run inside the test process with the test's environment."""

    def run(*arguments: object) -> CommandResult:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return CommandResult(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def first_visit(tmp_path_factory: pytest.TempPathFactory) -> FirstVisit:
    """The result of `serve` in a state folder without a model."""
    home = tmp_path_factory.mktemp("nothing") / "not" / "yet"
    result = spawn("serve", "--port", free_port(), environment=environment(home))
    return FirstVisit(result, home)


@pytest.fixture
def empty_world(home: Path, first_visit: FirstVisit, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`home` with an empty MLflow database, copied because creating the tables needs seconds."""
    home.mkdir()
    shutil.copy(first_visit.home / "mlflow.db", home)
    monkeypatch.delenv("LABELWRIGHT_MODEL", raising=False)
    return home


@pytest.fixture
def trained_world(world: "World", monkeypatch: pytest.MonkeyPatch) -> "World":
    """The shared world, set in the environment of the test process; read-only."""
    monkeypatch.setenv("LABELWRIGHT_HOME", str(world.home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return world


@pytest.fixture(scope="session")
def service(world: "World", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of the shared world without `--model`, shared by all tests of the session."""
    settings = environment(world.home)
    with serving(environment=settings, folder=tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    """A client of the shared service with a long timeout, for busy machines."""
    with service.client() as client:
        client.headers["X-Request-Timeout"] = "60"
        yield client
