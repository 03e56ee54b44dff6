"""Choosing the decisions of a model on pairs that neither stage was fitted on."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import scipy.stats
from sklearn.linear_model import LogisticRegression

from labelwright.models.decisions import NEVER, PRECISIONS, Probabilities

CONFIDENCE = 0.95
"""How sure a promise of precision is, for each label."""
SIZES = 2.0 ** (np.arange(10, 41) / 2)
"""How many of a label's most probable pairs are tried as what is asserted: 32, 45, 64, ..."""

Flags = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


def best_threshold(
    probabilities: Probabilities, present: Flags, positives: int, beta: float = 1.0
) -> float:
    """The threshold with the largest micro-F of weight `beta`, where `positives` pairs hold in all.

    Recall counts `beta` times as much as precision (van Rijsbergen 1979). The threshold lies
    halfway between the last probability asserted and the first that is not.
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
    """For each of PRECISIONS, the lowest threshold of each label that keeps the promise.

    The promise: of what is asserted, at least that share is right, with CONFIDENCE for each label
    (Clopper & Pearson 1934). All SIZES that a label could be cut at are tried, so each is held to
    the confidence divided by their number (Bonferroni). Pairs of a label and the same name (a hash)
    are alike, so only one of them counts. A label without the evidence has NEVER. What is sure are
    the held-out probabilities; both stages are fitted once more, on all rows, before they serve.
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
        risk = (1 - CONFIDENCE) / len(sizes)
        least = np.nan_to_num(scipy.stats.beta.ppf(risk, right, sizes - right + 1))
        for level in PRECISIONS:
            if (kept := sizes[least >= level]).size:
                thresholds[level][label] = _between(probabilities[pairs], int(kept[-1]))
    return thresholds


def logistic(centres: npt.NDArray[np.float64], present: Ids, absent: Ids) -> tuple[float, float]:
    """Slope and intercept from score to log-odds (Platt 1999), from two histograms of scores."""
    if not present.any() or not absent.any():
        return 1.0, float(np.log((present.sum() + 0.5) / (absent.sum() + 0.5)))
    x = np.concatenate([centres, centres])[:, None]
    y = np.repeat([1, 0], len(centres))
    weights = np.concatenate([present, absent])
    model = LogisticRegression(C=1e6).fit(x[weights > 0], y[weights > 0], weights[weights > 0])
    return max(float(model.coef_[0, 0]), 0.0), float(model.intercept_[0])


def _between(descending: Probabilities, asserted: int) -> float:
    """A threshold that so many of some probabilities reach, and the next one does not."""
    last = descending[asserted - 1]
    following = descending[min(asserted, len(descending) - 1)]
    middle = (last + following) / 2
    return float(middle if middle > following else last)
