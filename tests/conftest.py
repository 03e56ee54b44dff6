"""Fixtures of all tests: real data, empty state folders, and one small trained model."""

import contextlib
import dataclasses
import fcntl
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from xdist.scheduler import LoadFileScheduling

from labelwright.entities.schema import EntitySchema, load_schema
from labelwright.entities.tables import Entities, from_table

if TYPE_CHECKING:
    from labelwright.models.labeler import Labeler

ROOT = Path(__file__).parents[1]
BRANDS = ROOT / "entities" / "data" / "brands.parquet"
ROWS = 3_000
BEHAVIOUR = "tests/behaviour/"
LONG = (
    BEHAVIOUR,
    "tests/training/tracking/test_versions.py",
    "tests/labelwright/test_demo.py",
    "tests/service/rollout/test_following.py",
    "tests/labelwright/commands/test_train.py",
    "tests/service/test_workers.py",
    "tests/training/tracking/test_runs.py",
    "tests/labelwright/commands/test_few_labels.py",
    "tests/labelwright/commands/test_export.py",
    "tests/labelwright/commands/test_empty_labels.py",
    "tests/models/kernels/test_jit.py",
    "tests/service/rollout/test_changing_files.py",
    "tests/labelwright/bad_input/test_full_disks.py",
    "tests/integration/test_documented.py",
    "tests/integration/test_places.py",
    "tests/integration/test_mlflow_tools.py",
    "tests/integration/test_tutorial.py",
    "tests/integration/test_fuzz.py",
    "tests/integration/test_record.py",
    "tests/integration/test_tracking.py",
    "tests/integration/test_cut_short.py",
    "tests/integration/test_spark.py",
)
"""The longest modules for their number of tests. They run first, so that none is the last one."""


def pytest_configure(config: pytest.Config) -> None:
    """Set the variables that the command line sets before importing LightGBM and MLflow."""
    # A shell starts background jobs with SIGINT ignored, and all their child processes inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    if not hasattr(config, "workerinput"):  # not in the worker processes of xdist
        build_wheel()


def build_wheel() -> None:
    """Build the wheel of this checkout if it does not exist: training warns if it is missing.

    `make install` builds a wheel too, but the code may have changed since then.
    """
    from labelwright.training.tracking import environment

    if environment.find_wheel().path is None:
        build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory"]
        folder = str(environment.wheel_folder())
        subprocess.run([*build, folder], cwd=ROOT, capture_output=True, check=True)


def scope_of(test: str) -> str:
    """The module of a test; all tests of an expensive model count as one module."""
    file = test.partition("::")[0]
    return BEHAVIOUR if file.startswith(BEHAVIOUR) else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the modules of `LONG` first, and then those with the most tests."""
    sizes = Counter(scope_of(item.nodeid) for item in items)

    def place(item: pytest.Item) -> tuple[int, int]:
        scope = scope_of(item.nodeid)
        return LONG.index(scope) if scope in LONG else len(LONG), -sizes[scope]

    items.sort(key=place)


class ByModule(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Scheduler that runs all tests of a module in one process, in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByModule:
    """Distribute tests by module; all tests in `tests/behaviour` run in one process."""
    config.option.loadscopereorder = False
    return ByModule(config, log)


@dataclasses.dataclass(frozen=True)
class World:
    """A state folder with a trained, registered and promoted model named `small`."""

    home: Path
    data: Path
    uri: str

    @property
    def bundle(self) -> Path:
        """The folder of the model's bundle."""
        (manifest,) = self.home.glob("artifacts/**/bundle/manifest.json")
        return manifest.parent

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of a process that uses this world."""
        return {**os.environ, "LABELWRIGHT_HOME": str(self.home)}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A state folder with one trained model, shared by all processes of the run; read-only."""
    folder = shared_folder(tmp_path_factory) / "world"
    world = World(folder / "home", folder / "brands.parquet", "models:/small@champion")
    with once(folder) as first:
        if first:
            _train(world)
    return world


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """The temporary folder that all processes of this run of pytest share.

    The variable `LABELWRIGHT_TEST_WORLD` can name another folder, so that several runs share one
    model. A model in this folder is used even if the code has changed since the training.
    """
    if kept := os.environ.get("LABELWRIGHT_TEST_WORLD"):
        return Path(kept)
    folder = factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@contextlib.contextmanager
def once(folder: Path) -> Iterator[bool]:
    """Yield true if this process must fill `folder`; other processes wait for the end of the block.

    Yields false if another process has filled the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "done"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not done.exists()
        done.touch()


def _train(world: World) -> None:
    from labelwright.training.fitting.fit import Configuration
    from labelwright.training.job import Task, train

    pq.write_table(pq.read_table(BRANDS).slice(0, ROWS), world.data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELWRIGHT_HOME", str(world.home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        task = Task([world.data], [], load_schema("places"), "small", Configuration())
        assert train(task).verdict.promoted


@pytest.fixture(scope="session")
def bundle(world: World) -> Path:
    """The bundle folder of the shared world's model."""
    return world.bundle


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty state folder, set in the environment of the test process."""
    folder = tmp_path / "home"
    monkeypatch.setenv("LABELWRIGHT_HOME", str(folder))
    for variable in ("MLFLOW_TRACKING_URI", "LABELWRIGHT_CORRECTIONS"):
        monkeypatch.delenv(variable, raising=False)
    return folder


@pytest.fixture(scope="session")
def labeler(world: World) -> "Labeler":
    """The labeler of the shared world's model."""
    from labelwright.models.registry import load_model

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELWRIGHT_HOME", str(world.home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return load_model(world.uri).bundle.labeler


@pytest.fixture(scope="session")
def places() -> EntitySchema:
    """The schema `places`, which is the default."""
    return load_schema("places")


@pytest.fixture(scope="session")
def brands(world: World, places: EntitySchema) -> Entities:
    """The entities that the small model was trained and tested on."""
    return from_table(pq.read_table(world.data), places)


@pytest.fixture(scope="session")
def brand_labels(world: World) -> pa.ListArray:
    """The labels of `brands`, row by row."""
    return pq.read_table(world.data)["labels"].combine_chunks()
