"""Runs of experiments, from their start to whatever ends them.

While a run is under way, its process holds a lock on a file of the state folder, which a tag of the
run names. The system takes the lock back when the process ends, however it ends: where nobody holds
it, the run was cut short, by a killed process or a machine that stopped.
"""

import contextlib
import dataclasses
import getpass
import importlib.metadata
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from labelwright.entities.errors import RegistryError, StorageError, reason
from labelwright.entities.io.files import is_locked, locked
from labelwright.models.paths import artifact_root, home
from labelwright.models.registry import reached

RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
VERSION = "labelwright.version"
"""The tag that all runs have, with the version of this program."""
_UNDER_WAY, _MARK = "underway", "labelwright.underway"
"""The folder of the locks, and the tag that names a run's."""


@dataclasses.dataclass
class Run:
    """A run of an experiment while it is under way; `status` is what it is to end with."""

    id: str
    status: str = FINISHED

    def note(
        self,
        parameters: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log all of these at once; raises RegistryError."""
        with reached() as client:
            from mlflow.entities import Metric, Param, RunTag

            now = int(1000 * time.time())
            client.log_batch(
                self.id,
                [Metric(name, value, now, 0) for name, value in (metrics or {}).items()],
                [Param(name, str(value)) for name, value in (parameters or {}).items()],
                [RunTag(name, value) for name, value in (tags or {}).items()],
            )

    def keep(self, path: Path) -> None:
        """Store a file, or all files of a folder, with the run; raises StorageError."""
        with reached() as client, storage_errors():
            if path.is_dir():
                client.log_artifacts(self.id, str(path))
            else:
                client.log_artifact(self.id, str(path))


@dataclasses.dataclass(frozen=True)
class UnfinishedRun:
    """A run that nobody works on any more, though it never ended."""

    run_id: str
    experiment: str


def experiment(name: str) -> str:
    """The id of the experiment of that name, made if need be; raises RegistryError."""
    with reached() as client:
        from mlflow.exceptions import MlflowException

        if found := client.get_experiment_by_name(name):
            return str(found.experiment_id)
        try:
            return client.create_experiment(name, artifact_root())
        except MlflowException as error:
            made = client.get_experiment_by_name(name)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or made is None:
                raise
            return str(made.experiment_id)


@contextlib.contextmanager
def running(
    experiment_id: str, name: str | None = None, parent: Run | None = None, since: float = 0.0
) -> Iterator[Run]:
    """A run that ends with the block: killed by an interrupt, failed by any other exception.

    `since` is when its work began, in seconds of `time.time()`; 0 is now. MLflow's own functions
    use the run as well. Raises RegistryError or StorageError.
    """
    with _under_way() as mark:
        with reached() as client:
            version = importlib.metadata.version("labelwright")
            tags = {VERSION: version, _MARK: mark.name} | _origin()
            tags |= {} if parent is None else {"mlflow.parentRunId": parent.id}
            started = int(1000 * (since or time.time()))
            run = Run(client.create_run(experiment_id, started, tags, name).info.run_id)
        try:
            with reached():
                import mlflow

                mlflow.set_experiment(experiment_id=experiment_id)  # this process may have another
                mlflow.start_run(run.id, nested=True)
            yield run
        except BaseException as error:
            run.status = KILLED if isinstance(error, KeyboardInterrupt) else FAILED
            with contextlib.suppress(RegistryError):
                _end(run)
                mark.unlink()
            raise
        _end(run)
        mark.unlink()


def unfinished_runs() -> list[UnfinishedRun]:
    """All runs that this state folder stands for and that were cut short; raises RegistryError."""
    marks = [file.name for file in sorted(_folder().glob("*")) if not _held(file)]
    if not marks:
        return []
    with reached() as client:
        names = {each.experiment_id: each.name for each in client.search_experiments()}
        return [
            UnfinishedRun(run.info.run_id, names[run.info.experiment_id])
            for mark in marks
            for run in client.search_runs(list(names), f"tags.`{_MARK}` = '{mark}'")
            if run.info.status == RUNNING
        ]


def end(run: UnfinishedRun, status: str) -> None:
    """End a run that was cut short; raises RegistryError."""
    with reached() as client:
        mark = client.get_run(run.run_id).data.tags[_MARK]
    _end(Run(run.run_id, status))
    (_folder() / mark).unlink(missing_ok=True)


@contextlib.contextmanager
def storage_errors() -> Iterator[None]:
    """Let what a file system refuses to take be a StorageError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not a file system's: an HTTP client's, say
            raise
        place = error.filename2 or error.filename or artifact_root() or "the artifact store"
        raise StorageError(
            f"nothing was registered, because {place} cannot be written: {reason(error)}; give the "
            "artifact store room (`labelwright prune NAME` frees some) or permission, and run again"
        ) from error


def _end(run: Run) -> None:
    with reached() as client:
        import mlflow

        active = mlflow.active_run()
        if active is not None and active.info.run_id == run.id:
            mlflow.end_run(run.status)
        else:
            client.set_terminated(run.id, run.status)


def _folder() -> Path:
    return home() / _UNDER_WAY


@contextlib.contextmanager
def _under_way() -> Iterator[Path]:
    """A new file that this process holds a lock on; it stays, for whoever ends its run."""
    file = _folder() / uuid.uuid4().hex
    with locked(file):
        yield file


def _held(file: Path) -> bool:
    """Whether a process holds the lock of a file, or has just let go of both."""
    try:
        return is_locked(file)
    except FileNotFoundError:
        return True


def _origin() -> dict[str, str]:
    """The tags in which MLflow's UI looks for who started a run, and with what."""
    source = {"mlflow.source.name": "labelwright", "mlflow.source.type": "LOCAL"}
    try:
        return source | {"mlflow.user": getpass.getuser()}
    except (KeyError, OSError):  # a container's user need not have a name
        return source
