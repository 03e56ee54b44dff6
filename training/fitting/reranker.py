"""Fitting of the reranker: trees, calibration, and statistics of the labels."""

import dataclasses
from collections.abc import Sequence

import lightgbm
import numpy as np
import numpy.typing as npt
import scipy.sparse
from sklearn.isotonic import IsotonicRegression

from labelwright.entities.errors import DataError
from labelwright.models.labels import LabelMatrix
from labelwright.models.stages.reranker import (
    LABEL_FEATURE,
    PAIR_FEATURES,
    Knots,
    Pairs,
    calibrated,
)

HALVES = 2
"""Number of parts of the pairs; each part is scored by trees that were fitted on the other part."""
FEW_PAIRS = 50_000
"""With fewer pairs, the trees learn noise: they have at most LEAVES_OF_FEW_PAIRS leaves, and their
number is chosen."""
LEAVES_OF_FEW_PAIRS = 7
PARTS_OF_TREES = (4, 2, 1)
"""With few pairs, a fourth or half of the trees, or all of them, are kept."""
KNOTS = 64
"""Maximum number of knots of the calibration."""
PRIOR_PAIRS = 20
"""The number of pairs that the calibration of a base is worth in each bin."""

Flags = npt.NDArray[np.bool_]
RawScores = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Hashes = npt.NDArray[np.uint64]


@dataclasses.dataclass(frozen=True)
class BoostingParameters:
    """Settings of the gradient-boosted trees."""

    trees: int
    leaves: int
    rate: float
    seed: int
    threads: int

    def parameters(self) -> dict[str, object]:
        """LightGBM's parameters. With the same seed, the trees do not depend on `threads`."""
        return {
            "objective": "binary",
            "num_leaves": self.leaves,
            "learning_rate": self.rate,
            "min_data_in_leaf": 50,
            "lambda_l2": 1.0,
            "cat_smooth": 20.0,
            "cat_l2": 20.0,
            "max_cat_threshold": 64,
            "seed": self.seed,
            "num_threads": self.threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }


def fit_trees(
    pairs: Pairs,
    present: Flags,
    boosting: BoostingParameters,
    start: lightgbm.Booster | None = None,
) -> lightgbm.Booster:
    """Fit trees that separate the true pairs of an entity and a label from the false ones.

    The new trees follow the trees of `start`, if it is given; then `boosting` may have 0 trees.
    """
    if start is not None and not boosting.trees:
        return start
    data = lightgbm.Dataset(
        pairs,
        present.astype(np.float32),
        feature_name=list(PAIR_FEATURES),
        categorical_feature=[LABEL_FEATURE],
        params={"verbosity": -1},
    )
    return lightgbm.train(boosting.parameters(), data, boosting.trees, init_model=start)


def cross_fitted_scores(
    pairs: Pairs,
    present: Flags,
    known: Flags,
    names: Hashes,
    boosting: BoostingParameters,
    start: lightgbm.Booster | None = None,
) -> tuple[RawScores, BoostingParameters]:
    """Raw scores of all pairs, and the settings that suit the number of pairs.

    Each pair is scored by trees that were fitted on other names. `names` (uint64, one for each
    pair) are hashes. If the known pairs have too few names, pairs are divided by position. The
    trees are fitted on known pairs only. With few pairs, the trees are smaller, and their number
    has the lowest log-loss of several numbers. New trees follow the trees of `start`, if it is
    given; then their number may be 0. Raises DataError if the known pairs cannot be divided into
    two halves.
    """
    fold = _halves(names, known)
    given = 0 if start is None else start.num_trees()
    numbers: Sequence[int] = (boosting.trees,)
    if np.count_nonzero(known) < FEW_PAIRS:
        boosting = dataclasses.replace(boosting, leaves=min(boosting.leaves, LEAVES_OF_FEW_PAIRS))
        numbers = [boosting.trees // part for part in PARTS_OF_TREES if boosting.trees >= part]
    if start is not None:
        numbers = [0, *numbers]
    raw = np.empty((len(numbers), len(pairs)))
    for half in range(HALVES):
        others = (fold != half) & known
        booster = fit_trees(pairs[others], present[others], boosting, start)
        for scores, number in zip(raw, numbers, strict=True):
            scores[fold == half] = booster.predict(
                pairs[fold == half], 0, given + number, raw_score=True, num_threads=boosting.threads
            )
    best = int(np.argmin([_log_loss(scores[known], present[known]) for scores in raw]))
    return raw[best], dataclasses.replace(boosting, trees=numbers[best])


def _log_loss(raw: RawScores, present: Flags) -> float:
    """The mean log-loss of raw scores, which are log-odds."""
    return float(np.logaddexp(0, np.where(present, -raw, raw)).mean())


def _halves(names: Hashes, known: Flags) -> npt.NDArray[np.int64]:
    """The half of each pair: by name, or by position if the known pairs have too few names."""
    by_name = (names >> np.uint64(20)) % np.uint64(HALVES)
    by_pair = np.arange(len(names)) % HALVES
    for fold in (by_name.astype(np.int64), by_pair):
        if len(np.unique(fold[known])) == HALVES:
            return fold
    raise DataError(
        "too few rows have labels that are known to be present or absent: give more rows, or list "
        "known absent labels in a column `absent`"
    )


def calibration_knots(raw: RawScores, present: Flags, prior: Knots | None = None) -> Knots:
    """Knots (2 x m) of the map from raw scores to log-odds.

    The map is an isotonic regression over bins of equal mass. Below the first and above the last
    bin its slope is 1. A small slope is added everywhere, so the map keeps the order of all scores.
    Each bin also has PRIOR_PAIRS pairs with the shares of the map `prior`, if it is given.
    """
    edges = np.unique(np.quantile(raw, np.linspace(0, 1, KNOTS + 1)))
    bins = np.clip(np.searchsorted(edges, raw, side="right") - 1, 0, max(len(edges) - 2, 0))
    weight = np.bincount(bins)
    used = weight > 0
    centre = np.bincount(bins, raw)[used] / weight[used]
    expected, pairs = (0.5, 1) if prior is None else (calibrated(centre, prior), PRIOR_PAIRS)
    rate = (np.bincount(bins, present)[used] + pairs * expected) / (weight[used] + pairs)
    smooth = IsotonicRegression().fit_transform(centre, rate, sample_weight=weight[used])
    log_odds = np.log(smooth) - np.log1p(-smooth)
    ends = np.array([[-1e3], [1e3]])
    x = np.concatenate([centre[:1] + ends[0], centre, centre[-1:] + ends[1]])
    y = np.concatenate([log_odds[:1] + ends[0], log_odds, log_odds[-1:] + ends[1]])
    return np.stack([x, y + 1e-6 * x])


def label_rates(labels: LabelMatrix) -> Floats:
    """For each label, the share of entities that have it, among entities where it is known."""
    rates: Floats = (labels.counts() / np.maximum(known_rows(labels), 1)).astype(np.float32)
    return rates


def known_rows(labels: LabelMatrix) -> npt.NDArray[np.int64]:
    """For each label, the number of entities where it is known to be present or absent."""
    known: npt.NDArray[np.int64] = labels.complete.sum(axis=0)[labels.groups]
    known += np.bincount(labels.listed_where_incomplete()[1], minlength=labels.labels)
    return known


def co_occurrence(labels: LabelMatrix) -> tuple[Floats, Floats]:
    """Co-occurrence of labels: two matrices (labels x labels).

    The first matrix holds at [a, b] the share of the entities with label a that also have label b.
    Only entities for which label b is known are counted. The second matrix holds at [a, b] the
    number of these entities.
    """
    shape = (len(labels), labels.labels)
    ones = np.ones(len(labels.present.ids), np.float32)
    present = labels.present
    matrix = scipy.sparse.csr_array((ones, present.ids, present.indptr), shape=shape)
    together: Floats = (matrix.T @ matrix).toarray()
    known: Floats = (matrix.T @ labels.complete.astype(np.float32))[:, labels.groups]
    rows, ids = labels.listed_where_incomplete()
    if len(ids):
        listed = scipy.sparse.csr_array((np.ones(len(ids), np.float32), (rows, ids)), shape=shape)
        known += (matrix.T @ listed).toarray()
    return (together / np.maximum(known, 1)).astype(np.float32, copy=False), known


def shares_as_bytes(shares: Floats) -> npt.NDArray[np.uint8]:
    """Shares from 0 to 1 as whole numbers from 0 to 255."""
    return np.rint(255 * shares).astype(np.uint8)
