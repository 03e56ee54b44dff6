"""Decisions: which labels of an entity are listed, and which of them are asserted."""

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
from labelwright.models.stages.implications import Implications, raise_all_ancestors
from labelwright.models.stages.linear import LabelIds, RowScores

Probabilities = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]
TOP_K_LIMIT = 1_000
BALANCED, BROAD, PRECISE = "balanced", "broad", "precise"
"""Policies: thresholds for the best F1; for the best F2, in which recall counts twice as much as
precision; for a precision of PRECISE_AT."""
PRECISE_AT = 0.95
PRECISIONS = (0.5, 0.6, 0.7, 0.8, 0.9, PRECISE_AT, 0.98, 0.99)
"""The precision guarantees of a model: training finds thresholds for each of these."""
NEVER = np.float32(np.inf)
"""The threshold of a label without enough training rows. It is asserted only where another label
implies it."""


@dataclasses.dataclass(frozen=True)
class LabelQuery:
    """Which labels to list and to assert for each entity.

    The `top_k` most probable labels are listed, and also every label that the policy asserts. Both
    are limited to labels that reach `min_probability` and match a pattern of `only`, if there are
    any. A `min_precision` above 0 replaces the policy: at least this share of each label's
    assertions is correct. Raises RequestError for values outside their ranges.
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


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Labels of n entities: entity r has positions indptr[r] to indptr[r + 1] of the other arrays.

    The labels of an entity are sorted by probability, the highest first.
    """

    labels: LabelSet
    indptr: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]
    probabilities: Probabilities
    asserted: npt.NDArray[np.bool_]

    @classmethod
    def joined(cls, parts: Sequence["Predictions"], labels: LabelSet) -> Self:
        """The entities of one part after another; `labels` are those of all parts."""
        return cls(
            labels,
            joined_offsets([part.indptr for part in parts]),
            np.concatenate([part.ids for part in parts] or [np.zeros(0, np.int32)]),
            np.concatenate([part.probabilities for part in parts] or [np.zeros(0, np.float32)]),
            np.concatenate([part.asserted for part in parts] or [np.zeros(0, np.bool_)]),
        )

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def rows(self) -> npt.NDArray[np.int64]:
        """The entity (its position) of each position of the other arrays."""
        return row_numbers(self.indptr)

    def keys(self) -> npt.NDArray[np.int64]:
        """For each position, a number of the pair: entity * number of labels + label."""
        return self.rows() * len(self.labels) + self.ids

    def where(self, kept: npt.NDArray[np.bool_]) -> "Predictions":
        """Only the positions where `kept` (bool, one for each position) is true."""
        return dataclasses.replace(
            self,
            indptr=np.concatenate([[0], np.cumsum(kept)])[self.indptr],
            ids=self.ids[kept],
            probabilities=self.probabilities[kept],
            asserted=self.asserted[kept],
        )

    def slice(self, start: int, end: int) -> "Predictions":
        """The predictions for the entities from `start` to `end`; arrays are shared, not copied."""
        first, last = self.indptr[start], self.indptr[end]
        return Predictions(
            self.labels,
            self.indptr[start : end + 1] - first,
            self.ids[first:last],
            self.probabilities[first:last],
            self.asserted[first:last],
        )

    def split(self, counts: Iterable[int]) -> list["Predictions"]:
        """Consecutive parts with these numbers of entities."""
        ends = itertools.accumulate(counts, initial=0)
        return [self.slice(start, end) for start, end in itertools.pairwise(ends)]

    def first(self, count: int) -> "Predictions":
        """The `count` most probable labels of each entity, and all asserted ones."""
        return self.where((positions_in_rows(self.indptr) < count) | self.asserted)

    def asserted_names(self) -> list[set[str]]:
        """The names of the asserted labels of each entity."""
        names, ids, asserted = self.labels.names, self.ids.tolist(), self.asserted.tolist()
        return [
            {names[ids[i]] for i in range(first, end) if asserted[i]}
            for first, end in itertools.pairwise(self.indptr.tolist())
        ]

    def to_arrow(self, rejected: Sequence[int] = ()) -> pa.ListArray:
        """As list<struct<label: string, probability: float, asserted: bool>>.

        Entities at the positions in `rejected` get null.
        """
        structs = pa.StructArray.from_arrays(
            [
                self.labels.array.take(pa.array(self.ids)),
                pa.array(self.probabilities),
                pa.array(self.asserted),
            ],
            names=["label", "probability", "asserted"],
        )
        buffers = pa.ListArray.from_arrays(pa.array(self.indptr.astype(np.int32)), structs)
        if not rejected:
            return buffers
        keep = np.ones(len(buffers), np.bool_)
        keep[list(rejected)] = False
        return pc.if_else(pa.array(keep), buffers, pa.scalar(None, buffers.type))


class KernelQuery(NamedTuple):
    """A `LabelQuery` for one model, in arrays and numbers for kernels.

    A candidate is asserted from its label's threshold on (`thresholds`, float32[labels]). Only
    labels that are `allowed` (bool[labels]) and at least as probable as `floor` are given. `listed`
    is the number of listed labels. The log-odds of a label that is no candidate are `slope` times
    its score plus `intercept`.
    """

    thresholds: Probabilities
    allowed: npt.NDArray[np.bool_]
    floor: np.float32
    listed: int
    slope: np.float32
    intercept: np.float32


class PredictionBuffers(NamedTuple):
    """Arrays that kernels write predictions to, laid out like `Predictions`."""

    indptr: Offsets
    ids: LabelIds
    probabilities: Probabilities
    asserted: npt.NDArray[np.bool_]

    def predictions(self, labels: LabelSet) -> Predictions:
        """The predictions that were written."""
        end = self.indptr[-1]
        return Predictions(
            labels, self.indptr, self.ids[:end], self.probabilities[:end], self.asserted[:end]
        )


def new_buffers(entities: int, candidates: int, kernel_query: KernelQuery) -> PredictionBuffers:
    """Buffers for the longest possible predictions: all candidates, and the listed labels."""
    size = entities * (candidates + kernel_query.listed)
    return PredictionBuffers(
        np.zeros(entities + 1, np.int64),
        np.empty(size, np.int32),
        np.empty(size, np.float32),
        np.empty(size, np.bool_),
    )


@dataclasses.dataclass(frozen=True)
class Decisions:
    """Parameters that turn scores into predictions.

    `candidates` is the number of labels of each entity that are reranked. `slope` and `intercept`
    turn the score of any other label into log-odds; such a label is never more probable than the
    entity's least probable candidate. Only candidates are asserted: those whose probability reaches
    the threshold of their label, and the labels that these imply. The thresholds depend on the
    policy (`policies`: name -> float32[labels]) or the precision guarantee (`guarantees`: precision
    -> float32[labels]).
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
        """A query for kernels; raises RequestError for one that this model does not support."""
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
        """The thresholds of all labels for a query; raises RequestError as `kernel_query` does."""
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
    row_scores: RowScores,
    chosen: LabelIds,
    probabilities: Probabilities,
    buffers: PredictionBuffers,
    row: int,
) -> None:
    """Write the predictions of one entity. Rows must come in order, because each is appended."""
    order = np.empty(chosen.size, np.int64)
    holds = np.empty(chosen.size, np.bool_)
    _decide(query, implications, chosen, probabilities, order, holds)
    n = buffers.indptr[row]
    taken = 0
    for i in order:
        label, probability = chosen[i], probabilities[i]
        if not query.allowed[label]:
            continue
        if probability >= query.floor and (taken < query.listed or holds[i]):
            buffers.ids[n] = label
            buffers.probabilities[n] = probability
            buffers.asserted[n] = holds[i]
            n += 1
        taken += 1
    if taken < query.listed:
        raise_all_ancestors(implications, row_scores)
        n = _list_others(
            query,
            row_scores,
            chosen,
            probabilities.min(),
            query.listed - taken,
            buffers,
            n,
        )
    buffers.indptr[row + 1] = n


@compiled
def _decide(
    query: KernelQuery,
    implications: Implications,
    chosen: LabelIds,
    probabilities: Probabilities,
    order: Offsets,
    holds: npt.NDArray[np.bool_],
) -> None:
    """Write the order of the candidates by probability, and which of them hold (are asserted)."""
    for i in range(chosen.size):
        holds[i] = probabilities[i] >= query.thresholds[chosen[i]]
    for i in range(chosen.size):
        if holds[i]:
            for j in range(implications.indptr[chosen[i]], implications.indptr[chosen[i] + 1]):
                for other in range(i):  # an implied label has a higher score
                    holds[other] |= chosen[other] == implications.ancestors[j]
    for i in range(chosen.size):
        place = i
        while place > 0 and probabilities[order[place - 1]] < probabilities[i]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = i


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
    """Write at most `most` of the best labels that are no candidates, from position `first` on.

    None is more probable than `ceiling`. Returns the position after the last label.
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
        log_odds = query.slope * scores[buffers.ids[i]] + query.intercept
        probability = min(np.float32(1) / (np.float32(1) + np.exp(-log_odds)), ceiling)
        if probability >= query.floor:
            buffers.ids[n] = buffers.ids[i]
            buffers.probabilities[n] = probability
            buffers.asserted[n] = False
            n += 1
    return n
