"""May a new model go live? Challenger and champion are judged on the same rows."""

import dataclasses

import numpy as np
import numpy.typing as npt

from models.decisions import Answers, Question
from models.labeler import Labeler
from models.labels import label_matrix
from training.data import LabelledEntities
from training.metrics import DEPTH, correctness

TOLERANCE = 0.005
"""How much worse than the champion a challenger may be, in nDCG."""
RESAMPLES = 1_000
CONFIDENCE = 0.95
_QUESTION = Question(top_k=4 * DEPTH)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a model is promoted, and why, in a sentence with the figures."""

    promoted: bool
    reason: str


FIRST = Verdict(True, "it is the first version")


def compare(challenger: Labeler, champion: Labeler, test: LabelledEntities, seed: int) -> Verdict:
    """Promote unless the challenger may be worse than the champion by more than TOLERANCE.

    Judged by nDCG over the first DEPTH labels, on the labels that both models know; what counts is
    the lower bound of a paired bootstrap over rows (one-sided, CONFIDENCE).
    """
    shared = sorted(set(challenger.labels.names) & set(champion.labels.names))
    if not shared:
        return Verdict(False, "it shares no label with the champion")
    gains = _quality(challenger, test, shared) - _quality(champion, test, shared)
    random = np.random.default_rng(seed)
    draws = random.integers(0, len(gains), (RESAMPLES, len(gains)))
    lower = float(np.quantile(gains[draws].mean(axis=1), 1 - CONFIDENCE))
    figures = (
        f"nDCG@{DEPTH} {100 * gains.mean():+.2f} points against the champion, at least "
        f"{100 * lower:+.2f} with {CONFIDENCE:.0%} confidence, on {len(gains):,} test rows and "
        f"{len(shared):,} shared labels; tolerated are {-100 * TOLERANCE:.2f}"
    )
    return Verdict(lower >= -TOLERANCE, figures)


def _quality(
    labeler: Labeler, test: LabelledEntities, shared: list[str]
) -> npt.NDArray[np.float64]:
    answers = _restricted(labeler.label(test.entities, _QUESTION), shared)
    return ndcg(answers, test, shared)


def _restricted(answers: Answers, names: list[str]) -> Answers:
    """Only the labels of those names, at most DEPTH for each entity."""
    rows = np.repeat(np.arange(len(answers.indptr) - 1), np.diff(answers.indptr))
    kept = np.isin(answers.ids, np.flatnonzero(np.isin(answers.labels.names, names)))
    rank: npt.NDArray[np.int64] = np.cumsum(kept) - kept
    first = np.concatenate([[0], np.cumsum(np.bincount(rows[kept], minlength=rows.max() + 1))])
    kept &= rank - first[rows] < DEPTH
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows[kept], minlength=len(first) - 1))])
    return dataclasses.replace(
        answers,
        indptr=indptr,
        ids=answers.ids[kept],
        probabilities=answers.probabilities[kept],
        asserted=answers.asserted[kept],
    )


def ndcg(answers: Answers, test: LabelledEntities, names: list[str]) -> npt.NDArray[np.float64]:
    """nDCG over the first DEPTH answers of each row (Järvelin & Kekäläinen 2002); 1 if all agree.

    Only true labels among `names` count.
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
