"""Tests that the registry is valid and the next training works after a killed or failed one."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from labelwright.models.paths import tracking_uri
from labelwright.models.registry import load_model
from labelwright.training.tracking import runs, versions
from tests.conftest import BRANDS
from tests.processes import (
    Command,
    CommandResult,
    FirstVisit,
    environment,
    run_signalled,
    spawn,
)
from tests.state_copies import DATABASE, restore

pytest_plugins = ["tests.worlds"]
pytestmark = pytest.mark.integration

STORE = "mlflow.store.model_registry.sqlalchemy_store:SqlAlchemyStore."
TRACKING = "mlflow.store.tracking.sqlalchemy_store:SqlAlchemyStore."
POINTS = [
    (f"{TRACKING}create_run", "after"),
    ("shutil:copy2", "after"),
    (f"{TRACKING}create_logged_model", "after"),
    (f"{TRACKING}finalize_logged_model", "before"),
    (f"{STORE}create_model_version", "before"),
    (f"{STORE}create_model_version", "after"),
    (f"{STORE}set_registered_model_alias", "before"),
    (f"{STORE}set_registered_model_alias", "after"),
]
"""Functions that record and register a model, in order, and the moment of the kill at each."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.parquet"
    pq.write_table(pq.read_table(BRANDS).slice(0, 200), path)
    return path


@pytest.fixture(scope="module")
def champions(
    first_visit: FirstVisit, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A state folder in which `m` has one version, and a copy of this folder."""
    folder = tmp_path_factory.mktemp("champions")
    home, copy = folder / "home", folder / "copy"
    home.mkdir()
    shutil.copy(first_visit.home / DATABASE, home)
    rows = folder / "rows.parquet"
    pq.write_table(pq.read_table(BRANDS).slice(0, 200), rows)
    assert spawn(*arguments(rows), environment=environment(home)).code == 0
    shutil.copytree(home, copy)
    return home, copy


@pytest.fixture
def one_version(champions: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder in which `m` has one version, as it was after the training."""
    home, copy = champions
    restore(copy, home)
    monkeypatch.setenv("LABELWRIGHT_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return home


def arguments(data: Path) -> tuple[object, ...]:
    return ("train", "--data", data, "--name", "m", "--threads", 1)


def registered() -> list[str]:
    """All registered versions. Asserts that each has a verdict and a readable bundle."""
    client = MlflowClient(tracking_uri(), tracking_uri())
    found = client.search_model_versions("name = 'm'")
    for version in found:
        assert versions.VERDICT in version.tags
        assert version.description
        assert load_model(f"models:/m/{version.version}").bundle.labeler
    return sorted(str(version.version) for version in found)


def files(home: Path) -> set[str]:
    """Artifact folders that contain files."""
    kept = (path for path in (home / "artifacts").rglob("*") if path.is_file())
    return {path.relative_to(home / "artifacts").parts[0] for path in kept}


@pytest.mark.parametrize(("place", "moment"), POINTS, ids=lambda value: value.split(".")[-1])
def test_a_killed_training_leaves_a_valid_registry(
    one_version: Path, data: Path, command: Command, place: str, moment: str
) -> None:
    settings = environment(one_version)
    result = run_signalled(place, moment, signal.SIGKILL, *arguments(data), environment=settings)
    assert result.code == -signal.SIGKILL
    champion = load_model("models:/m@champion").version
    assert champion in registered()

    lost = runs.unfinished_runs()
    assert len(lost) == 1
    doctor = command("doctor", "--model", "models:/m@champion")
    assert doctor.code == 0
    assert all(f"{run.run_id} of 'm'" in doctor.out for run in lost)

    again = command(*arguments(data))
    assert again.code == 0
    assert again.err.count("did not finish: `labelwright prune m` deletes it") == len(lost)
    newest = registered()[-1]
    assert load_model("models:/m@champion").version == newest

    assert command("prune", "m", "--keep", 9).code == 0
    assert runs.unfinished_runs() == []
    assert registered()[-1] == load_model("models:/m@champion").version == newest
    client = MlflowClient(tracking_uri(), tracking_uri())
    experiment = client.get_experiment_by_name("m")
    assert experiment is not None
    left = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in left} == {runs.FINISHED}
    assert len(files(one_version)) <= 1 + len(registered())  # a single folder has all models


def test_training_works_when_the_registered_model_has_no_versions(
    empty_world: Path, data: Path, command: Command
) -> None:
    made = f"{STORE}create_registered_model"
    settings = environment(empty_world)
    result = run_signalled(made, "after", signal.SIGKILL, *arguments(data), environment=settings)
    assert result.code == -signal.SIGKILL
    assert registered() == []
    assert command("serve", "--model", "models:/m@champion").code == 4
    assert command("prune", "m").code == 0
    assert not files(empty_world)
    assert command(*arguments(data)).code == 0
    assert load_model("models:/m@champion").version == "1"


@pytest.fixture
def store(empty_world: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder for artifacts on a file system whose size is the parameter of the fixture."""
    folder = empty_world / "artifacts"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}", "none", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small disk needs root")
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine does not allow mounts")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def assert_nothing_is_registered(result: CommandResult, reason: str, store: Path) -> None:
    assert result.code == 6
    (line,) = result.err.splitlines()
    assert line.startswith(f"labelwright: nothing was registered, because {store}")
    assert f"cannot be written: {reason}; free disk space" in line
    assert registered() == []


@pytest.mark.parametrize("store", ["100k", "500k"], indirect=True)
def test_a_full_store_registers_nothing(
    store: Path, empty_world: Path, data: Path, command: Command
) -> None:
    result = spawn(*arguments(data), environment=environment(empty_world))
    assert_nothing_is_registered(result, "no space is left", store)
    assert command("prune", "m").code == 0
    assert not files(empty_world)
    subprocess.run(["mount", "-o", "remount,size=50m", str(store)], check=True)
    assert spawn(*arguments(data), environment=environment(empty_world)).code == 0
    assert registered() == ["1"]


@pytest.mark.parametrize("store", ["1m"], indirect=True)
def test_a_read_only_store_registers_nothing(store: Path, empty_world: Path, data: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(store)], check=True)
    result = spawn(*arguments(data), environment=environment(empty_world))
    assert_nothing_is_registered(result, "Read-only file system", store)


def test_concurrent_trainings_all_register(empty_world: Path, data: Path) -> None:
    settings = environment(empty_world)
    with ThreadPoolExecutor(3) as pool:
        result = list(pool.map(lambda _: spawn(*arguments(data), environment=settings), range(3)))
    assert [each.code for each in result] == [0, 0, 0], [each.err for each in result]
    assert registered() == ["1", "2", "3"]
    assert sum("it is the first version" in each.out for each in result) == 1
    champion = load_model("models:/m@champion").version
    assert {champion, *versions.former_champions("m")} <= {"1", "2", "3"}
