"""Distillation: a teacher scores rows without labels, and the linear stage learns from its scores.

The teacher is a linear stage that reads the vectors of a sentence encoder beside the features of a
row. It is fitted on the rows with labels. The linear stage of the model reads only the features, so
the served model does not need the encoder (Hinton et al., arXiv 1503.02531; vectors that only the
teacher reads: Vapnik & Vashist, Neural Networks 2009).
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from labelwright.entities.tables import Entities
from labelwright.models.features.space import FeatureRows
from labelwright.models.kernels.csr import (
    offsets,
    positions_in_rows,
    row_numbers,
)
from labelwright.models.labels import LabelMatrix
from labelwright.models.stages.linear import LinearStage, candidates
from labelwright.training.fitting.linear import RowOrder, SoftLabels, fit_linear

TEACHER_COST = 1.0
"""Liblinear's C of the teacher."""
SOFT_COST = np.float32(2)
"""Liblinear's C of the linear stage for rows with soft labels."""
TARGETS = 15
"""Maximum number of soft labels of a row: those with the highest scores."""
CHUNK = 4_096
"""Number of rows that the teacher scores at a time."""

Vectors = npt.NDArray[np.float32]
Map = Callable[[Callable[[int], Any], Iterable[int]], Iterable[Any]]
"""A function like `map`: the built-in one, or the method of an executor."""


@dataclasses.dataclass(frozen=True)
class Unlabelled:
    """Rows without labels, and the vectors of an encoder for all rows of a training.

    `vectors` (float32[n labelled + n unlabelled, width]) have unit length. The rows with labels
    come first.
    """

    entities: Entities
    vectors: Vectors

    @classmethod
    def of(cls, entities: Entities, vectors: Vectors) -> Self:
        """Centre the vectors of all rows, and scale them to unit length again.

        All vectors of an encoder have much in common, and only their differences tell labels apart.
        """
        centred = vectors - vectors.mean(axis=0)
        lengths = np.linalg.norm(centred, axis=1, keepdims=True)
        return cls(entities, centred / np.maximum(lengths, np.finfo(np.float32).tiny))

    @property
    def labelled(self) -> int:
        """The number of rows with labels."""
        return len(self.vectors) - len(self.entities)

    def taught_by(self, rows: RowOrder) -> "Unlabelled":
        """The same rows without labels, for a training on some of the rows with labels."""
        unlabelled = np.arange(self.labelled, len(self.vectors))
        return Unlabelled(self.entities, self.vectors[np.concatenate([rows, unlabelled])])

    def soft_labels(
        self,
        rows: FeatureRows,
        labels: LabelMatrix,
        features: int,
        passes: Sequence[RowOrder],
        threads: int,
        run: Map = map,
    ) -> SoftLabels:
        """Fit a teacher, and score the rows without labels.

        `rows` are the feature rows of all entities, and `features` is the number of features. Each
        of `passes` is a sequence of numbers of rows with labels: those that the teacher may know.
        """
        taught = np.arange(self.labelled)
        teacher = fit_linear(
            self._with_vectors(rows, taught),
            labels,
            features + self.vectors.shape[1],
            passes,
            TEACHER_COST,
            threads,
        )

        def score(start: int) -> SoftLabels:
            chunk = np.arange(start, min(start + CHUNK, len(self.vectors)))
            return _soft_labels(teacher, self._with_vectors(rows, chunk), start)

        parts = list(run(score, range(self.labelled, len(self.vectors), CHUNK)))
        return SoftLabels.joined(parts)

    def _with_vectors(self, rows: FeatureRows, chosen: RowOrder) -> FeatureRows:
        """The chosen rows: the components of the vectors are the first features of each row.

        The vector and the features of a row have the same length, and the row has unit length.
        """
        own, vectors = rows.take(chosen), self.vectors[chosen]
        width = vectors.shape[1]
        indptr = offsets(np.diff(own.indptr) + width)
        indices = np.empty(indptr[-1], np.int32)
        values = np.empty(indptr[-1], np.float32)
        places = indptr[:-1, None] + np.arange(width)
        indices[places], values[places] = np.arange(width), vectors
        owners = row_numbers(own.indptr)
        places = indptr[owners] + width + positions_in_rows(own.indptr)
        indices[places], values[places] = width + own.indices, own.values
        return FeatureRows(indptr, indices, values * np.float32(np.sqrt(0.5)), own.names)


def _soft_labels(teacher: LinearStage, rows: FeatureRows, first: int) -> SoftLabels:
    """The best labels of each row, without those that the teacher takes for absent.

    `first` is the number of the first row.
    """
    scores = teacher.scores(rows)
    best = candidates(scores, TARGETS)
    targets = np.take_along_axis(scores, best, axis=1)
    kept = targets > -1
    return SoftLabels(
        first,
        offsets(kept.sum(axis=1)),
        best[kept],
        np.minimum(targets[kept], 1),
        np.full(len(kept), SOFT_COST),
    )
