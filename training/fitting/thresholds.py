"""Thresholds of the decisions, chosen on pairs of a held-out entity and a label."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import scipy.stats
from sklearn.linear_model import LogisticRegression

from labelwright.models.decisions import NEVER, PRECISIONS, Probabilities

GUARANTEE_CONFIDENCE = 0.95
"""Confidence level of the precision guarantee of one label."""
SIZES = 2.0 ** (np.arange(10, 41) / 2)
"""Numbers of asserted pairs of a label that are tried: its 32, 45, 64, ... most probable pairs."""

Flags = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


def best_threshold(
    probabilities: Probabilities, present: Flags, positives: int, beta: float = 1.0
) -> float:
    """The threshold with the largest micro-averaged F-beta measure.

    `positives` is the number of true pairs, including pairs that are not candidates. Recall has
    `beta` times the weight of precision (van Rijsbergen 1979). The threshold is the middle between
    the lowest asserted probability and the next lower one. Without pairs it is 0.5.
    """
    if not len(probabilities):
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    asserted = np.arange(1, len(order) + 1)
    f = (1 + beta**2) * np.cumsum(present[order]) / (asserted + beta**2 * positives)
    f[:-1][np.diff(probabilities[order]) == 0] = 0  # equal pairs are asserted together
    return _between(probabilities[order], int(np.argmax(f)) + 1)


def precise_thresholds(
    ids: Ids, names: Hashes, probabilities: Probabilities, present: Flags, labels: int
) -> Mapping[float, Probabilities]:
    """For each of PRECISIONS, the lowest threshold of each label that guarantees this precision.

    The guarantee: at least this share of the label's assertions is correct, with confidence
    GUARANTEE_CONFIDENCE for each label (Clopper & Pearson 1934). Several SIZES are tried, so the
    allowed risk is divided by their number (Bonferroni). Pairs of one label whose entities have the
    same name (`names` are hashes) are not independent, so only one of these pairs counts. The
    threshold of a label without enough evidence is NEVER. The guarantee holds for the held-out
    probabilities. The served model is fitted again, on all rows.
    """
    alone = np.unique(names ^ (ids.astype(np.uint64) << np.uint64(40)), return_index=True)[1]
    ids, probabilities, present = ids[alone], probabilities[alone], present[alone]
    thresholds = {level: np.full(labels, NEVER, np.float32) for level in PRECISIONS}
    order = np.lexsort((-probabilities, ids))
    bounds = np.searchsorted(ids[order], np.arange(labels + 1))
    for label in np.flatnonzero(np.diff(bounds) >= SIZES[0]):
        pairs = order[bounds[label] : bounds[label + 1]]
        tried = -probabilities[pairs[SIZES[len(pairs) >= SIZES].astype(np.int64) - 1]]
        sizes = np.unique(np.searchsorted(-probabilities[pairs], tried, side="right"))
        right = np.cumsum(present[pairs])[sizes - 1]
        risk = (1 - GUARANTEE_CONFIDENCE) / len(sizes)
        least = np.nan_to_num(scipy.stats.beta.ppf(risk, right, sizes - right + 1))
        for level in PRECISIONS:
            if (kept := sizes[least >= level]).size:
                thresholds[level][label] = _between(probabilities[pairs], int(kept[-1]))
    return thresholds


def logistic(centres: npt.NDArray[np.float64], present: Ids, absent: Ids) -> tuple[float, float]:
    """Slope and intercept of the map from scores to log-odds (Platt 1999).

    `present` is a histogram of the scores of true pairs, `absent` of false pairs. `centres` are the
    centres of the bins.
    """
    if not present.any() or not absent.any():
        return 1.0, float(np.log((present.sum() + 0.5) / (absent.sum() + 0.5)))
    x = np.concatenate([centres, centres])[:, None]
    y = np.repeat([1, 0], len(centres))
    weights = np.concatenate([present, absent])
    model = LogisticRegression(C=1e6).fit(x[weights > 0], y[weights > 0], weights[weights > 0])
    return max(float(model.coef_[0, 0]), 0.0), float(model.intercept_[0])


def _between(descending: Probabilities, asserted: int) -> float:
    """A threshold that only the first `asserted` probabilities reach."""
    last = descending[asserted - 1]
    following = descending[min(asserted, len(descending) - 1)]
    middle = (last + following) / 2
    return float(middle if middle > following else last)
