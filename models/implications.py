"""Implications between labels: what has a label has its ancestors too.

No answer violates them: an ancestor scores higher than its descendant, so it is a candidate
wherever the descendant is one and comes first on ties; it is at least as probable, and asserted
when the descendant is. The idea that an ancestor takes the maximum over its descendants is that of
Giunchiglia & Lukasiewicz (C-HMCNN, NeurIPS 2020).
"""

import dataclasses
import functools
from typing import Self

import numpy as np
import numpy.typing as npt

from models.compiled import compiled

Offsets = npt.NDArray[np.int64]
LabelIds = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Implications:
    """All ancestors of each label: label l has `ancestors[indptr[l]:indptr[l + 1]]`.

    They are transitive and without circles, so an ancestor has fewer ancestors than its descendant.
    """

    indptr: Offsets
    ancestors: LabelIds

    @classmethod
    def none(cls, labels: int) -> Self:
        """No label implies another."""
        return cls(np.zeros(labels + 1, np.int64), np.zeros(0, np.int32))

    @functools.cached_property
    def _descendants(self) -> Offsets:
        """The labels that have ancestors, each before its own ancestors."""
        counts = np.diff(self.indptr)
        order = np.argsort(-counts, kind="stable")
        return order[counts[order] > 0]

    def raise_scores(self, scores: Floats) -> None:
        """Let the score of each ancestor exceed those of its descendants; n x labels, in place."""
        _raise_scores(scores, self._descendants, self.indptr, self.ancestors)

    def raise_probabilities(self, chosen: LabelIds, probabilities: Floats) -> None:
        """Let no candidate be less probable than its descendants; n x candidates, in place."""
        _raise_probabilities(chosen, probabilities, self.indptr, self.ancestors)

    def ancestors_of(self, label: int) -> list[int]:
        """The ids of the labels that a label implies."""
        return [int(a) for a in self.ancestors[self.indptr[label] : self.indptr[label + 1]]]


@compiled
def _raise_scores(
    scores: Floats, descendants: Offsets, indptr: Offsets, ancestors: LabelIds
) -> None:
    for row in range(scores.shape[0]):
        line = scores[row]
        for label in descendants:
            above = np.nextafter(line[label], np.float32(np.inf))
            for i in range(indptr[label], indptr[label + 1]):
                line[ancestors[i]] = max(line[ancestors[i]], above)


@compiled
def _raise_probabilities(
    chosen: LabelIds, probabilities: Floats, indptr: Offsets, ancestors: LabelIds
) -> None:
    for row in range(chosen.shape[0]):
        line, ids = probabilities[row], chosen[row]
        for place in range(ids.size):
            label = ids[place]
            for i in range(indptr[label], indptr[label + 1]):
                for other in range(place):  # ancestors score higher
                    if ids[other] == ancestors[i]:
                        line[other] = max(line[other], line[place])
