"""MLflow runs: start, end, and detection of unfinished runs.

While a run is active, its process holds a lock on a file in the state folder; a tag of the run
names this file. The system releases the lock when the process ends, even if the process is killed.
A run is unfinished if it has the status RUNNING but its lock is free: its process was killed, or
the machine stopped.
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
from labelwright.models.mlflow_server import connect
from labelwright.models.paths import artifact_root, home

RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
VERSION = "labelwright.version"
"""Tag of all runs: the version of labelwright."""
_LOCKS, _LOCK_TAG = "underway", "labelwright.underway"
"""The folder of the lock files, and the tag that names the lock file of a run."""


@dataclasses.dataclass
class Run:
    """An active run of an experiment; `status` is the status that it will end with."""

    id: str
    status: str = FINISHED

    def log(
        self,
        parameters: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log parameters, metrics and tags in one request; raises RegistryError."""
        with connect() as client:
            from mlflow.entities import Metric, Param, RunTag

            now = int(1000 * time.time())
            client.log_batch(
                self.id,
                [Metric(name, value, now, 0) for name, value in (metrics or {}).items()],
                [Param(name, str(value)) for name, value in (parameters or {}).items()],
                [RunTag(name, value) for name, value in (tags or {}).items()],
            )

    def store(self, path: Path) -> None:
        """Store a file, or all files of a folder, as artifacts of the run; raises StorageError."""
        with connect() as client, storage_errors():
            if path.is_dir():
                client.log_artifacts(self.id, str(path))
            else:
                client.log_artifact(self.id, str(path))


@dataclasses.dataclass(frozen=True)
class UnfinishedRun:
    """A run that has the status RUNNING, although its process has ended."""

    run_id: str
    experiment: str


def experiment_id_of(name: str) -> str:
    """The id of an experiment, which is created if it does not exist.

    Raises RegistryError, also if the experiment was deleted.
    """
    if existing := existing_experiment(name):
        return existing
    with connect() as client:
        from mlflow.exceptions import MlflowException

        try:
            return client.create_experiment(name, artifact_root())
        except MlflowException as error:
            created = client.get_experiment_by_name(name)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or created is None:
                raise
            return str(created.experiment_id)


def existing_experiment(name: str) -> str | None:
    """The id of an experiment; None if there is none.

    Raises RegistryError. An experiment that was deleted still has its name in MLflow, so no run can
    be logged under this name.
    """
    with connect() as client:
        found = client.get_experiment_by_name(name)
    if found is None:
        return None
    if found.lifecycle_stage == "deleted":
        raise RegistryError(
            f"the experiment {name!r} was deleted, so it has no new runs: choose another name, or "
            f"restore it with `mlflow experiments restore --experiment-id {found.experiment_id}` "
            "(MLFLOW_TRACKING_URI must name the registry)"
        )
    return str(found.experiment_id)


@contextlib.contextmanager
def active_run(
    experiment_id: str, name: str | None = None, parent: Run | None = None, since: float = 0.0
) -> Iterator[Run]:
    """Start a run that ends with the block.

    The status of the run is KILLED after a KeyboardInterrupt, and FAILED after any other exception.
    `since` is the start time of the run by `time.time()`; 0 means now. The run is also the active
    run of MLflow's own functions. Raises RegistryError or StorageError.
    """
    with _locked_file() as lock_file:
        with connect() as client:
            version = importlib.metadata.version("labelwright")
            tags = {VERSION: version, _LOCK_TAG: lock_file.name} | _origin()
            tags |= {} if parent is None else {"mlflow.parentRunId": parent.id}
            started = int(1000 * (since or time.time()))
            run = Run(client.create_run(experiment_id, started, tags, name).info.run_id)
        try:
            with connect():
                import mlflow

                # another experiment may be active in this process
                mlflow.set_experiment(experiment_id=experiment_id)
                mlflow.start_run(run.id, nested=True)
            yield run
        except BaseException as error:
            run.status = KILLED if isinstance(error, KeyboardInterrupt) else FAILED
            with contextlib.suppress(RegistryError):
                _end(run)
                lock_file.unlink()
            raise
        _end(run)
        lock_file.unlink()


def unfinished_runs() -> list[UnfinishedRun]:
    """The unfinished runs that were started from this state folder; raises RegistryError."""
    free_locks = [file.name for file in sorted(_lock_folder().glob("*")) if not _in_use(file)]
    if not free_locks:
        return []
    with connect() as client:
        names = {each.experiment_id: each.name for each in client.search_experiments()}
        return [
            UnfinishedRun(run.info.run_id, names[run.info.experiment_id])
            for lock_file in free_locks
            for run in client.search_runs(list(names), f"tags.`{_LOCK_TAG}` = '{lock_file}'")
            if run.info.status == RUNNING
        ]


def end_unfinished(run: UnfinishedRun, status: str) -> None:
    """End an unfinished run with a status, and delete its lock file; raises RegistryError."""
    with connect() as client:
        name = client.get_run(run.run_id).data.tags[_LOCK_TAG]
    _end(Run(run.run_id, status))
    (_lock_folder() / name).unlink(missing_ok=True)


@contextlib.contextmanager
def storage_errors() -> Iterator[None]:
    """Convert errors of the file system into a StorageError with the next step for the user."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not from a file system, but for instance from an HTTP client
            raise
        place = error.filename2 or error.filename or artifact_root() or "the artifact store"
        raise StorageError(
            f"nothing was registered, because {place} cannot be written: {reason(error)}; free "
            "disk space (`labelwright prune NAME` deletes versions) or allow writing, then retry"
        ) from error


def _end(run: Run) -> None:
    with connect() as client:
        import mlflow

        active = mlflow.active_run()
        if active is not None and active.info.run_id == run.id:
            mlflow.end_run(run.status)
        else:
            client.set_terminated(run.id, run.status)


def _lock_folder() -> Path:
    return home() / _LOCKS


@contextlib.contextmanager
def _locked_file() -> Iterator[Path]:
    """A new file that this process locks; the file is deleted when the run ends."""
    file = _lock_folder() / uuid.uuid4().hex
    with locked(file):
        yield file


def _in_use(file: Path) -> bool:
    """Whether a process holds the lock of a file, or has just deleted the file."""
    try:
        return is_locked(file)
    except FileNotFoundError:
        return True


def _origin() -> dict[str, str]:
    """Tags with the user and the source of a run, which MLflow's UI shows."""
    source = {"mlflow.source.name": "labelwright", "mlflow.source.type": "LOCAL"}
    try:
        return source | {"mlflow.user": getpass.getuser()}
    except (KeyError, OSError):  # the user of a container may have no name
        return source
