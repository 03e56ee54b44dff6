"""May a new model go live? Challenger and champion are judged on the same rows.

The measure is nDCG over the first DEPTH labels, on the labels that both models know: a label that
only one of them has says nothing about which of them is better, so it neither helps nor hurts. A
challenger that lost labels is judged on what it kept, and the verdict says how many it lost.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.labeler import Labeler
from labelwright.models.labels import LabelMatrix
from labelwright.training.data import LabelledEntities
from labelwright.training.evaluation.evaluate import label_with_truth
from labelwright.training.evaluation.metrics import DEPTH, correctness
from labelwright.training.evaluation.slices import slices

TOLERANCE = 0.005
"""How much worse than the champion a challenger may be, in nDCG."""
MAX_SLICE_LOSS = 0.05
"""By how much a slice may not fall, in nDCG."""
RESAMPLES = 1_000
CONFIDENCE = 0.95
_QUERY = LabelQuery(top_k=4 * DEPTH)

RowScores = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a model is promoted, and why, in a sentence with the figures."""

    promoted: bool
    reason: str


FIRST_VERSION = Verdict(True, "it is the first version")


def compare(
    challenger: Labeler, champion: Labeler, test: LabelledEntities, seed: int, threads: int
) -> Verdict:
    """Promote unless the challenger may be worse by more than TOLERANCE, or a slice collapses.

    The bound is that of a paired bootstrap over rows (one-sided, CONFIDENCE). A slice collapses
    when it falls by more than MAX_SLICE_LOSS, and its upper bound lies below zero.
    """
    shared = sorted(set(challenger.labels.names) & set(champion.labels.names))
    if not shared:
        return Verdict(False, "it shares no label with the champion")
    gains = _ndcg_of_shared(challenger, test, shared, threads) - _ndcg_of_shared(
        champion, test, shared, threads
    )
    lower, _ = bounds(gains, seed)
    figures = (
        f"nDCG@{DEPTH} {100 * gains.mean():+.2f} points against the champion, at least "
        f"{100 * lower:+.2f} with {CONFIDENCE:.0%} confidence, on {len(gains):,} test rows and "
        f"{len(shared):,} shared labels; tolerated are {-100 * TOLERANCE:+.2f}"
        f"{_other_labels(challenger, champion, len(shared))}"
    )
    if collapsed := _worst_collapse(gains, test, seed):
        return Verdict(False, f"{collapsed}; overall {figures}")
    return Verdict(lower >= -TOLERANCE, figures)


def _other_labels(challenger: Labeler, champion: Labeler, shared: int) -> str:
    """What the label sets do not share, in words."""
    lost, new = len(champion.labels) - shared, len(challenger.labels) - shared
    parts = ((lost, "it lacks {:,} of the champion's labels"), (new, "it adds {:,} labels"))
    return "".join(f"; {words.format(count)}" for count, words in parts if count)


def bounds(gains: RowScores, seed: int) -> tuple[float, float]:
    """One-sided lower and upper bounds of the mean, by bootstrap (Efron 1979)."""
    random = np.random.default_rng(seed)
    means = np.array(
        [gains[random.integers(0, len(gains), len(gains))].mean() for _ in range(RESAMPLES)]
    )
    return float(np.quantile(means, 1 - CONFIDENCE)), float(np.quantile(means, CONFIDENCE))


def _worst_collapse(gains: RowScores, test: LabelledEntities, seed: int) -> str | None:
    """The slice that falls most of those that collapse, in words."""
    fallen = [
        (float(gains[part.rows].mean()), part.name)
        for part in slices(test.entities)
        if gains[part.rows].mean() < -MAX_SLICE_LOSS and bounds(gains[part.rows], seed)[1] < 0
    ]
    if not fallen:
        return None
    loss, name = min(fallen)
    return f"slice {name!r} falls by {-100 * loss:.2f} points"


def _ndcg_of_shared(
    labeler: Labeler, test: LabelledEntities, shared: list[str], threads: int
) -> RowScores:
    predictions, truth = label_with_truth(labeler, test, _QUERY, threads)
    wanted = np.isin(predictions.labels.names, shared)
    return ndcg_by_row(predictions.where(wanted[predictions.ids]), truth, wanted)


def ndcg_by_row(
    predictions: Predictions, truth: LabelMatrix, wanted: npt.NDArray[np.bool_]
) -> RowScores:
    """nDCG over the first DEPTH answers of each row (Järvelin & Kekäläinen 2002).

    Only true labels that are `wanted` (bool[labels]) count; a row that has none is judged 1.
    """
    true = truth.owners()[wanted[truth.ids]]
    possible = np.minimum(np.bincount(true, minlength=len(truth)), DEPTH)
    discounts = 1 / np.log2(np.arange(2, DEPTH + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[possible]
    owners, position, correct = correctness(predictions, truth)
    hits = correct & (position < DEPTH)
    reached = np.bincount(owners[hits], discounts[position[hits]], minlength=len(truth))
    return np.where(possible > 0, reached / np.maximum(ideal, 1e-9), 1.0)
