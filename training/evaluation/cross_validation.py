"""Cross-validation of a training: models of one recipe answer rows whose names they never saw."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from labelwright.entities.errors import DataError
from labelwright.entities.tables import Entities
from labelwright.models.features.fingerprints import content_fingerprints
from labelwright.models.labeler import Labeler
from labelwright.models.labels import LabelSet
from labelwright.training.data import name_hashes
from labelwright.training.evaluation.answers import LISTED, NO_LABEL, Answers, Ids, ranked_ids

FOLDS = 2
"""Number of parts of the names; each part is answered by a model that is fitted on the other."""
REPEATED_ROWS = 2_000
"""With fewer rows, the names are divided again until this number of rows has been answered."""
MAX_REPEATS = 4
_FIRST_BIT = np.uint64(40)
"""The bit of a name's hash that divides the names first; each repeat takes the next bit."""

Rows = npt.NDArray[np.int64]
Fit = Callable[[Rows], Labeler]
"""Fits a model on some of the training rows, given by their positions."""


def cross_validate(
    fit: Fit, train: Entities, scored: Entities, labels: LabelSet, threads: int
) -> Answers | None:
    """Answers for the entities `scored`, from models that were fitted on other names of `train`.

    A hash of the name divides both, so two recipes are compared on the same folds even if they have
    different rows. `labels` are the labels of the answers. None if a part of the rows is too small
    to fit a model.
    """
    repeats = int(np.clip(REPEATED_ROWS // max(len(train), 1), 1, MAX_REPEATS))
    ids = np.full((repeats, len(scored), LISTED), NO_LABEL, np.int32)
    fitted, answered = name_hashes(train), name_hashes(scored)
    for repeat in range(repeats):
        for fold in range(FOLDS):
            inside = np.flatnonzero(_folds(answered, repeat) == fold)
            if not len(inside):
                continue
            try:
                labeler = fit(np.flatnonzero(_folds(fitted, repeat) != fold))
            except DataError:
                return None
            numbers = np.array([labels.ids.get(name, NO_LABEL) for name in labeler.labels.names])
            found = ranked_ids(labeler, scored.take(inside), threads)
            ids[repeat, inside] = _renumbered(found, numbers)
    return Answers(content_fingerprints(scored), labels, ids)


def _folds(names: npt.NDArray[np.uint64], repeat: int) -> npt.NDArray[np.uint64]:
    return (names >> (_FIRST_BIT + np.uint64(repeat))) % np.uint64(FOLDS)


def _renumbered(ids: Ids, numbers: npt.NDArray[np.int64]) -> Ids:
    return np.append(numbers, NO_LABEL)[ids].astype(np.int32)
