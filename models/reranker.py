"""The reranker: LightGBM over (entity, candidate label) pairs, and what it looks at."""

import dataclasses
import functools
import threading

import lightgbm
import numpy as np
import numpy.typing as npt

from models.compiled import compiled
from models.features import FeatureRows
from models.linear import LabelIds, Scores
from models.namesakes import Recalled

# A label's share is its score mapped from [-1, 1] to [0, 1]; "company" are the other candidates.
# What the trees are told of an entity's namesakes stands in `models.namesakes`.
PAIR_FEATURES = (
    "score",
    "rank",
    "gap_to_best",
    "gap_to_previous",
    "best",
    "second",
    "support",
    "strongest_support",
    "lift",
    "missing_company",
    "brought_by_first",
    "brings_first",
    "specialisation",
    "total",
    "known_features",
    "namesakes",
    "namesakes_with_label",
    "label",
)
_SMOOTH = np.float32(1e-3)
_IMPLIES = np.float32(0.95)

LABEL_FEATURE = PAIR_FEATURES.index("label")

Pairs = npt.NDArray[np.float32]

_CONTRIBUTING = threading.Lock()
"""Asked for contributions, LightGBM measures the depth of its trees in place, however many ask."""


@dataclasses.dataclass(frozen=True)
class Reranker:
    """Probabilities for candidates.

    `rate` (float32[labels]) is the share of training entities with each label; `company`
    (uint8[labels, labels]) is 255 times the share of entities with the row's label that also have
    the column's; `trees` is LightGBM's text; `knots` (float64, 2 x m) maps raw scores to calibrated
    log-odds, piecewise linear.
    """

    rate: npt.NDArray[np.float32]
    company: npt.NDArray[np.uint8]
    knots: npt.NDArray[np.float64]
    trees: str

    @functools.cached_property
    def _booster(self) -> lightgbm.Booster:
        return lightgbm.Booster(model_str=self.trees)

    def parse(self) -> None:
        """Parse the trees now rather than at the first answer.

        Raises LightGBMError for a text that is none of LightGBM's, ValueError for trees that look
        at other features than PAIR_FEATURES.
        """
        if self._booster.num_feature() != len(PAIR_FEATURES):
            raise ValueError("the trees look at other features")

    def pairs(
        self, rows: FeatureRows, scores: Scores, chosen: LabelIds, recalled: Recalled
    ) -> Pairs:
        """What the trees look at: (n * candidates) x features, in the order of PAIR_FEATURES."""
        return pair_features(rows, scores, chosen, recalled, self.rate, self.company)

    def probabilities(self, pairs: Pairs) -> npt.NDArray[np.float32]:
        """The calibrated probability of each pair."""
        if not len(pairs):
            return np.zeros(0, np.float32)
        raw = self._booster.predict(pairs, raw_score=True, num_threads=1)
        return calibrated(np.asarray(raw), self.knots)

    def contributions(self, pairs: Pairs) -> npt.NDArray[np.float64]:
        """What each pair feature adds to the raw score of each pair, n x (features + 1).

        The last column is the expected raw score; a row sums to the pair's raw score, the log-odds
        before calibration (exact TreeSHAP: Lundberg et al. 2020, "From local explanations to global
        understanding with explainable AI for trees").
        """
        if not len(pairs):
            return np.zeros((0, len(PAIR_FEATURES) + 1))
        with _CONTRIBUTING:
            return np.asarray(self._booster.predict(pairs, pred_contrib=True, num_threads=1))

    def lifts(self, scores: Scores, chosen: LabelIds, labels: LabelIds) -> npt.NDArray[np.float32]:
        """What each candidate of one entity adds to the pair feature `lift` of some labels.

        scores float32[labels of the model], chosen int32[candidates], labels int32[m] among them;
        returns m x candidates, 0 where a label meets itself.
        """
        share = np.clip((scores[chosen] + 1) / 2, 0, 1)
        brings = self.company[np.ix_(chosen, labels)].T.astype(np.float32) / 255
        lifts = share * np.log((brings + _SMOOTH) / (self.rate[labels, None] + _SMOOTH))
        return np.where(labels[:, None] == chosen, np.float32(0), lifts)


def calibrated(
    raw: npt.NDArray[np.float64], knots: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Probabilities of raw scores: log-odds by linear interpolation between the knots."""
    log_odds: npt.NDArray[np.float64] = np.interp(raw, knots[0], knots[1])
    return (1 / (1 + np.exp(-log_odds))).astype(np.float32)


def pair_features(
    rows: FeatureRows,
    scores: Scores,
    chosen: LabelIds,
    recalled: Recalled,
    rate: npt.NDArray[np.float32],
    company: npt.NDArray[np.uint8],
) -> Pairs:
    """One row of PAIR_FEATURES for each (entity, candidate)."""
    out = np.empty((chosen.size, len(PAIR_FEATURES)), np.float32)
    _pair_features(rows.indptr, scores, chosen, recalled, rate, company, out)
    return out


@compiled
def _pair_features(
    indptr: npt.NDArray[np.int64],
    scores: Scores,
    chosen: LabelIds,
    recalled: Recalled,
    rate: npt.NDArray[np.float32],
    company: npt.NDArray[np.uint8],
    out: Pairs,
) -> None:
    count = chosen.shape[1]
    share = np.empty(count, np.float32)
    for row in range(chosen.shape[0]):
        line, ids = scores[row], chosen[row]
        best = line[ids[0]]
        total = np.float32(0)
        for i in range(count):
            share[i] = min(max((line[ids[i]] + 1) / 2, np.float32(0)), np.float32(1))
            total += share[i]
        for i in range(count):
            label = ids[i]
            score = line[label]
            support = strongest = lift = missing = np.float32(0)
            specialisation = np.float32(-3)
            for j in range(count):
                if j == i:
                    continue
                brings = np.float32(company[ids[j], label]) / 255
                support += share[j] * brings
                strongest = max(strongest, share[j] * brings)
                lift += share[j] * np.log((brings + _SMOOTH) / (rate[label] + _SMOOTH))
                missing += (1 - share[j]) * np.float32(company[label, ids[j]]) / 255
                if brings > _IMPLIES:
                    specialisation = max(specialisation, line[ids[j]])
            other = ids[1 if i == 0 and count > 1 else 0]
            pair = out[row * count + i]
            pair[0] = score
            pair[1] = i
            pair[2] = best - score
            pair[3] = line[ids[i - 1]] - score if i > 0 else np.float32(0)
            pair[4] = best
            pair[5] = line[ids[1]] if count > 1 else np.float32(-3)
            pair[6] = support
            pair[7] = strongest
            pair[8] = lift
            pair[9] = missing
            pair[10] = np.float32(company[other, label]) / 255
            pair[11] = np.float32(company[label, other]) / 255
            pair[12] = specialisation
            pair[13] = total
            pair[14] = indptr[row + 1] - indptr[row]
            pair[15] = recalled[row, i, 0]
            pair[16] = recalled[row, i, 1]
            pair[17] = label
