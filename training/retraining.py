"""Scheduled training: trains only if the inputs have changed, one process at a time."""

import dataclasses
import hashlib
from pathlib import Path

from labelwright.entities.io.files import locked_if_free
from labelwright.models.paths import home
from labelwright.training.fitting.fit import Progress, no_progress
from labelwright.training.job import Outcome, Task, complete, inputs_hash, prepare
from labelwright.training.tracking import record, versions


@dataclasses.dataclass(frozen=True)
class Skipped:
    """The result of a retraining that trained no model; `reason` says why."""

    reason: str


def retrain(task: Task, progress: Progress = no_progress) -> Outcome | Skipped:
    """Train, unless the champion or the newest version was trained on the same inputs.

    The newest version is also compared. If it was refused, the promotion gate would refuse an equal
    model again. If it was rolled back, it must not become the champion again without a decision of
    a user. Raises the errors of `train`.
    """
    record.check_name(task.name)
    with locked_if_free(_lock_file(task.name)) as alone:
        if not alone:
            return Skipped(f"another retraining of {task.name!r} is under way")
        prepared = prepare(task, progress)
        if trained := versions.version_trained_on(task.name, inputs_hash(task, prepared)):
            return Skipped(_unchanged(task.name, trained))
        return complete(task, prepared, progress)


def _unchanged(name: str, trained: versions.Trained) -> str:
    """The reason to train nothing: an equal model exists, and was perhaps refused."""
    if trained.refused is None:
        return f"nothing has changed since version {trained.version} was trained"
    return (
        f"version {trained.version} was trained on the same rows and corrections, and was refused: "
        f"{trained.refused}; to use it all the same, run `labelwright promote {name} "
        f"{trained.version} --force`"
    )


def _lock_file(name: str) -> Path:
    """The file that is locked while this model is retrained."""
    return home() / "retraining" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock"
