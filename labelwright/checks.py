"""Checks of an installation: libraries, threads, folders, the registry and the models.

If a check raises an exception, it is reported as failed, and the other checks still run. The checks
write only one unnamed temporary file in each folder that must be writable.
"""

import contextlib
import ctypes
import dataclasses
import enum
import functools
import importlib
import importlib.metadata
import importlib.util
import multiprocessing
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from labelwright import processors
from labelwright.entities.errors import LabelwrightError
from labelwright.entities.io.files import write_failure
from labelwright.processors import text_of

if TYPE_CHECKING:
    from labelwright.models.labeler import Labeler

PYTHONS = ((3, 11), (3, 14))
"""The oldest and the newest supported version of Python."""
LIBRARIES = ("numpy", "numba", "llvmlite", "lightgbm", "pyarrow", "mlflow", "fastapi", "uvicorn")
LOW_DISK_SPACE = 1 << 30
"""Free disk space in bytes below which the check gives a warning."""
KERNEL_MODULES = (
    "labelwright.models.features.fingerprints",
    "labelwright.models.labeler",
    "labelwright.models.monitoring.novelty",
    "labelwright.training.fitting.features",
    "labelwright.training.fitting.linear",
    "labelwright.training.fitting.namesakes",
)
"""Modules that together import all kernels; the modules of `training` need scikit-learn."""


class Status(enum.StrEnum):
    """The status of a check."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Result(NamedTuple):
    """The result of a check: the status, the facts, and a remedy for the user if there is one."""

    status: Status
    finding: str
    remedy: str = ""


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of a check, with the name of the check (`what`); one line of the output."""

    what: str
    status: Status
    finding: str
    remedy: str

    def __str__(self) -> str:
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.status.value:4}  {self.what}: {self.finding}{remedy}"


@dataclasses.dataclass(frozen=True)
class ModelCost:
    """The cost of a model for one worker.

    `size` is the size of arrays and trees in bytes. `seconds` is the time to load and warm up the
    model. `memory` is the memory in bytes that the worker shares with no other process.
    """

    labels: int
    size: int
    seconds: float
    memory: int


def run_checks(model: str | None = None) -> Iterator[Finding]:
    """Run all checks in order; if `model` is given, it is checked instead of all champions."""
    yield _run_check("python", _python)
    yield _run_check("labelwright", _package)
    for name in LIBRARIES:
        yield _run_check(name, functools.partial(_library, name))
    yield _run_check("scikit-learn", functools.partial(_training_library, "sklearn"))
    yield _run_check("libgomp", _libgomp)
    yield _run_check("threads", _threads)
    yield _run_check("numba cache", _numba_cache)
    yield _run_check("state folder", _state_folder)
    yield _run_check("registry", _registry, _START_SERVER)
    yield _run_check("runs", _runs, _START_SERVER)
    uris = [model] if model else []
    if not model:
        yield _run_check("champions", functools.partial(_champions, uris), _START_SERVER)
    for uri in uris:
        yield _run_check(uri, functools.partial(_model, uri), _ANOTHER_MODEL)


_START_SERVER = "start the tracking server, or correct MLFLOW_TRACKING_URI"
_ANOTHER_MODEL = "promote another version, or train a new one"


def _run_check(what: str, check: Callable[[], Result], remedy: str = "report this bug") -> Finding:
    """Run one check; if it raises an exception, it has failed and gets `remedy` as its remedy."""
    try:
        return Finding(what, *check())
    except LabelwrightError as error:
        return Finding(what, Status.FAIL, str(error), remedy)
    except Exception as error:  # noqa: BLE001 - the other checks must still run
        finding = f"the check itself failed ({type(error).__name__}: {error})"
        return Finding(what, Status.FAIL, finding, remedy)


def _python() -> Result:
    oldest, newest = (".".join(map(str, version)) for version in PYTHONS)
    found = f"{platform.python_version()} at {sys.executable}"
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return Result(Status.OK, found)
    return Result(Status.FAIL, found, f"install labelwright with Python {oldest} to {newest}")


def _package() -> Result:
    folder = Path(__file__).resolve().parent
    return Result(Status.OK, f"{importlib.metadata.version('labelwright')} in {folder}")


def _library(name: str) -> Result:
    try:
        return Result(Status.OK, str(importlib.import_module(name).__version__))
    except (ImportError, OSError) as error:
        return Result(Status.FAIL, f"cannot be imported ({error})", "install labelwright again")


def _training_library(module: str) -> Result:
    if importlib.util.find_spec(module) is None:
        finding = "not installed: models can be served but not trained"
        return Result(Status.WARN, finding, "to train, install requirements/train.txt")
    return _library(module)


def _libgomp() -> Result:
    if sys.platform != "linux":
        return Result(Status.OK, "not needed on this system")
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError as error:
        remedy = "install it: apt-get install libgomp1, or the libgomp of your distribution"
        return Result(Status.FAIL, f"cannot be loaded ({error})", remedy)
    return Result(Status.OK, "can be loaded")


def _threads() -> Result:
    threads, allowed = processors.usable(), processors.allowed()
    limit = f" of {allowed}, limited by the control group" if threads < allowed else " available"
    return Result(Status.OK, f"{threads}{limit}")


def _numba_cache() -> Result:
    """Check the folders of compiled kernels.

    Without a writable folder, every process compiles all kernels again, for about a minute.
    """
    from labelwright.models.kernels.jit import cache_folders

    remedy = "set NUMBA_CACHE_DIR to a writable folder"
    for module in KERNEL_MODULES:
        with contextlib.suppress(ModuleNotFoundError):  # without scikit-learn
            importlib.import_module(module)
    folders = cache_folders()
    if not folders:
        finding = "no folder is writable: every process compiles the kernels again"
        return Result(Status.FAIL, finding, remedy)
    for folder in folders:
        if refusal := _write_refusal(folder):
            return Result(Status.FAIL, f"{folder} {refusal}", remedy)
    root = Path(os.path.commonpath(folders))
    compiled = sum(len(list(folder.glob("*.nbi"))) for folder in folders)
    finding = f"{compiled} compiled kernels in {len(folders)} folders of {root}"
    wanted = os.environ.get("NUMBA_CACHE_DIR")
    if wanted and not root.is_relative_to(wanted):
        reason = _write_refusal(Path(wanted)) or "is not used"
        return Result(Status.WARN, f"{finding}, because NUMBA_CACHE_DIR {reason}", remedy)
    return Result(Status.OK, finding)


def _state_folder() -> Result:
    from labelwright.models.paths import home

    folder = home()
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if refusal := _write_refusal(existing):
        remedy = "set LABELWRIGHT_HOME to a writable folder"
        return Result(Status.FAIL, f"{folder}: {existing} {refusal}", remedy)
    free = shutil.disk_usage(existing).free
    finding = f"{folder}{'' if folder.exists() else ' (does not exist yet)'}, {_bytes(free)} free"
    if free < LOW_DISK_SPACE:
        remedy = "free disk space, or delete old versions with `labelwright prune NAME`"
        return Result(Status.WARN, finding, remedy)
    return Result(Status.OK, finding)


def _write_refusal(folder: Path) -> str | None:
    """The reason why no file can be written to the folder, or None if files can be written."""
    failure = write_failure(folder)
    return f"cannot be written to ({failure})" if failure else None


def _registry() -> Result:
    from labelwright.models.mlflow_server import connect

    if not _has_database():
        return Result(Status.OK, "no database yet; the first training creates it")
    with connect() as client:
        models = client.search_registered_models(max_results=1000)
    kind = "database" if _database() else "server"
    return Result(Status.OK, f"the {kind} responds; {len(models):,} registered models")


def _runs() -> Result:
    """Find unfinished runs of this state folder: their processes were killed."""
    from labelwright.training.tracking.runs import unfinished_runs

    found = unfinished_runs() if _has_database() else []
    if not found:
        return Result(Status.OK, "no unfinished run")
    named = ", ".join(f"{run.run_id} of {run.experiment!r}" for run in found)
    remedy = "delete what they left with `labelwright prune NAME`"
    return Result(Status.WARN, f"unfinished, because the process was killed: {named}", remedy)


def _database() -> Path | None:
    from labelwright.models.paths import tracking_uri

    uri = tracking_uri()
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _has_database() -> bool:
    file = _database()
    return file is None or file.exists()


def _champions(uris: list[str]) -> Result:
    """List the models that have a champion, and append the URIs of the champions to `uris`."""
    from labelwright.models.registry import CHAMPION, champions

    names = champions() if _has_database() else []
    uris += [f"models:/{name}@{CHAMPION}" for name in names]
    if not names:
        return Result(Status.WARN, "none", "train a model, for example with `labelwright demo`")
    return Result(Status.OK, ", ".join(names))


def _model(uri: str) -> Result:
    """Measure the cost of a model in a new process, like a worker of the service."""
    from labelwright.models.registry import fetch, locate

    folder = str(fetch(locate(uri)).folder)
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned) as pool:
        cost = pool.submit(model_cost, folder).result()
    return Result(
        Status.OK,
        f"{cost.labels:,} labels, {_bytes(cost.size)}, ready in {cost.seconds:.1f} s, "
        f"{_bytes(cost.memory)} of memory for each worker, golden queries give the stored results",
    )


def model_cost(uri: str) -> ModelCost:
    """Load a model in this process and measure its cost.

    Raises LabelwrightError if the model cannot be loaded, or if its golden queries do not give the
    stored results.
    """
    with contextlib.suppress(ImportError):  # reported by another check
        importlib.import_module("labelwright.service.server")
    from labelwright.models.registry import load_model

    started = time.perf_counter()
    bundle = load_model(uri).bundle
    labeler = bundle.labeler
    size = _size(labeler)
    labeler.warm_up()
    seconds = time.perf_counter() - started
    bundle.golden.check(labeler)
    return ModelCost(len(labeler.labels), size, seconds, _private_memory())


def _size(labeler: "Labeler") -> int:
    """The size of all arrays and trees in bytes."""
    from labelwright.models.bundle.format import arrays_of

    return sum(a.nbytes for a in arrays_of(labeler).values()) + len(labeler.reranker.trees)


def _private_memory() -> int:
    """The memory of this process in bytes that it shares with no other process.

    On systems without /proc/self/smaps_rollup, it is the peak of all resident memory.
    """
    for line in text_of(Path("/proc/self/smaps_rollup")).splitlines():
        if line.startswith("Anonymous:"):
            return 1024 * int(line.split()[1])
    scale = 1 if sys.platform == "darwin" else 1024
    return scale * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
