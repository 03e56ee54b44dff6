"""From probabilities to answers: which labels are listed, and which of them are asserted."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from entities.errors import RequestError
from models.compiled import compiled
from models.implications import Implications
from models.labels import LabelSet
from models.linear import LabelIds, Scores

Probabilities = npt.NDArray[np.float32]
TOP_K_LIMIT = 1_000
BALANCED, BROAD, PRECISE = "balanced", "broad", "precise"
"""Policies: the best F-measure; recall counts twice as much; the promise of PRECISE_AT."""
PRECISE_AT = 0.95
PRECISIONS = (0.5, 0.6, 0.7, 0.8, 0.9, PRECISE_AT, 0.98, 0.99)
"""The promises of precision that a model is trained to keep."""
NEVER = np.float32(np.inf)
"""The threshold of a label without evidence: asserted only where another label implies it."""


@dataclasses.dataclass(frozen=True)
class Question:
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
class Answers:
    """Labels of n entities: entity r has positions indptr[r] to indptr[r + 1] of the other arrays.

    Within an entity the most probable comes first.
    """

    labels: LabelSet
    indptr: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]
    probabilities: Probabilities
    asserted: npt.NDArray[np.bool_]

    def where(self, kept: npt.NDArray[np.bool_]) -> "Answers":
        """Only the pairs that are kept (bool, one for each position)."""
        return dataclasses.replace(
            self,
            indptr=np.concatenate([[0], np.cumsum(kept)])[self.indptr],
            ids=self.ids[kept],
            probabilities=self.probabilities[kept],
            asserted=self.asserted[kept],
        )

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

    def answer(
        self,
        question: Question,
        labels: LabelSet,
        implications: Implications,
        scores: Scores,
        chosen: LabelIds,
        probabilities: Probabilities,
    ) -> Answers:
        """Answer for n entities from their scores (n x labels) and reranked candidates."""
        thresholds = self.thresholds(question)
        allowed = (
            labels.matching(question.only) if question.only else np.ones(len(labels), np.bool_)
        )
        n, count = chosen.shape
        listed = min(question.top_k, len(labels))
        counts = np.zeros(n, np.int64)
        ids = np.empty((n, count + listed), np.int32)
        shown = np.empty((n, count + listed), np.float32)
        asserted = np.empty((n, count + listed), np.bool_)
        tail = np.array([self.slope, self.intercept], np.float32)
        floor = np.float32(question.min_probability)
        _answer(
            scores, chosen, probabilities, tail, thresholds, allowed, floor, listed,
            implications.indptr, implications.ancestors, counts, ids, shown, asserted,
        )  # fmt: skip
        filled = np.arange(count + listed) < counts[:, None]
        indptr = np.zeros(n + 1, np.int64)
        np.cumsum(counts, out=indptr[1:])
        return Answers(labels, indptr, ids[filled], shown[filled], asserted[filled])

    def thresholds(self, question: Question) -> Probabilities:
        """The thresholds that a question asks for, by label; raises RequestError."""
        if question.policy not in self.policy_names:
            raise RequestError(f"unknown policy; this model has {', '.join(self.policy_names)}")
        if question.min_precision or question.policy == PRECISE:
            least = question.min_precision or PRECISE_AT
            levels = [level for level in self.promises if level >= least]
            if not levels:
                raise RequestError(
                    f"this model promises a precision of {max(self.promises)} at most"
                )
            return self.promises[min(levels)]
        return self.policies[question.policy]


def concatenated(parts: list[Answers], labels: LabelSet) -> Answers:
    """Answers for one group of entities after another."""
    counts = [np.diff(part.indptr) for part in parts]
    indptr = np.concatenate([[0], *counts]).cumsum(dtype=np.int64)
    return Answers(
        labels,
        indptr,
        np.concatenate([part.ids for part in parts] or [np.zeros(0, np.int32)]),
        np.concatenate([part.probabilities for part in parts] or [np.zeros(0, np.float32)]),
        np.concatenate([part.asserted for part in parts] or [np.zeros(0, np.bool_)]),
    )


@compiled
def _answer(
    scores: Scores,
    chosen: LabelIds,
    probabilities: Probabilities,
    tail: npt.NDArray[np.float32],
    thresholds: Probabilities,
    allowed: npt.NDArray[np.bool_],
    floor: np.float32,
    listed: int,
    implied_indptr: npt.NDArray[np.int64],
    implied: LabelIds,
    counts: npt.NDArray[np.int64],
    ids: LabelIds,
    shown: Probabilities,
    asserted: npt.NDArray[np.bool_],
) -> None:
    candidate = np.zeros(scores.shape[1], np.bool_)
    order = np.empty(chosen.shape[1], np.int64)
    holds = np.empty(chosen.shape[1], np.bool_)
    for row in range(chosen.shape[0]):
        given = probabilities[row]
        for i in range(order.size):
            holds[i] = given[i] >= thresholds[chosen[row, i]]
        for i in range(order.size):
            if holds[i]:
                label = chosen[row, i]
                for j in range(implied_indptr[label], implied_indptr[label + 1]):
                    for other in range(i):  # what is implied scores higher
                        holds[other] |= chosen[row, other] == implied[j]
        for i in range(order.size):
            place = i
            while place > 0 and given[order[place - 1]] < given[i]:
                order[place] = order[place - 1]
                place -= 1
            order[place] = i
        n = 0
        taken = 0
        for rank in range(order.size):
            i = order[rank]
            label, probability = chosen[row, i], given[i]
            if not allowed[label]:
                continue
            if probability >= floor and (taken < listed or holds[i]):
                ids[row, n] = label
                shown[row, n] = probability
                asserted[row, n] = holds[i]
                n += 1
            taken += 1
        if taken < listed:
            for i in range(order.size):
                candidate[chosen[row, i]] = True
            room = listed - taken
            first = n
            line = scores[row]
            for label in range(line.size):
                if candidate[label] or not allowed[label]:
                    continue
                if n - first == room and line[label] <= line[ids[row, n - 1]]:
                    continue
                place = n if n - first < room else n - 1
                n = place + 1
                while place > first and line[ids[row, place - 1]] < line[label]:
                    ids[row, place] = ids[row, place - 1]
                    place -= 1
                ids[row, place] = label
            ceiling = given[order[-1]] if order.size else np.float32(1)
            last = n
            n = first
            for i in range(first, last):
                log_odds = tail[0] * line[ids[row, i]] + tail[1]
                probability = min(np.float32(1) / (np.float32(1) + np.exp(-log_odds)), ceiling)
                if probability >= floor:
                    shown[row, n] = probability
                    asserted[row, n] = False
                    n += 1
            for i in range(order.size):
                candidate[chosen[row, i]] = False
        counts[row] = n
