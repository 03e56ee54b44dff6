"""From probabilities to answers: which labels are listed, and which of them are asserted."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from entities.errors import RequestError
from models.compiled import compiled
from models.labels import LabelSet
from models.linear import LabelIds, Scores

Probabilities = npt.NDArray[np.float32]
TOP_K_LIMIT = 1_000


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked about each entity.

    The `top_k` most probable labels are listed, and beside them every label that the policy
    asserts; of both only those that reach `min_probability` and match a pattern of `only`.
    """

    top_k: int = 5
    policy: str = "balanced"
    min_probability: float = 0.0
    only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.top_k <= TOP_K_LIMIT:
            raise RequestError(f"top_k must lie between 1 and {TOP_K_LIMIT:,}")
        if not 0 <= self.min_probability <= 1:
            raise RequestError("min_probability must lie between 0 and 1")


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
    policy (`policies`: name -> float32[labels]).
    """

    candidates: int
    slope: float
    intercept: float
    policies: Mapping[str, Probabilities]

    def answer(
        self,
        question: Question,
        labels: LabelSet,
        scores: Scores,
        chosen: LabelIds,
        probabilities: Probabilities,
    ) -> Answers:
        """Answer for n entities from their scores (n x labels) and reranked candidates."""
        thresholds = self.thresholds(question.policy)
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
            counts, ids, shown, asserted,
        )  # fmt: skip
        filled = np.arange(count + listed) < counts[:, None]
        indptr = np.zeros(n + 1, np.int64)
        np.cumsum(counts, out=indptr[1:])
        return Answers(labels, indptr, ids[filled], shown[filled], asserted[filled])

    def thresholds(self, policy: str) -> Probabilities:
        """The thresholds of a policy by label; raises RequestError."""
        if policy not in self.policies:
            raise RequestError(f"unknown policy; this model has {', '.join(self.policies)}")
        return self.policies[policy]


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
    counts: npt.NDArray[np.int64],
    ids: LabelIds,
    shown: Probabilities,
    asserted: npt.NDArray[np.bool_],
) -> None:
    candidate = np.zeros(scores.shape[1], np.bool_)
    order = np.empty(chosen.shape[1], np.int64)
    for row in range(chosen.shape[0]):
        given = probabilities[row]
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
            holds = probability >= thresholds[label]
            if probability >= floor and (taken < listed or holds):
                ids[row, n] = label
                shown[row, n] = probability
                asserted[row, n] = holds
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
