"""Implications between labels: an entity with a label also has the ancestors of the label.

No prediction violates an implication. The score of an ancestor is raised above the scores of its
descendants. Therefore an ancestor of a candidate is a candidate, too, and precedes it. The ancestor
is at least as probable as its descendants, and it is asserted if a descendant is asserted.
The method follows Giunchiglia & Lukasiewicz (C-HMCNN, NeurIPS 2020), who raise an ancestor to the
maximum of its descendants. Here, scores are raised slightly above it, so ancestors come first.
"""

from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from labelwright.models.kernels.jit import compiled
from labelwright.models.kernels.simd import BLOCK, at_least, trailing_zeros
from labelwright.models.stages.linear import (
    RowScores,
    choose,
    fill_row_scores,
    new_row_scores,
    peak_of_rank,
)

Offsets = npt.NDArray[np.int64]
LabelIds = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

_RAISED_AT_MOST = np.float32(1e-3)
"""Upper bound of the distance, relative to the score (at least 1), by which a label can raise an
ancestor above its own score. It is much larger than needed: the distance is one float32 step for
each ancestor."""


class Implications(NamedTuple):
    """All ancestors of each label: label l has `ancestors[indptr[l]:indptr[l + 1]]`.

    Implications are transitive and have no cycles. Therefore an ancestor has fewer ancestors than
    its descendants. The ancestors of a label are sorted by the number of their own ancestors, the
    largest first.
    """

    indptr: Offsets
    ancestors: LabelIds

    @classmethod
    def none(cls, labels: int) -> Self:
        """No implications, for a model with `labels` labels."""
        return cls(np.zeros(labels + 1, np.int64), np.zeros(0, np.int32))

    def raise_scores(self, scores: Floats) -> None:
        """Raise the scores of ancestors above their descendants' scores; n x labels, in place."""
        _raise_scores(self, scores)

    def raise_probabilities(self, chosen: LabelIds, probabilities: Floats) -> None:
        """Make ancestors at least as probable as their descendants; n x candidates, in place.

        `chosen` are the ids of the candidates. Ancestors must precede their descendants.
        """
        _raise_probabilities(self, chosen, probabilities)

    def ancestors_of(self, label: int) -> list[int]:
        """The ids of all labels that a label implies."""
        return [int(a) for a in self.ancestors[self.indptr[label] : self.indptr[label + 1]]]


@compiled
def raise_ancestors(implications: Implications, row_scores: RowScores, label: int) -> None:
    """Raise the first ancestor to at least one float32 step above the label, the next to two, etc.

    The ancestors of an ancestor come later in the same list, so they already get at least the steps
    that the raised ancestor would give them. Therefore the labels of a row can be handled in any
    order.
    """
    above = row_scores.scores[label]
    for i in range(implications.indptr[label], implications.indptr[label + 1]):
        ancestor = implications.ancestors[i]
        above = np.nextafter(above, np.float32(np.inf))
        if row_scores.scores[ancestor] < above:
            row_scores.scores[ancestor] = above
            block = ancestor // BLOCK
            row_scores.peaks[block] = max(row_scores.peaks[block], above)


@compiled
def raise_all_ancestors(implications: Implications, row_scores: RowScores) -> None:
    """Raise the ancestors of all labels."""
    for label in range(implications.indptr.size - 1):
        raise_ancestors(implications, row_scores, label)


@compiled
def choose_with_ancestors(
    implications: Implications, row_scores: RowScores, chosen: LabelIds
) -> None:
    """Raise ancestors, then choose the best labels of one row as `choose` does.

    A label whose score is clearly below the last candidate's score cannot raise an ancestor to a
    candidate. Therefore only the ancestors of the other labels are raised.
    """
    least = peak_of_rank(row_scores.peaks, chosen.size)
    if implications.ancestors.size > 0:
        if least == -np.inf:  # fewer blocks than candidates: the peaks give no bound
            choose(row_scores, least, chosen)
            least = row_scores.scores[chosen[-1]]
        _raise_ancestors_of_best(implications, row_scores, least)
    choose(row_scores, least, chosen)


@compiled
def _raise_ancestors_of_best(
    implications: Implications, row_scores: RowScores, least: np.float32
) -> None:
    """Raise the ancestors of all labels with a score of `least` minus a small margin or more."""
    about = least - _RAISED_AT_MOST * max(np.float32(1), abs(least))
    for block in range(row_scores.peaks.size):
        if row_scores.peaks[block] < about:
            continue
        found = at_least(row_scores.scores, block, about)
        while found != 0:
            raise_ancestors(implications, row_scores, block * BLOCK + trailing_zeros(found))
            found &= found - np.uint64(1)


@compiled
def raise_row(implications: Implications, chosen: LabelIds, probabilities: Floats) -> None:
    """Raise the probabilities of ancestors among the candidates of one row."""
    for place in range(chosen.size):
        label = chosen[place]
        for i in range(implications.indptr[label], implications.indptr[label + 1]):
            for other in range(place):  # ancestors precede their descendants
                if chosen[other] == implications.ancestors[i]:
                    probabilities[other] = max(probabilities[other], probabilities[place])


@compiled
def _raise_scores(implications: Implications, scores: Floats) -> None:
    row_scores = new_row_scores(scores.shape[1])
    for row in range(scores.shape[0]):
        fill_row_scores(scores[row], row_scores)
        raise_all_ancestors(implications, row_scores)
        scores[row] = row_scores.scores[: scores.shape[1]]


@compiled
def _raise_probabilities(
    implications: Implications, chosen: LabelIds, probabilities: Floats
) -> None:
    for row in range(chosen.shape[0]):
        raise_row(implications, chosen[row], probabilities[row])
