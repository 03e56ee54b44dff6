"""Fitting the reranker on entities that the linear stage has not seen."""

import dataclasses

import lightgbm
import numpy as np
import numpy.typing as npt
import scipy.sparse
from sklearn.isotonic import IsotonicRegression

from labelwright.entities.errors import DataError
from labelwright.models.labels import LabelMatrix
from labelwright.models.stages.reranker import LABEL_FEATURE, PAIR_FEATURES, Pairs

HALVES = 2
KNOTS = 64

Flags = npt.NDArray[np.bool_]
RawScores = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Hashes = npt.NDArray[np.uint64]


@dataclasses.dataclass(frozen=True)
class BoostingParameters:
    """How the trees are grown."""

    trees: int
    leaves: int
    rate: float
    seed: int
    threads: int

    def parameters(self) -> dict[str, object]:
        """LightGBM's names for it; the same seed gives the same trees on any number of threads."""
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


def fit_trees(pairs: Pairs, present: Flags, boosting: BoostingParameters) -> lightgbm.Booster:
    """Trees that tell the (entity, label) pairs that hold from those that do not."""
    data = lightgbm.Dataset(
        pairs,
        present.astype(np.float32),
        feature_name=list(PAIR_FEATURES),
        categorical_feature=[LABEL_FEATURE],
        params={"verbosity": -1},
    )
    return lightgbm.train(boosting.parameters(), data, boosting.trees)


def cross_fitted_scores(
    pairs: Pairs, present: Flags, known: Flags, names: Hashes, boosting: BoostingParameters
) -> RawScores:
    """Raw scores of all pairs, each from trees that have not seen its name.

    `names` (uint64, one for each pair) are hashes. The trees learn only from pairs that are known;
    raises DataError where these are too few for two halves.
    """
    fold = _halves(names, known)
    raw = np.empty(len(pairs))
    for half in range(HALVES):
        others = (fold != half) & known
        booster = fit_trees(pairs[others], present[others], boosting)
        scores = booster.predict(pairs[fold == half], raw_score=True, num_threads=boosting.threads)
        raw[fold == half] = scores
    return raw


def _halves(names: Hashes, known: Flags) -> npt.NDArray[np.int64]:
    """The half of each pair: by name, unless the known pairs are of too few names for that."""
    by_name = (names >> np.uint64(20)) % np.uint64(HALVES)
    by_pair = np.arange(len(names)) % HALVES
    for fold in (by_name.astype(np.int64), by_pair):
        if len(np.unique(fold[known])) == HALVES:
            return fold
    raise DataError("too few rows say whether they have a label or not")


def calibration_knots(raw: RawScores, present: Flags) -> npt.NDArray[np.float64]:
    """Knots (2 x m) from raw scores to log-odds: isotonic regression over bins of equal mass.

    The ends are extended by the slope of the identity, so that the map never loses order.
    """
    edges = np.unique(np.quantile(raw, np.linspace(0, 1, KNOTS + 1)))
    bins = np.clip(np.searchsorted(edges, raw, side="right") - 1, 0, max(len(edges) - 2, 0))
    weight = np.bincount(bins)
    used = weight > 0
    centre = np.bincount(bins, raw)[used] / weight[used]
    rate = (np.bincount(bins, present)[used] + 0.5) / (weight[used] + 1)
    smooth = IsotonicRegression().fit_transform(centre, rate, sample_weight=weight[used])
    log_odds = np.log(smooth) - np.log1p(-smooth)
    ends = np.array([[-1e3], [1e3]])
    x = np.concatenate([centre[:1] + ends[0], centre, centre[-1:] + ends[1]])
    y = np.concatenate([log_odds[:1] + ends[0], log_odds, log_odds[-1:] + ends[1]])
    return np.stack([x, y + 1e-6 * x])


def label_rates(labels: LabelMatrix) -> Floats:
    """The share of entities with each label, among those where it is known."""
    known = np.full(labels.labels, np.count_nonzero(~labels.partial))
    known[labels.open_ids] = (~labels.unknown).sum(axis=0)
    known += np.bincount(labels.told()[1], minlength=labels.labels)
    rates: Floats = (labels.counts() / np.maximum(known, 1)).astype(np.float32)
    return rates


def co_occurrence(labels: LabelMatrix) -> tuple[Floats, Floats]:
    """The share of entities with the row's label that also have the column's, labels x labels.

    Only entities count of which the column's label is known; the second matrix says how many.
    """
    shape = (len(labels), labels.labels)
    ones = np.ones(len(labels.ids), np.float32)
    matrix = scipy.sparse.csr_array((ones, labels.ids, labels.indptr), shape=shape)
    together: Floats = (matrix.T @ matrix).toarray()
    whole = np.bincount(labels.ids[~labels.partial[labels.owners()]], minlength=labels.labels)
    known = np.repeat(whole[:, None].astype(np.float32), labels.labels, axis=1)
    known[:, labels.open_ids] = matrix.T @ (~labels.unknown).astype(np.float32)
    if labels.partial.any():
        rows, ids = labels.told()
        told = scipy.sparse.csr_array((np.ones(len(ids), np.float32), (rows, ids)), shape=shape)
        known += (matrix.T @ told).toarray()
    return (together / np.maximum(known, 1)).astype(np.float32, copy=False), known


def shares_as_bytes(shares: Floats) -> npt.NDArray[np.uint8]:
    """Shares between 0 and 1 as whole numbers from 0 to 255."""
    return np.rint(255 * shares).astype(np.uint8)
