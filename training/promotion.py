"""May a new model go live? Challenger and champion are judged on the same rows.

The measure is nDCG over the first DEPTH labels, on the labels that both models know: a label that
only one of them has says nothing about which of them is better, so it neither helps nor hurts. A
challenger that lost labels is judged on what it kept, and the verdict says how many it lost.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from models.decisions import Answers, Question
from models.labeler import Labeler
from models.labels import label_matrix
from training.data import LabelledEntities
from training.metrics import DEPTH, correctness
from training.slices import slices

TOLERANCE = 0.005
"""How much worse than the champion a challenger may be, in nDCG."""
COLLAPSE = 0.05
"""By how much a slice may not fall, in nDCG."""
RESAMPLES = 1_000
CONFIDENCE = 0.95
_QUESTION = Question(top_k=4 * DEPTH)

Gains = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a model is promoted, and why, in a sentence with the figures."""

    promoted: bool
    reason: str


FIRST = Verdict(True, "it is the first version")


def compare(challenger: Labeler, champion: Labeler, test: LabelledEntities, seed: int) -> Verdict:
    """Promote unless the challenger may be worse by more than TOLERANCE, or a slice collapses.

    The bound is that of a paired bootstrap over rows (one-sided, CONFIDENCE). A slice collapses
    when it falls by more than COLLAPSE, and its upper bound lies below zero.
    """
    shared = sorted(set(challenger.labels.names) & set(champion.labels.names))
    if not shared:
        return Verdict(False, "it shares no label with the champion")
    gains = _quality(challenger, test, shared) - _quality(champion, test, shared)
    lower, _ = bounds(gains, seed)
    figures = (
        f"nDCG@{DEPTH} {100 * gains.mean():+.2f} points against the champion, at least "
        f"{100 * lower:+.2f} with {CONFIDENCE:.0%} confidence, on {len(gains):,} test rows and "
        f"{len(shared):,} shared labels; tolerated are {-100 * TOLERANCE:+.2f}"
        f"{_other_labels(challenger, champion, len(shared))}"
    )
    if collapsed := _collapsed(gains, test, seed):
        return Verdict(False, f"{collapsed}; overall {figures}")
    return Verdict(lower >= -TOLERANCE, figures)


def _other_labels(challenger: Labeler, champion: Labeler, shared: int) -> str:
    """What the label sets do not share, in words."""
    lost, new = len(champion.labels) - shared, len(challenger.labels) - shared
    parts = ((lost, "it lacks {:,} of the champion's labels"), (new, "it adds {:,} labels"))
    return "".join(f"; {words.format(count)}" for count, words in parts if count)


def bounds(gains: Gains, seed: int) -> tuple[float, float]:
    """One-sided lower and upper bounds of the mean, by bootstrap (Efron 1979)."""
    random = np.random.default_rng(seed)
    means = np.array(
        [gains[random.integers(0, len(gains), len(gains))].mean() for _ in range(RESAMPLES)]
    )
    return float(np.quantile(means, 1 - CONFIDENCE)), float(np.quantile(means, CONFIDENCE))


def _collapsed(gains: Gains, test: LabelledEntities, seed: int) -> str | None:
    """The slice that falls most of those that collapse, in words."""
    fallen = [
        (float(gains[part.rows].mean()), part.name)
        for part in slices(test.entities)
        if gains[part.rows].mean() < -COLLAPSE and bounds(gains[part.rows], seed)[1] < 0
    ]
    if not fallen:
        return None
    loss, name = min(fallen)
    return f"slice {name!r} falls by {-100 * loss:.2f} points"


def _quality(labeler: Labeler, test: LabelledEntities, shared: list[str]) -> Gains:
    answers = _restricted(labeler.label(test.entities, _QUESTION), shared)
    return ndcg(answers, test, shared)


def _restricted(answers: Answers, names: list[str]) -> Answers:
    """Only the labels of those names."""
    kept = np.isin(answers.ids, np.flatnonzero(np.isin(answers.labels.names, names)))
    return dataclasses.replace(
        answers,
        indptr=np.concatenate([[0], np.cumsum(kept)])[answers.indptr],
        ids=answers.ids[kept],
        probabilities=answers.probabilities[kept],
        asserted=answers.asserted[kept],
    )


def ndcg(answers: Answers, test: LabelledEntities, names: list[str]) -> Gains:
    """nDCG over the first DEPTH answers of each row (Järvelin & Kekäläinen 2002).

    Only true labels among `names` count; a row that has none of them is judged 1.
    """
    truth = label_matrix(test.labels, answers.labels)
    wanted = np.isin(answers.labels.names, names)[truth.ids]
    rows = np.repeat(np.arange(len(truth)), np.diff(truth.indptr))
    possible = np.minimum(np.bincount(rows[wanted], minlength=len(truth)), DEPTH)
    discounts = 1 / np.log2(np.arange(2, DEPTH + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[possible]
    owners, position, correct = correctness(answers, truth)
    hits = correct & (position < DEPTH)
    reached = np.bincount(owners[hits], discounts[position[hits]], minlength=len(truth))
    return np.where(possible > 0, reached / np.maximum(ideal, 1e-9), 1.0)
