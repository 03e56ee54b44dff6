"""Promotion gate: compares a new model with the champion and decides whether to promote it.

Challenger and champion label the same test rows. The metric is nDCG over the first DEPTH labels,
computed on the labels that both models know. Labels that only one model knows are ignored, because
they do not show which model is better. The verdict gives the numbers of added and lost labels.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.labeler import Labeler
from labelwright.models.labels import LabelMatrix
from labelwright.training.data import LabelledEntities
from labelwright.training.evaluation.evaluate import label_with_truth
from labelwright.training.evaluation.intervals import CONFIDENCE, bootstrap_mean
from labelwright.training.evaluation.metrics import DEPTH, correctness
from labelwright.training.evaluation.slices import slices

TOLERANCE = 0.005
"""Maximum loss of nDCG compared with the champion."""
MAX_SLICE_LOSS = 0.05
"""Maximum loss of nDCG in a slice, compared with the champion."""
_QUERY = LabelQuery(top_k=4 * DEPTH)

RowScores = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The decision whether a model is promoted, and the reason: a phrase with the figures."""

    promoted: bool
    reason: str


FIRST_VERSION = Verdict(True, "it is the first version")


def compare(
    challenger: Labeler, champion: Labeler, test: LabelledEntities, seed: int, threads: int
) -> Verdict:
    """Compare two models; refuse the challenger if it is worse on all rows or in a slice.

    The challenger is refused if the lower bound of the mean difference is below -TOLERANCE. The
    bound comes from a paired bootstrap over rows (one-sided, CONFIDENCE). It is also refused if a
    slice loses more than MAX_SLICE_LOSS and the upper bound of this difference is below zero.
    """
    shared = sorted(set(challenger.labels.names) & set(champion.labels.names))
    if not shared:
        return Verdict(False, "it has no label in common with the champion")
    after, before = (_shared_ndcg(model, test, shared, threads) for model in (challenger, champion))
    changes = after - before
    lower, _ = bootstrap_mean(changes, seed)
    figures = (
        f"nDCG@{DEPTH} {100 * changes.mean():+.2f} points against the champion, at least "
        f"{100 * lower:+.2f} with {CONFIDENCE:.0%} confidence, on {len(changes):,} test rows and "
        f"{len(shared):,} shared labels; tolerance: {-100 * TOLERANCE:+.2f}"
        f"{_other_labels(challenger, champion, len(shared))}"
    )
    if collapsed := _worst_slice(changes, test, seed):
        return Verdict(False, f"{collapsed}; overall {figures}")
    return Verdict(lower >= -TOLERANCE, figures)


def _other_labels(challenger: Labeler, champion: Labeler, shared: int) -> str:
    """A phrase with the numbers of labels that only one model has; empty if there are none."""
    lost, new = len(champion.labels) - shared, len(challenger.labels) - shared
    parts = ((lost, "it lacks {:,} of the champion's labels"), (new, "it adds {:,} labels"))
    return "".join(f"; {words.format(count)}" for count, words in parts if count)


def _worst_slice(changes: RowScores, test: LabelledEntities, seed: int) -> str | None:
    """A phrase about the slice with the largest significant loss above MAX_SLICE_LOSS, or None."""
    losses = []
    for part in slices(test.entities):
        inside = changes[part.rows]
        if inside.mean() < -MAX_SLICE_LOSS and bootstrap_mean(inside, seed)[1] < 0:
            losses.append((float(inside.mean()), part.name))
    if not losses:
        return None
    change, name = min(losses)
    return f"slice {name!r} {100 * change:+.2f} points (tolerance: {-100 * MAX_SLICE_LOSS:+.2f})"


def _shared_ndcg(
    labeler: Labeler, test: LabelledEntities, shared: list[str], threads: int
) -> RowScores:
    predictions, truth = label_with_truth(labeler, test, _QUERY, threads)
    wanted = np.isin(predictions.labels.names, shared)
    return ndcg_by_row(predictions.where(wanted[predictions.ids]), truth, wanted)


def ndcg_by_row(
    predictions: Predictions, truth: LabelMatrix, wanted: npt.NDArray[np.bool_]
) -> RowScores:
    """nDCG over the first DEPTH labels of each row (Järvelin & Kekäläinen 2002).

    Only true labels that are `wanted` (bool[labels]) count. A row without such a label scores 1.
    """
    true = truth.present.rows()[wanted[truth.present.ids]]
    possible = np.minimum(np.bincount(true, minlength=len(truth)), DEPTH)
    discounts = 1 / np.log2(np.arange(2, DEPTH + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[possible]
    owners, position, correct = correctness(predictions, truth)
    hits = correct & (position < DEPTH)
    reached = np.bincount(owners[hits], discounts[position[hits]], minlength=len(truth))
    return np.where(possible > 0, reached / np.maximum(ideal, 1e-9), 1.0)
