"""From probabilities to answers: which labels are listed, and which of them are asserted."""

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
from labelwright.models.stages.implications import Implications, lift_all
from labelwright.models.stages.linear import LabelIds, Line

Probabilities = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]
TOP_K_LIMIT = 1_000
BALANCED, BROAD, PRECISE = "balanced", "broad", "precise"
"""Policies: the best F-measure; recall counts twice as much; the promise of PRECISE_AT."""
PRECISE_AT = 0.95
PRECISIONS = (0.5, 0.6, 0.7, 0.8, 0.9, PRECISE_AT, 0.98, 0.99)
"""The promises of precision that a model is trained to keep."""
NEVER = np.float32(np.inf)
"""The threshold of a label without evidence: asserted only where another label implies it."""


@dataclasses.dataclass(frozen=True)
class LabelQuery:
    """What is asked about each entity.

    The `top_k` most probable labels are listed, and beside them every label that the policy
    asserts; of both only those that reach `min_probability` and match a pattern of `only`. A
    `min_precision` above 0 takes the place of a policy: of each label's assertions, at least that
    share is right.
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

    Within an entity the most probable comes first.
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
        """Only the pairs that are kept (bool, one for each position)."""
        return dataclasses.replace(
            self,
            indptr=np.concatenate([[0], np.cumsum(kept)])[self.indptr],
            ids=self.ids[kept],
            probabilities=self.probabilities[kept],
            asserted=self.asserted[kept],
        )

    def slice(self, start: int, end: int) -> "Predictions":
        """The answers for the entities from `start` to `end`, without copying."""
        first, last = self.indptr[start], self.indptr[end]
        return Predictions(
            self.labels,
            self.indptr[start : end + 1] - first,
            self.ids[first:last],
            self.probabilities[first:last],
            self.asserted[first:last],
        )

    def split(self, counts: Iterable[int]) -> list["Predictions"]:
        """The answers for so many entities, then for so many, and so on."""
        ends = itertools.accumulate(counts, initial=0)
        return [self.slice(start, end) for start, end in itertools.pairwise(ends)]

    def first(self, count: int) -> "Predictions":
        """Of each entity the `count` most probable labels, and what is asserted beside them."""
        return self.where((positions_in_rows(self.indptr) < count) | self.asserted)

    def asserted_names(self) -> list[set[str]]:
        """The names of the labels that are asserted of each entity."""
        names, ids, asserted = self.labels.names, self.ids.tolist(), self.asserted.tolist()
        return [
            {names[ids[i]] for i in range(first, end) if asserted[i]}
            for first, end in itertools.pairwise(self.indptr.tolist())
        ]

    def to_arrow(self, rejected: Sequence[int] = ()) -> pa.ListArray:
        """list<struct<label: string, probability: float, asserted: bool>>, null if rejected."""
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


class Asked(NamedTuple):
    """A question as the kernels read it.

    `thresholds` (float32[labels]) by which labels are asserted; which are `allowed` (bool[labels]);
    the least probability; how many labels are listed; and the log-odds of labels that are no
    candidates, `slope` times the score plus `intercept`.
    """

    thresholds: Probabilities
    allowed: npt.NDArray[np.bool_]
    floor: np.float32
    listed: int
    slope: np.float32
    intercept: np.float32


class Lists(NamedTuple):
    """Where kernels write answers: entity r from position `indptr[r]` to `indptr[r + 1]`."""

    indptr: Offsets
    ids: LabelIds
    probabilities: Probabilities
    asserted: npt.NDArray[np.bool_]

    def predictions(self, labels: LabelSet) -> Predictions:
        """What has been written."""
        end = self.indptr[-1]
        return Predictions(
            labels, self.indptr, self.ids[:end], self.probabilities[:end], self.asserted[:end]
        )


def new_lists(entities: int, candidates: int, asked: Asked) -> Lists:
    """Room for the longest answers to a question: all candidates asserted, and others listed."""
    room = entities * (candidates + asked.listed)
    return Lists(
        np.zeros(entities + 1, np.int64),
        np.empty(room, np.int32),
        np.empty(room, np.float32),
        np.empty(room, np.bool_),
    )


@dataclasses.dataclass(frozen=True)
class Decisions:
    """How scores become answers.

    `candidates` labels of each entity are reranked; `slope` and `intercept` turn the score of any
    other label into log-odds, but never above its entity's least probable candidate. Only
    candidates are asserted: those whose probability reaches their label's threshold under the
    policy (`policies`: name -> float32[labels]; `promises`: precision -> float32[labels]), and
    what those imply.
    """

    candidates: int
    slope: float
    intercept: float
    policies: Mapping[str, Probabilities]
    promises: Mapping[float, Probabilities]

    @property
    def policy_names(self) -> list[str]:
        """The policies that can be asked for."""
        return [*self.policies, PRECISE]

    def asked(self, query: LabelQuery, labels: LabelSet) -> "Asked":
        """A question as the kernels read it; raises RequestError where it cannot be answered."""
        every = np.ones(len(labels), np.bool_)
        return Asked(
            self.thresholds(query),
            labels.matching(query.only) if query.only else every,
            np.float32(query.min_probability),
            min(query.top_k, len(labels)),
            np.float32(self.slope),
            np.float32(self.intercept),
        )

    def thresholds(self, query: LabelQuery) -> Probabilities:
        """The thresholds that a question asks for, by label; raises RequestError."""
        if query.policy not in self.policy_names:
            raise RequestError(f"unknown policy; this model has {', '.join(self.policy_names)}")
        if query.min_precision or query.policy == PRECISE:
            least = query.min_precision or PRECISE_AT
            levels = [level for level in self.promises if level >= least]
            if not levels:
                raise RequestError(
                    f"this model promises a precision of {max(self.promises)} at most"
                )
            return self.promises[min(levels)]
        return self.policies[query.policy]


@compiled
def answer_row(
    asked: Asked,
    implications: Implications,
    line: Line,
    chosen: LabelIds,
    probabilities: Probabilities,
    lists: Lists,
    row: int,
) -> None:
    """Answer for one entity; rows come in order."""
    order = np.empty(chosen.size, np.int64)
    holds = np.empty(chosen.size, np.bool_)
    _decide(asked, implications, chosen, probabilities, order, holds)
    n = lists.indptr[row]
    taken = 0
    for i in order:
        label, probability = chosen[i], probabilities[i]
        if not asked.allowed[label]:
            continue
        if probability >= asked.floor and (taken < asked.listed or holds[i]):
            lists.ids[n] = label
            lists.probabilities[n] = probability
            lists.asserted[n] = holds[i]
            n += 1
        taken += 1
    if taken < asked.listed:
        lift_all(implications, line)
        n = _list_others(asked, line, chosen, probabilities.min(), asked.listed - taken, lists, n)
    lists.indptr[row + 1] = n


@compiled
def _decide(
    asked: Asked,
    implications: Implications,
    chosen: LabelIds,
    probabilities: Probabilities,
    order: Offsets,
    holds: npt.NDArray[np.bool_],
) -> None:
    """The order of the candidates by probability, and which of them are asserted."""
    for i in range(chosen.size):
        holds[i] = probabilities[i] >= asked.thresholds[chosen[i]]
    for i in range(chosen.size):
        if holds[i]:
            for j in range(implications.indptr[chosen[i]], implications.indptr[chosen[i] + 1]):
                for other in range(i):  # what is implied scores higher
                    holds[other] |= chosen[other] == implications.ancestors[j]
    for i in range(chosen.size):
        place = i
        while place > 0 and probabilities[order[place - 1]] < probabilities[i]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = i


@compiled
def _list_others(
    asked: Asked,
    line: Line,
    chosen: LabelIds,
    ceiling: np.float32,
    room: int,
    lists: Lists,
    first: int,
) -> int:
    """List the best labels that are no candidates from `first` on; returns the new end."""
    candidate = np.zeros(asked.allowed.size, np.bool_)
    for label in chosen:
        candidate[label] = True
    scores = line.scores
    last = first
    for label in range(candidate.size):
        if candidate[label] or not asked.allowed[label]:
            continue
        if last - first == room and scores[label] <= scores[lists.ids[last - 1]]:
            continue
        place = last if last - first < room else last - 1
        last = place + 1
        while place > first and scores[lists.ids[place - 1]] < scores[label]:
            lists.ids[place] = lists.ids[place - 1]
            place -= 1
        lists.ids[place] = label
    n = first
    for i in range(first, last):
        log_odds = asked.slope * scores[lists.ids[i]] + asked.intercept
        probability = min(np.float32(1) / (np.float32(1) + np.exp(-log_odds)), ceiling)
        if probability >= asked.floor:
            lists.ids[n] = lists.ids[i]
            lists.probabilities[n] = probability
            lists.asserted[n] = False
            n += 1
    return n
