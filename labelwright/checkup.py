"""Whether this installation can do its work: one check for each thing that tends to be amiss.

A check that breaks is a finding like any other, so that the rest are still made. Nothing is
written but a nameless temporary file in each folder that must be writable.
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
"""The oldest and the newest interpreter supported."""
LIBRARIES = ("numpy", "numba", "llvmlite", "lightgbm", "pyarrow", "mlflow", "fastapi", "uvicorn")
FREE_AT_LEAST = 1 << 30
"""Bytes free below which a full disk is near."""


class Status(enum.StrEnum):
    """How a check went."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Result(NamedTuple):
    """What a check found, and what to do about it."""

    status: Status
    finding: str
    remedy: str = ""


@dataclasses.dataclass(frozen=True)
class Finding:
    """A result and what it is about."""

    what: str
    status: Status
    finding: str
    remedy: str

    def __str__(self) -> str:
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.status.value:4}  {self.what}: {self.finding}{remedy}"


@dataclasses.dataclass(frozen=True)
class Load:
    """What a model costs a worker: bytes on disk, and of memory that no other process shares."""

    labels: int
    size: int
    seconds: float
    memory: int


def checkup(model: str | None = None) -> Iterator[Finding]:
    """Make all checks one after another; `model` is checked instead of all champions."""
    yield _survived("python", _python)
    yield _survived("labelwright", _package)
    for name in LIBRARIES:
        yield _survived(name, functools.partial(_library, name))
    yield _survived("scikit-learn", functools.partial(_training_library, "sklearn"))
    yield _survived("libgomp", _libgomp)
    yield _survived("threads", _threads)
    yield _survived("numba cache", _numba_cache)
    yield _survived("state folder", _state_folder)
    yield _survived("registry", _registry, _REACH)
    yield _survived("runs", _runs, _REACH)
    uris = [model] if model else []
    if not model:
        yield _survived("champions", functools.partial(_champions, uris), _REACH)
    for uri in uris:
        yield _survived(
            uri, functools.partial(_model, uri), "promote another version, or train one"
        )


_REACH = "start the server, or set MLFLOW_TRACKING_URI right"


def _survived(what: str, check: Callable[[], Result], remedy: str = "report it") -> Finding:
    """What a check finds, or how it broke, with the remedy for that."""
    try:
        return Finding(what, *check())
    except LabelwrightError as error:
        return Finding(what, Status.FAIL, str(error), remedy)
    except Exception as error:  # noqa: BLE001 - one broken check must not cost the others
        finding = f"the check broke ({type(error).__name__}: {error})"
        return Finding(what, Status.FAIL, finding, remedy)


def _python() -> Result:
    oldest, newest = (".".join(map(str, version)) for version in PYTHONS)
    found = f"{platform.python_version()} at {sys.executable}"
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return Result(Status.OK, found)
    return Result(Status.FAIL, found, f"install with Python {oldest} to {newest}")


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
        remedy = "to train, install requirements/train.txt"
        return Result(Status.WARN, "not installed: models can be served, not trained", remedy)
    return _library(module)


def _libgomp() -> Result:
    if sys.platform != "linux":
        return Result(Status.OK, "not needed on this system")
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError as error:
        remedy = "install it: apt-get install libgomp1, or the libgomp of your distribution"
        return Result(Status.FAIL, f"cannot be loaded ({error})", remedy)
    return Result(Status.OK, "loads")


def _threads() -> Result:
    threads, allowed = processors.usable(), processors.allowed()
    granted = f" of {allowed}, as the control group grants" if threads < allowed else " available"
    return Result(Status.OK, f"{threads}{granted}")


def _numba_cache() -> Result:
    remedy = "let NUMBA_CACHE_DIR name a folder that can be written to"
    try:
        from labelwright.models.features.tokens import mix
    except RuntimeError as error:  # Numba's word for no place at all
        return Result(Status.FAIL, f"none ({error})", remedy)
    stats = getattr(mix, "stats", None)
    if stats is None:
        return Result(Status.WARN, "not used", "unset NUMBA_DISABLE_JIT: it makes all work slow")
    folder = Path(stats.cache_path)
    if refusal := _refusal(folder):
        return Result(Status.FAIL, f"{folder} {refusal}", remedy)
    wanted = os.environ.get("NUMBA_CACHE_DIR")
    if wanted and not folder.is_relative_to(wanted):
        finding = f"{folder}, because NUMBA_CACHE_DIR {_refusal(Path(wanted)) or 'is not used'}"
        return Result(Status.WARN, finding, remedy)
    compiled = len(list(folder.glob("*.nbi")))
    return Result(Status.OK, f"{folder}, {compiled} kernels compiled")


def _state_folder() -> Result:
    from labelwright.models.paths import home

    folder = home()
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if refusal := _refusal(existing):
        remedy = "let LABELWRIGHT_HOME name a folder that can be written to"
        return Result(Status.FAIL, f"{folder}: {existing} {refusal}", remedy)
    free = shutil.disk_usage(existing).free
    finding = f"{folder}{'' if folder.exists() else ' (not made yet)'}, {_bytes(free)} free"
    if free < FREE_AT_LEAST:
        return Result(Status.WARN, finding, "free some, or `labelwright prune` old versions")
    return Result(Status.OK, finding)


def _refusal(folder: Path) -> str | None:
    """Why no file can be made in a folder, or None."""
    failure = write_failure(folder)
    return f"cannot be written to ({failure})" if failure else None


def _registry() -> Result:
    from labelwright.models.registry import reached

    if not _has_database():
        return Result(Status.OK, "no database yet; the first training makes one")
    with reached() as client:
        models = client.search_registered_models(max_results=1000)
    kind = "database" if _database() else "server"
    return Result(Status.OK, f"the {kind} answers; {len(models):,} registered models")


def _runs() -> Result:
    """Whether a process of this state folder has been killed in the middle of a run."""
    from labelwright.training.tracking.runs import unfinished_runs

    found = unfinished_runs() if _has_database() else []
    if not found:
        return Result(Status.OK, "none was cut short")
    named = ", ".join(f"{run.run_id} of {run.experiment!r}" for run in found)
    return Result(
        Status.WARN, f"{named}: cut short", "`labelwright prune NAME` clears away what they left"
    )


def _database() -> Path | None:
    from labelwright.models.paths import tracking_uri

    uri = tracking_uri()
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _has_database() -> bool:
    file = _database()
    return file is None or file.exists()


def _champions(uris: list[str]) -> Result:
    """Which models have a champion; their URIs are added to `uris`."""
    from labelwright.models.registry import CHAMPION, champions

    names = champions() if _has_database() else []
    uris += [f"models:/{name}@{CHAMPION}" for name in names]
    if not names:
        return Result(Status.WARN, "none", "train a model: `labelwright demo` shows how")
    return Result(Status.OK, ", ".join(names))


def _model(uri: str) -> Result:
    """Load a model as a worker of the service does, in a process that asks no registry."""
    from labelwright.models.registry import fetch, locate

    folder = str(fetch(locate(uri)).folder)
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned) as pool:
        load = pool.submit(measured, folder).result()
    return Result(
        Status.OK,
        f"{load.labels:,} labels, {_bytes(load.size)}, ready in {load.seconds:.1f} s, "
        f"{_bytes(load.memory)} of memory for each worker, answers as when it was made",
    )


def measured(uri: str) -> Load:
    """Make this process one that could serve a model; raises LabelwrightError.

    One that does not answer its canned questions as when it was made cannot serve.
    """
    with contextlib.suppress(ImportError):  # which is a finding of its own
        importlib.import_module("labelwright.service.server")
    from labelwright.models.bundle import golden
    from labelwright.models.registry import load_model

    started = time.perf_counter()
    bundle = load_model(uri).bundle
    labeler = bundle.labeler
    size = _size(labeler)
    labeler.warm_up()
    seconds = time.perf_counter() - started
    golden.check(bundle)
    return Load(len(labeler.labels), size, seconds, _private_memory())


def _size(labeler: "Labeler") -> int:
    """Bytes of all arrays and trees."""
    from labelwright.models.bundle.format import arrays_of

    return sum(a.nbytes for a in arrays_of(labeler).values()) + len(labeler.reranker.trees)


def _private_memory() -> int:
    """Bytes that no other process can share; where the system does not tell, the most ever used."""
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
