"""The reranker: LightGBM over (entity, candidate label) pairs, and what it looks at."""

import dataclasses
import functools
import threading
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from models.compiled import compiled
from models.features import FeatureRows
from models.linear import LabelIds, Scores
from models.namesakes import Recalled
from models.trees import Forest, read_forest

if TYPE_CHECKING:
    import lightgbm

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

(
    _SCORE, _RANK, _GAP_TO_BEST, _GAP_TO_PREVIOUS, _BEST, _SECOND,
    _SUPPORT, _STRONGEST, _LIFT, _MISSING, _BROUGHT, _BRINGS, _SPECIALISATION,
    _TOTAL, _KNOWN, _NAMESAKES, _WITH_LABEL, LABEL_FEATURE,
) = range(len(PAIR_FEATURES))  # fmt: skip

Floats = npt.NDArray[np.float32]
Pairs = npt.NDArray[np.float32]
Knots = npt.NDArray[np.float64]

_CONTRIBUTING = threading.Lock()
"""Asked for contributions, LightGBM measures the depth of its trees in place, however many ask."""


class Relations(NamedTuple):
    """What labels have to do with each other, and the logarithms that pairs are described with.

    `rate` (float32[labels]) is the share of training entities with each label; `company`
    (uint8[labels, labels]) is 255 times the share of entities with the row's label that also have
    the column's; `shares` (float32[256]) are what its numbers mean, and `logs` the logarithms of
    that, smoothed.
    """

    rate: Floats
    company: npt.NDArray[np.uint8]
    shares: Floats
    logs: Floats

    @classmethod
    def of(cls, rate: Floats, company: npt.NDArray[np.uint8]) -> Self:
        """What follows from the rates and the company of labels."""
        shares = (np.arange(256) / 255).astype(np.float32)
        return cls(rate, company, shares, np.log(shares + _SMOOTH))


@dataclasses.dataclass(frozen=True)
class Reranker:
    """Probabilities for candidates.

    `rate` and `company` are those of `Relations`; `trees` is LightGBM's text; `knots` (float64,
    2 x m) maps raw scores to calibrated log-odds, piecewise linear.
    """

    rate: Floats
    company: npt.NDArray[np.uint8]
    knots: Knots
    trees: str

    @functools.cached_property
    def relations(self) -> Relations:
        """What pairs are described with."""
        return Relations.of(self.rate, self.company)

    @functools.cached_property
    def forest(self) -> Forest:
        """The trees, to be walked; raises ValueError for a text that holds no trees like ours."""
        return read_forest(self.trees, len(PAIR_FEATURES), len(self.rate))

    @functools.cached_property
    def _booster(self) -> "lightgbm.Booster":
        import lightgbm  # which takes a second, and is needed for reasons only

        return lightgbm.Booster(model_str=self.trees)

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
        brings = self.relations.logs[self.company[np.ix_(chosen, labels)].T]
        lifts = share * (brings - np.log(self.rate[labels, None] + _SMOOTH))
        return np.where(labels[:, None] == chosen, np.float32(0), lifts)


def calibrated(raw: npt.NDArray[np.float64], knots: Knots) -> Floats:
    """Probabilities of raw scores: log-odds by linear interpolation between the knots."""
    probabilities = np.empty(len(raw), np.float32)
    calibrate(raw, np.asarray(knots), probabilities)
    return probabilities


def pair_features(
    rows: FeatureRows, scores: Scores, chosen: LabelIds, recalled: Recalled, relations: Relations
) -> Pairs:
    """What the trees look at: (n * candidates) x features, in the order of PAIR_FEATURES."""
    out = np.empty((chosen.size, len(PAIR_FEATURES)), np.float32)
    _describe_all(np.diff(rows.indptr), scores, chosen, recalled, relations, out)
    return out


@compiled
def calibrate(raw: npt.NDArray[np.float64], knots: Knots, probabilities: Floats) -> None:
    """The same for working memory: writes the probabilities."""
    last = knots.shape[1] - 1
    for i in range(raw.size):
        above = 0
        for knot in range(knots.shape[1]):  # without branches, faster than by halves
            above += knots[0, knot] <= raw[i]
        left, right = max(above - 1, 0), min(above, last)
        log_odds = knots[1, left]
        if left < right and above > 0:
            share = (raw[i] - knots[0, left]) / (knots[0, right] - knots[0, left])
            log_odds += share * (knots[1, right] - knots[1, left])
        probabilities[i] = 1 / (1 + np.exp(-log_odds))


@compiled
def describe(
    known: int,
    scores: Scores,
    chosen: LabelIds,
    recalled: Recalled,
    relations: Relations,
    out: Floats,
) -> None:
    """The pairs of one entity, PAIR_FEATURES x candidates; `known` is how many features it has."""
    second = scores[chosen[1]] if chosen.size > 1 else np.float32(-3)
    for i in range(chosen.size):
        score = scores[chosen[i]]
        out[_SCORE, i] = score
        out[_RANK, i] = i
        out[_GAP_TO_BEST, i] = scores[chosen[0]] - score
        out[_GAP_TO_PREVIOUS, i] = scores[chosen[i - 1]] - score if i > 0 else np.float32(0)
        out[_BEST, i] = scores[chosen[0]]
        out[_SECOND, i] = second
        out[_KNOWN, i] = known
        out[_NAMESAKES, i] = recalled[i, 0]
        out[_WITH_LABEL, i] = recalled[i, 1]
        out[LABEL_FEATURE, i] = chosen[i]
    _describe_company(scores, chosen, relations, out)


@compiled
def _describe_company(scores: Scores, chosen: LabelIds, relations: Relations, out: Floats) -> None:
    """What candidates say of one another."""
    rate, company, shares, logs = relations
    count = chosen.size
    brings = np.empty((count, count), np.float32)
    news = np.empty((count, count), np.float32)
    share = np.empty(count, np.float32)
    for j in range(count):
        for i in range(count):
            brought = company[chosen[j], chosen[i]]
            brings[j, i] = shares[brought]
            news[j, i] = logs[brought]
        share[j] = min(max((scores[chosen[j]] + 1) / 2, np.float32(0)), np.float32(1))
    for i in range(count):
        other = 1 if i == 0 and count > 1 else 0
        out[_BROUGHT, i] = brings[other, i]
        out[_BRINGS, i] = brings[i, other]
    for i in range(count):  # no label is company to itself
        brings[i, i] = news[i, i] = 0
    total = share.sum()
    for i in range(count):
        support = strongest = lift = missing = np.float32(0)
        specialisation = np.float32(-3)
        for j in range(count):
            support += share[j] * brings[j, i]
            strongest = max(strongest, share[j] * brings[j, i])
            lift += share[j] * news[j, i]
            missing += (1 - share[j]) * brings[i, j]
            if brings[j, i] > _IMPLIES:
                specialisation = max(specialisation, scores[chosen[j]])
        out[_SUPPORT, i] = support
        out[_STRONGEST, i] = strongest
        out[_LIFT, i] = lift - (total - share[i]) * np.log(rate[chosen[i]] + _SMOOTH)
        out[_MISSING, i] = missing
        out[_SPECIALISATION, i] = specialisation
        out[_TOTAL, i] = total


@compiled
def _describe_all(
    known: npt.NDArray[np.int64],
    scores: Scores,
    chosen: LabelIds,
    recalled: Recalled,
    relations: Relations,
    out: Pairs,
) -> None:
    count = chosen.shape[1]
    for row in range(chosen.shape[0]):
        pairs = out[row * count : (row + 1) * count].T
        describe(known[row], scores[row], chosen[row], recalled[row], relations, pairs)
