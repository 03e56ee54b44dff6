"""Pairs of a held-out entity and a label, scored by a linear stage fitted on other entities."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from labelwright.models.labels import LabelMatrix
from labelwright.models.stages.linear import LabelIds
from labelwright.models.stages.reranker import Pairs

SCORE_BINS = np.linspace(-4, 2, 121)
"""Edges of the bins of the score histograms. The first and the last bin also count lower and higher
scores."""

Counts = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class HeldOutPairs:
    """The candidates of n held-out entities.

    `pairs` (n * candidates rows) are the features of the reranker. `chosen` (n x candidates) are
    the ids of the candidate labels. `present` (n x candidates) is True if the entity has the label.
    `known` (n x candidates) is False if it is unknown whether the entity has the label. `decided`
    (n x candidates) is True if the pair counts for the decisions: if it is known, or if it is an
    attribute that the data do not state, which counts as false. Labels that the stage only knew
    from a label book do not count. `names` (n) are hashes of the entities' names. `positives` is
    the number of true labels of these entities that count, including labels that are not
    candidates. `other_present` and `other_absent` are histograms over SCORE_BINS: they count the
    scores of known pairs that are not candidates.
    """

    pairs: Pairs
    chosen: LabelIds
    present: npt.NDArray[np.bool_]
    known: npt.NDArray[np.bool_]
    decided: npt.NDArray[np.bool_]
    names: npt.NDArray[np.uint64]
    positives: int
    other_present: Counts
    other_absent: Counts


def concatenated(parts: Sequence[HeldOutPairs]) -> HeldOutPairs:
    """The pairs of all parts, one part after another."""
    return HeldOutPairs(
        np.concatenate([part.pairs for part in parts]),
        np.concatenate([part.chosen for part in parts]),
        np.concatenate([part.present for part in parts]),
        np.concatenate([part.known for part in parts]),
        np.concatenate([part.decided for part in parts]),
        np.concatenate([part.names for part in parts]),
        sum(part.positives for part in parts),
        np.sum([part.other_present for part in parts], axis=0),
        np.sum([part.other_absent for part in parts], axis=0),
    )


def histograms_of_others(
    scores: npt.NDArray[np.float32], chosen: LabelIds, truth: LabelMatrix
) -> tuple[Counts, Counts]:
    """Histograms of the scores of known pairs that are not candidates.

    The first histogram counts the true pairs, the second the false pairs.
    """
    others = scores.copy()
    others[np.arange(len(scores))[:, None], chosen] = np.nan
    if not truth.complete.all():
        others[~truth.all_known()] = np.nan
    present = _histogram(others[truth.present.rows(), truth.present.ids])
    return present, _histogram(others) - present


def _histogram(scores: npt.NDArray[np.float32]) -> Counts:
    """The number of scores in each of SCORE_BINS; NaN is not counted."""
    known = scores[~np.isnan(scores)]
    counts, _ = np.histogram(np.clip(known, SCORE_BINS[0], SCORE_BINS[-1]), SCORE_BINS)
    return counts
