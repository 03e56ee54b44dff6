"""Implications between labels: what has a label has its ancestors too.

No answer violates them: an ancestor scores higher than its descendant, so it is a candidate
wherever the descendant is one and comes first on ties; it is at least as probable, and asserted
when the descendant is. The idea that an ancestor takes the maximum over its descendants is that of
Giunchiglia & Lukasiewicz (C-HMCNN, NeurIPS 2020).
"""

from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from labelwright.models.kernels.jit import compiled
from labelwright.models.kernels.simd import BLOCK, at_least, trailing_zeros
from labelwright.models.stages.linear import Line, choose, fill_line, new_line, peak_of_rank

Offsets = npt.NDArray[np.int64]
LabelIds = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

_LIFTED_AT_MOST = np.float32(1e-3)  # by far: each ancestor adds the smallest step there is


class Implications(NamedTuple):
    """All ancestors of each label: label l has `ancestors[indptr[l]:indptr[l + 1]]`.

    They are transitive and without circles, so an ancestor has fewer ancestors than its descendant;
    of the ancestors of a label, those with more ancestors come first.
    """

    indptr: Offsets
    ancestors: LabelIds

    @classmethod
    def none(cls, labels: int) -> Self:
        """No label implies another."""
        return cls(np.zeros(labels + 1, np.int64), np.zeros(0, np.int32))

    def raise_scores(self, scores: Floats) -> None:
        """Let the score of each ancestor exceed those of its descendants; n x labels, in place."""
        _raise_scores(self, scores)

    def raise_probabilities(self, chosen: LabelIds, probabilities: Floats) -> None:
        """Let no candidate be less probable than its descendants; n x candidates, in place."""
        _raise_probabilities(self, chosen, probabilities)

    def ancestors_of(self, label: int) -> list[int]:
        """The ids of the labels that a label implies."""
        return [int(a) for a in self.ancestors[self.indptr[label] : self.indptr[label + 1]]]


@compiled
def lift(implications: Implications, line: Line, label: int) -> None:
    """Let the scores of a label's ancestors exceed its own, each that of the one before it.

    So the order in which labels are lifted does not matter.
    """
    above = line.scores[label]
    for i in range(implications.indptr[label], implications.indptr[label + 1]):
        ancestor = implications.ancestors[i]
        above = np.nextafter(above, np.float32(np.inf))
        if line.scores[ancestor] < above:
            line.scores[ancestor] = above
            block = ancestor // BLOCK
            line.peaks[block] = max(line.peaks[block], above)


@compiled
def lift_all(implications: Implications, line: Line) -> None:
    """Lift the ancestors of all labels."""
    for label in range(implications.indptr.size - 1):
        lift(implications, line, label)


@compiled
def choose_implied(implications: Implications, line: Line, chosen: LabelIds) -> None:
    """The best labels of one row once ancestors are lifted, as `choose` gives them.

    Only labels that score about as high as the last candidate can lift anything among the
    candidates, so the ancestors of no others are looked at.
    """
    least = peak_of_rank(line.peaks, chosen.size)
    if implications.ancestors.size > 0:
        if least == -np.inf:  # too few blocks: any candidate may be the last
            choose(line, least, chosen)
            least = line.scores[chosen[-1]]
        _lift_among(implications, line, least)
    choose(line, least, chosen)


@compiled
def _lift_among(implications: Implications, line: Line, least: np.float32) -> None:
    """Lift the ancestors of all labels from about that score on."""
    about = least - _LIFTED_AT_MOST * max(np.float32(1), abs(least))
    for block in range(line.peaks.size):
        if line.peaks[block] < about:
            continue
        found = at_least(line.scores, block, about)
        while found != 0:
            lift(implications, line, block * BLOCK + trailing_zeros(found))
            found &= found - np.uint64(1)


@compiled
def raise_row(implications: Implications, chosen: LabelIds, probabilities: Floats) -> None:
    """Let no candidate of one row be less probable than its descendants."""
    for place in range(chosen.size):
        label = chosen[place]
        for i in range(implications.indptr[label], implications.indptr[label + 1]):
            for other in range(place):  # ancestors score higher
                if chosen[other] == implications.ancestors[i]:
                    probabilities[other] = max(probabilities[other], probabilities[place])


@compiled
def _raise_scores(implications: Implications, scores: Floats) -> None:
    line = new_line(scores.shape[1])
    for row in range(scores.shape[0]):
        fill_line(scores[row], line)
        lift_all(implications, line)
        scores[row] = line.scores[: scores.shape[1]]


@compiled
def _raise_probabilities(
    implications: Implications, chosen: LabelIds, probabilities: Floats
) -> None:
    for row in range(chosen.shape[0]):
        raise_row(implications, chosen[row], probabilities[row])
