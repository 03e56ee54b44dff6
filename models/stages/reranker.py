"""The reranker: LightGBM over pairs of an entity and a candidate, and the features of the pairs."""

import dataclasses
import functools
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from labelwright.models.features.space import FeatureRows
from labelwright.models.kernels.jit import compiled
from labelwright.models.stages.linear import LabelIds, Scores
from labelwright.models.stages.namesakes import Recalled
from labelwright.models.stages.trees import Forest, read_forest, whole_lanes

# In names of features, "company" means the other candidates of the entity. The share of a candidate
# is its score, mapped from [-1, 1] to [0, 1]. `models.stages.namesakes` explains the features of
# namesakes.
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
_NO_SCORE = np.float32(-3)
"""The score that replaces the score of a candidate that does not exist."""
_NONE, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)

(
    _SCORE, _RANK, _GAP_TO_BEST, _GAP_TO_PREVIOUS, _BEST, _SECOND,
    _SUPPORT, _STRONGEST, _LIFT, _MISSING, _BROUGHT, _BRINGS, _SPECIALISATION,
    _TOTAL, _KNOWN, _NAMESAKES, _WITH_LABEL, LABEL_FEATURE,
) = range(len(PAIR_FEATURES))  # fmt: skip

Floats = npt.NDArray[np.float32]
Pairs = npt.NDArray[np.float32]
Knots = npt.NDArray[np.float64]


class Relations(NamedTuple):
    """Frequencies and co-occurrence of labels in the training entities.

    `log_rates` (float32[labels]) is the logarithm of the share of entities with each label.
    `co_occurrence[a, b]` (uint8[labels, labels]) is 255 times the share of the entities with label
    a that also have label b. `shares` (float32[256]) maps these numbers to shares, and `logs`
    (float32[256]) maps them to the logarithms of the shares. All logarithms are smoothed.
    """

    log_rates: Floats
    co_occurrence: npt.NDArray[np.uint8]
    shares: Floats
    logs: Floats

    @classmethod
    def of(cls, rate: Floats, co_occurrence: npt.NDArray[np.uint8]) -> Self:
        """Relations from the rates (float32[labels]) and the co-occurrence of labels."""
        shares = (np.arange(256) / 255).astype(np.float32)
        return cls(np.log(rate + _SMOOTH), co_occurrence, shares, np.log(shares + _SMOOTH))

    def without(self, labels: npt.NDArray[np.bool_]) -> Self:
        """The relations as if no training entity had these labels (bool[labels])."""
        if not labels.any():
            return self
        kept = ~labels
        return self._replace(
            log_rates=np.where(kept, self.log_rates, np.log(_SMOOTH)),
            co_occurrence=self.co_occurrence * (kept[:, None] & kept),
        )


@dataclasses.dataclass(frozen=True)
class Reranker:
    """The second stage: computes the probabilities of candidates.

    `rate` (float32[labels]) is the share of training entities with each label. `co_occurrence` is
    described in `Relations`. `trees` is LightGBM's text. `knots` (float64, 2 x m) is a piecewise
    linear function from raw scores (first row) to calibrated log-odds (second row).
    """

    rate: Floats
    co_occurrence: npt.NDArray[np.uint8]
    knots: Knots
    trees: str

    @functools.cached_property
    def relations(self) -> Relations:
        """The relations of labels, from which features of pairs are computed."""
        return Relations.of(self.rate, self.co_occurrence)

    @functools.cached_property
    def forest(self) -> Forest:
        """The trees for `walk`; raises ValueError if `walk` does not support them."""
        return read_forest(self.trees, len(PAIR_FEATURES), len(self.rate))

    def lifts(self, scores: Scores, chosen: LabelIds, labels: LabelIds) -> npt.NDArray[np.float32]:
        """The term of each candidate in the pair feature `lift` of some labels of one entity.

        `scores` is float32[labels of the model], `chosen` int32[candidates]. `labels` (int32[m])
        are some of the candidates. Returns m x candidates, 0 for a label and itself.
        """
        share = np.clip((scores[chosen] + 1) / 2, 0, 1)
        brings = self.relations.logs[self.co_occurrence[np.ix_(chosen, labels)].T]
        lifts = share * (brings - self.relations.log_rates[labels, None])
        return np.where(labels[:, None] == chosen, np.float32(0), lifts)


def calibrated(raw: npt.NDArray[np.float64], knots: Knots) -> Floats:
    """The calibrated probabilities of raw scores, by linear interpolation between the knots."""
    probabilities = np.empty(len(raw), np.float32)
    calibrate(raw, np.asarray(knots), probabilities)
    return probabilities


def pair_features(
    rows: FeatureRows, scores: Scores, chosen: LabelIds, recalled: Recalled, relations: Relations
) -> Pairs:
    """The input of the trees: (n * candidates) x features, in the order of PAIR_FEATURES."""
    out = np.empty((chosen.size, len(PAIR_FEATURES)), np.float32)
    _describe_rows(np.diff(rows.indptr), scores, chosen, recalled, relations, out)
    return out


@compiled
def calibrate(raw: npt.NDArray[np.float64], knots: Knots, probabilities: Floats) -> None:
    """Write the probabilities of raw scores; see `calibrated`."""
    last = knots.shape[1] - 1
    for i in range(raw.size):
        above = 0
        for knot in range(knots.shape[1]):  # without branches, faster than a binary search
            above += knots[0, knot] <= raw[i]
        left, right = max(above - 1, 0), min(above, last)
        log_odds = knots[1, left]
        if left < right and above > 0:
            share = (raw[i] - knots[0, left]) / (knots[0, right] - knots[0, left])
            log_odds += share * (knots[1, right] - knots[1, left])
        probabilities[i] = 1 / (1 + np.exp(-log_odds))


@compiled
def describe_pairs(
    known: int,
    scores: Scores,
    chosen: LabelIds,
    recalled: Recalled,
    relations: Relations,
    out: Floats,
) -> None:
    """Write the features of the pairs of one entity, PAIR_FEATURES x `whole_lanes(candidates)`.

    `known` is the number of features of the entity. Values in unused lanes have no meaning.
    """
    second = scores[chosen[1]] if chosen.size > 1 else _NO_SCORE
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
    _describe_co_occurrence(scores, chosen, relations, out)


@compiled
def _describe_co_occurrence(
    scores: Scores, chosen: LabelIds, relations: Relations, out: Floats
) -> None:
    """Write the features that depend on the other candidates.

    The inner loops run over whole lanes, in float32 and without branches. Therefore the compiler
    can turn them into vector instructions. The ids are unsigned: for signed ids, Numba would also
    check for negative indices.
    """
    log_rates, co_occurrence, meant, logs = relations
    count, lanes = chosen.size, out.shape[1]
    ids = np.empty(lanes, np.uint32)
    shares, lacking = np.zeros(lanes, np.float32), np.zeros(lanes, np.float32)
    brings, news = np.empty(lanes, np.float32), np.empty(lanes, np.float32)
    support, strongest, lift = out[_SUPPORT], out[_STRONGEST], out[_LIFT]
    special = out[_SPECIALISATION]
    total = _NONE
    for i in range(lanes):
        ids[i] = chosen[i] if i < count else chosen[0]
        out[_SUPPORT, i] = out[_STRONGEST, i] = out[_LIFT, i] = _NONE
        out[_SPECIALISATION, i] = _NO_SCORE
    for i in range(count):
        shares[i] = min(max((scores[ids[i]] + _ONE) * _HALF, _NONE), _ONE)
        lacking[i] = _ONE - shares[i]
        total += shares[i]
    for j in range(count):
        score, share = scores[ids[j]], shares[j]
        for i in range(lanes):
            shared = co_occurrence[ids[j], ids[i]]
            brings[i] = meant[shared]
            news[i] = logs[shared]
        brings[j] = news[j] = _NONE  # a label does not co-occur with itself
        for i in range(lanes):
            support[i] += share * brings[i]
            lift[i] += share * news[i]
        for i in range(lanes):
            given = share * brings[i]
            strongest[i] = given if given > strongest[i] else strongest[i]
            above = score if brings[i] > _IMPLIES else _NO_SCORE
            special[i] = above if above > special[i] else special[i]
        missing = _NONE
        for i in range(count):
            missing += lacking[i] * brings[i]
        out[_MISSING, j] = missing
    for i in range(count):
        other = ids[1] if i == 0 and count > 1 else ids[0]
        out[_BROUGHT, i] = meant[co_occurrence[other, ids[i]]]
        out[_BRINGS, i] = meant[co_occurrence[ids[i], other]]
        out[_LIFT, i] -= (total - shares[i]) * log_rates[ids[i]]
        out[_TOTAL, i] = total


@compiled
def _describe_rows(
    known: npt.NDArray[np.int64],
    scores: Scores,
    chosen: LabelIds,
    recalled: Recalled,
    relations: Relations,
    out: Pairs,
) -> None:
    count = chosen.shape[1]
    pairs = np.empty((out.shape[1], whole_lanes(count)), np.float32)
    for row in range(chosen.shape[0]):
        describe_pairs(known[row], scores[row], chosen[row], recalled[row], relations, pairs)
        out[row * count : (row + 1) * count] = pairs[:, :count].T
