"""Decisions: the labels of an entity that are listed, and those of them that are asserted."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.errors import RequestError
from labelwright.models.kernels.csr import joined_offsets, positions_in_rows, row_numbers
from labelwright.models.kernels.jit import compiled
from labelwright.models.labels import LabelSet
from labelwright.models.stages.groups import GroupArrays, block_row, ceiling_of_others
from labelwright.models.stages.implications import Implications, raise_all_ancestors
from labelwright.models.stages.linear import LabelIds, RowScores

Probabilities = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]
TOP_K_LIMIT = 1_000
BALANCED, BROAD, PRECISE = "balanced", "broad", "precise"
"""Policies. `balanced`: thresholds for the best F1. `broad`: thresholds for the best F2, in which
recall counts twice as much as precision. `precise`: thresholds that guarantee a precision of
PRECISE_AT."""
PRECISE_AT = 0.95
PRECISIONS = (0.5, 0.6, 0.7, 0.8, 0.9, PRECISE_AT, 0.98, 0.99)
"""The precisions that a model can guarantee: training finds thresholds for each of them."""
NEVER = np.float32(np.inf)
"""The threshold of a label for which no threshold guarantees the precision. Such a label is only
asserted if another asserted label implies it."""


@dataclasses.dataclass(frozen=True)
class LabelQuery:
    """The choice of the labels that are listed and asserted for each entity.

    The `top_k` most probable labels are listed, and also every label that the policy asserts. If
    `only` has patterns, labels that match none of them are left out. Labels that are less probable
    than `min_probability` are left out, too. A `min_precision` above 0 replaces the policy: at
    least this share of each label's assertions must be correct. Raises RequestError for values
    outside their ranges.
    """

    top_k: int = 5
    policy: str = BALANCED
    min_probability: float = 0.0
    only: tuple[str, ...] = ()
    min_precision: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.top_k <= TOP_K_LIMIT:
            raise RequestError(f"top_k must lie between 1 and {TOP_K_LIMIT:,}")
        if not 0 <= self.min_probability <= 1:
            raise RequestError("min_probability must lie between 0 and 1")
        if not 0 <= self.min_precision <= PRECISIONS[-1]:
            raise RequestError(f"min_precision must lie between 0 and {PRECISIONS[-1]}")
        if self.min_precision and self.policy != BALANCED:
            raise RequestError("give a policy or min_precision, not both")


class Primaries(NamedTuple):
    """The most probable kind of each of n entities; the arrays of a model without kinds are empty.

    `ids` (int32[n]) are label ids. `probabilities` (float32[n]) and `asserted` (bool[n]) are those
    of these labels.
    """

    ids: npt.NDArray[np.int32]
    probabilities: Probabilities
    asserted: npt.NDArray[np.bool_]

    @classmethod
    def zeros(cls, entities: int) -> Self:
        """Arrays of zeros for some entities."""
        return cls(
            np.zeros(entities, np.int32),
            np.zeros(entities, np.float32),
            np.zeros(entities, np.bool_),
        )

    @classmethod
    def joined(cls, parts: Sequence["Primaries"]) -> Self:
        """Concatenate the primaries of some entities."""
        parts = parts or [cls.zeros(0)]
        return cls(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.probabilities for part in parts]),
            np.concatenate([part.asserted for part in parts]),
        )

    def slice(self, start: int, end: int) -> "Primaries":
        """The primaries of entities `start` to `end` - 1; the arrays are shared."""
        return Primaries(
            self.ids[start:end], self.probabilities[start:end], self.asserted[start:end]
        )


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The predicted labels of n entities.

    `ids` (of labels), `probabilities` and `asserted` have one item for each label prediction. The
    items of entity r are `indptr[r]:indptr[r + 1]`, sorted by probability, the highest first.
    `primaries` has the most probable kind of each entity, even if it is not among the items.
    """

    labels: LabelSet
    indptr: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]
    probabilities: Probabilities
    asserted: npt.NDArray[np.bool_]
    primaries: Primaries = Primaries.zeros(0)  # noqa: RUF009 - empty arrays cannot change

    @classmethod
    def joined(cls, parts: Sequence["Predictions"], labels: LabelSet) -> Self:
        """Concatenate predictions. All parts have the label set `labels`."""
        return cls(
            labels,
            joined_offsets([part.indptr for part in parts]),
            np.concatenate([part.ids for part in parts] or [np.zeros(0, np.int32)]),
            np.concatenate([part.probabilities for part in parts] or [np.zeros(0, np.float32)]),
            np.concatenate([part.asserted for part in parts] or [np.zeros(0, np.bool_)]),
            Primaries.joined([part.primaries for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def rows(self) -> npt.NDArray[np.int64]:
        """For each label prediction, the number of its entity."""
        return row_numbers(self.indptr)

    def keys(self) -> npt.NDArray[np.int64]:
        """For each label prediction, the key of its pair: entity * number of labels + label id."""
        return self.rows() * len(self.labels) + self.ids

    def where(self, kept: npt.NDArray[np.bool_]) -> "Predictions":
        """The label predictions for which `kept` (bool, one for each of them) is true."""
        return dataclasses.replace(
            self,
            indptr=np.concatenate([[0], np.cumsum(kept)])[self.indptr],
            ids=self.ids[kept],
            probabilities=self.probabilities[kept],
            asserted=self.asserted[kept],
        )

    def slice(self, start: int, end: int) -> "Predictions":
        """The predictions for entities `start` to `end` - 1; all arrays but `indptr` are shared."""
        first, last = self.indptr[start], self.indptr[end]
        return Predictions(
            self.labels,
            self.indptr[start : end + 1] - first,
            self.ids[first:last],
            self.probabilities[first:last],
            self.asserted[first:last],
            self.primaries.slice(start, end),
        )

    def split(self, counts: Iterable[int]) -> list["Predictions"]:
        """Consecutive parts; `counts` are their numbers of entities."""
        ends = itertools.accumulate(counts, initial=0)
        return [self.slice(start, end) for start, end in itertools.pairwise(ends)]

    def first(self, count: int) -> "Predictions":
        """The `count` most probable labels of each entity, and all asserted labels."""
        return self.where((positions_in_rows(self.indptr) < count) | self.asserted)

    def asserted_names(self) -> list[set[str]]:
        """The names of the asserted labels of each entity."""
        names, ids, asserted = self.labels.names, self.ids.tolist(), self.asserted.tolist()
        return [
            {names[ids[i]] for i in range(first, end) if asserted[i]}
            for first, end in itertools.pairwise(self.indptr.tolist())
        ]

    def to_arrow(self, rejected: Sequence[int] = ()) -> pa.ListArray:
        """An array of list<struct<label: string, probability: float, asserted: bool>>.

        It has one list for each entity, or null for the entities whose numbers are in `rejected`.
        """
        structs = pa.StructArray.from_arrays(
            [
                self.labels.array.take(pa.array(self.ids)),
                pa.array(self.probabilities),
                pa.array(self.asserted),
            ],
            names=["label", "probability", "asserted"],
        )
        lists = pa.ListArray.from_arrays(pa.array(self.indptr.astype(np.int32)), structs)
        if not rejected:
            return lists
        keep = np.ones(len(lists), np.bool_)
        keep[list(rejected)] = False
        return pc.if_else(pa.array(keep), lists, pa.scalar(None, lists.type))

    def columns(self, rejected: Sequence[int] = ()) -> dict[str, pa.Array]:
        """The columns `labels` and `primary` of a table; null for the entities in `rejected`."""
        return {"labels": self.to_arrow(rejected), "primary": self.primaries_to_arrow(rejected)}

    def primaries_to_arrow(self, rejected: Sequence[int] = ()) -> pa.StructArray:
        """An array of struct<label: string, probability: float, asserted: bool>, one per entity.

        It is null for a model without kinds, and for the entities in `rejected`.
        """
        ids, probabilities, asserted = self.primaries
        if not ids.size:
            return pa.nulls(len(self), self.to_arrow().type.value_type)
        missing = np.zeros(len(ids), np.bool_)
        missing[list(rejected)] = True
        return pa.StructArray.from_arrays(
            [
                self.labels.array.take(pa.array(ids, mask=missing)),
                pa.array(probabilities),
                pa.array(asserted),
            ],
            names=["label", "probability", "asserted"],
            mask=pa.array(missing),
        )


class KernelQuery(NamedTuple):
    """A `LabelQuery` for one model, as arrays and numbers for kernels.

    A candidate is asserted if its probability is at least its label's threshold (`thresholds`,
    float32[labels]), or if an asserted candidate implies it. Labels that are not `allowed`
    (bool[labels]) or less probable than `floor` are left out. `listed` is the number of most
    probable labels to list; asserted labels are added. The log-odds of a label that is not a
    candidate are `slope` times its score plus `intercept`.
    """

    thresholds: Probabilities
    allowed: npt.NDArray[np.bool_]
    floor: np.float32
    listed: int
    slope: np.float32
    intercept: np.float32


class PredictionBuffers(NamedTuple):
    """Arrays to which kernels write predictions. The fields are those of `Predictions`."""

    indptr: Offsets
    ids: LabelIds
    probabilities: Probabilities
    asserted: npt.NDArray[np.bool_]
    primaries: Primaries

    def predictions(self, labels: LabelSet) -> Predictions:
        """The predictions that kernels have written; the arrays are shared."""
        end = self.indptr[-1]
        return Predictions(
            labels,
            self.indptr,
            self.ids[:end],
            self.probabilities[:end],
            self.asserted[:end],
            self.primaries,
        )


def new_buffers(
    entities: int, candidates: int, kernel_query: KernelQuery, kinds: bool
) -> PredictionBuffers:
    """Buffers that are long enough for all candidates and the listed labels of each entity.

    `kinds` is true for a model with kinds.
    """
    size = entities * (candidates + kernel_query.listed)
    return PredictionBuffers(
        np.zeros(entities + 1, np.int64),
        np.empty(size, np.int32),
        np.empty(size, np.float32),
        np.empty(size, np.bool_),
        Primaries.zeros(entities if kinds else 0),
    )


@dataclasses.dataclass(frozen=True)
class Decisions:
    """Parameters that turn scores into predictions.

    `candidates` is the number of labels of each entity that are reranked. `slope` and `intercept`
    turn the score of any other label into log-odds; such a label is never more probable than the
    entity's least probable candidate. Only candidates are asserted. A candidate is asserted if its
    probability is at least the threshold of its label, or if another asserted candidate implies it.
    Of an exclusive group, only the most probable candidate is asserted.
    The thresholds depend on the policy (`policies`: name -> float32[labels]) or on the guaranteed
    precision (`guarantees`: precision -> float32[labels]).
    """

    candidates: int
    slope: float
    intercept: float
    policies: Mapping[str, Probabilities]
    guarantees: Mapping[float, Probabilities]

    @property
    def policy_names(self) -> list[str]:
        """The names of all policies that a query may have."""
        return [*self.policies, PRECISE]

    def kernel_query(self, query: LabelQuery, labels: LabelSet) -> "KernelQuery":
        """Convert a query for kernels.

        Raises RequestError for a query that this model does not support.
        """
        every = np.ones(len(labels), np.bool_)
        return KernelQuery(
            self.thresholds(query),
            labels.matching(query.only) if query.only else every,
            np.float32(query.min_probability),
            min(query.top_k, len(labels)),
            np.float32(self.slope),
            np.float32(self.intercept),
        )

    def thresholds(self, query: LabelQuery) -> Probabilities:
        """The thresholds of all labels for a query, float32[labels].

        Raises RequestError for a policy or a precision that this model does not support.
        """
        if query.policy not in self.policy_names:
            raise RequestError(f"unknown policy; this model has {', '.join(self.policy_names)}")
        if query.min_precision or query.policy == PRECISE:
            least = query.min_precision or PRECISE_AT
            levels = [level for level in self.guarantees if level >= least]
            if not levels:
                raise RequestError(
                    f"no thresholds of this model guarantee such a precision; "
                    f"min_precision may be at most {max(self.guarantees)}"
                )
            return self.guarantees[min(levels)]
        return self.policies[query.policy]


@compiled
def predict_row(
    query: KernelQuery,
    implications: Implications,
    groups: GroupArrays,
    row_scores: RowScores,
    chosen: LabelIds,
    probabilities: Probabilities,
    buffers: PredictionBuffers,
    row: int,
) -> None:
    """Append the predictions of entity `row` to the buffers. Call this for rows 0, 1, 2 and so on.

    `chosen` (int32[candidates]) are the labels of the candidates, the highest score first, and
    `probabilities` (float32[candidates]) their probabilities.
    """
    order = np.empty(chosen.size, np.int64)
    asserted = np.empty(chosen.size, np.bool_)
    _decide(query, implications, groups, chosen, probabilities, order, asserted)
    if groups.kinds.size > 0:
        _write_primary(
            query, implications, groups, row_scores, chosen, probabilities, order, asserted,
            buffers.primaries, row,
        )  # fmt: skip
    n = buffers.indptr[row]
    taken = 0
    for i in order:
        label, probability = chosen[i], probabilities[i]
        if not query.allowed[label]:
            continue
        if probability >= query.floor and (taken < query.listed or asserted[i]):
            buffers.ids[n] = label
            buffers.probabilities[n] = probability
            buffers.asserted[n] = asserted[i]
            n += 1
        taken += 1
    if taken < query.listed:
        raise_all_ancestors(implications, row_scores)
        n = _list_others(
            query,
            row_scores,
            chosen,
            ceiling_of_others(groups, chosen, probabilities),
            query.listed - taken,
            buffers,
            n,
        )
    buffers.indptr[row + 1] = n


@compiled
def _decide(
    query: KernelQuery,
    implications: Implications,
    groups: GroupArrays,
    chosen: LabelIds,
    probabilities: Probabilities,
    order: Offsets,
    asserted: npt.NDArray[np.bool_],
) -> None:
    """Write the decisions about the candidates.

    `order` becomes the positions of the candidates in `chosen`, the most probable first. `asserted`
    becomes true for each asserted candidate.
    """
    for i in range(chosen.size):
        asserted[i] = probabilities[i] >= query.thresholds[chosen[i]]
        if groups.attribute.size > 0 and probabilities[i] == 0:
            asserted[i] &= groups.attribute[chosen[i]] < 0  # the attribute does not apply
    if groups.exclusive.size > 0:
        blocked = np.empty(chosen.size, np.bool_)
        block_row(groups, implications, chosen, probabilities, blocked)
        for i in range(chosen.size):
            asserted[i] &= not blocked[i]
    for i in range(chosen.size):
        if asserted[i]:
            for j in range(implications.indptr[chosen[i]], implications.indptr[chosen[i] + 1]):
                for other in range(i):  # implied labels come first: their scores are higher
                    asserted[other] |= chosen[other] == implications.ancestors[j]
    for i in range(chosen.size):
        place = i
        while place > 0 and probabilities[order[place - 1]] < probabilities[i]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = i


@compiled
def _write_primary(
    query: KernelQuery,
    implications: Implications,
    groups: GroupArrays,
    row_scores: RowScores,
    chosen: LabelIds,
    probabilities: Probabilities,
    order: Offsets,
    asserted: npt.NDArray[np.bool_],
    primaries: Primaries,
    row: int,
) -> None:
    """Write the most probable kind of an entity, which may be a label that is not a candidate."""
    for i in order:
        if groups.kinds[chosen[i]]:
            primaries.ids[row] = chosen[i]
            primaries.probabilities[row] = probabilities[i]
            primaries.asserted[row] = asserted[i]
            return
    raise_all_ancestors(implications, row_scores)
    scores, best = row_scores.scores, -1
    for label in range(groups.kinds.size):
        if groups.kinds[label] and (best < 0 or scores[label] > scores[best]):
            best = label
    ceiling = ceiling_of_others(groups, chosen, probabilities)
    primaries.ids[row] = best
    primaries.probabilities[row] = _probability_of_other(query, scores[best], ceiling)


@compiled
def _probability_of_other(query: KernelQuery, score: np.float32, ceiling: np.float32) -> np.float32:
    """The probability of a label that is not a candidate."""
    log_odds = query.slope * score + query.intercept
    return min(np.float32(1) / (np.float32(1) + np.exp(-log_odds)), ceiling)


@compiled
def _list_others(
    query: KernelQuery,
    row_scores: RowScores,
    chosen: LabelIds,
    ceiling: np.float32,
    most: int,
    buffers: PredictionBuffers,
    first: int,
) -> int:
    """Write the best labels that are not candidates to the buffers, from item `first` on.

    At most `most` labels are written. Their probabilities are limited to `ceiling`. Returns the
    number of the item after the last one that was written.
    """
    candidate = np.zeros(query.allowed.size, np.bool_)
    for label in chosen:
        candidate[label] = True
    scores = row_scores.scores
    last = first
    for label in range(candidate.size):
        if candidate[label] or not query.allowed[label]:
            continue
        if last - first == most and scores[label] <= scores[buffers.ids[last - 1]]:
            continue
        place = last if last - first < most else last - 1
        last = place + 1
        while place > first and scores[buffers.ids[place - 1]] < scores[label]:
            buffers.ids[place] = buffers.ids[place - 1]
            place -= 1
        buffers.ids[place] = label
    n = first
    for i in range(first, last):
        probability = _probability_of_other(query, scores[buffers.ids[i]], ceiling)
        if probability >= query.floor:
            buffers.ids[n] = buffers.ids[i]
            buffers.probabilities[n] = probability
            buffers.asserted[n] = False
            n += 1
    return n
