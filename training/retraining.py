"""Training again, safe to schedule: only where something has changed, and one at a time."""

import contextlib
import dataclasses
import fcntl
import hashlib
from collections.abc import Iterator

from labelwright.entities.errors import StorageError, reason
from labelwright.models.paths import home
from labelwright.training.fitting.fit import Progress, no_progress
from labelwright.training.job import Outcome, Task, complete, inputs_hash, prepare
from labelwright.training.tracking import record, versions


@dataclasses.dataclass(frozen=True)
class Skipped:
    """Why nothing was trained."""

    reason: str


def retrain(task: Task, progress: Progress = no_progress) -> Outcome | Skipped:
    """Train unless the champion or the newest version was made of the same; raises as `train`.

    The newest version counts as well: what was refused once would be refused again, and what was
    rolled back must not come back by itself.
    """
    record.check_name(task.name)
    with _alone(task.name) as alone:
        if not alone:
            return Skipped(f"another retraining of {task.name!r} is under way")
        prepared = prepare(task, progress)
        if version := versions.version_trained_on(
            task.name, inputs_hash(task, prepared.training_data)
        ):
            return Skipped(f"nothing has changed since version {version} was trained")
        return complete(task, prepared, progress)


@contextlib.contextmanager
def _alone(name: str) -> Iterator[bool]:
    """Whether no other process retrains this model; the system takes the lock from a dead one."""
    file = home() / "retraining" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.open("w")
    except OSError as error:
        raise StorageError(f"{file.parent} cannot be written to: {reason(error)}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
