"""Decisions: the listed labels, their order, and the asserted labels among them."""

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labelwright.entities.errors import RequestError
from labelwright.models.decisions import (
    TOP_K_LIMIT,
    Decisions,
    LabelQuery,
    Predictions,
)
from labelwright.models.labels import LabelSet
from labelwright.models.stages.implications import Implications
from labelwright.models.stages.linear import candidates
from tests import plain

some = settings(max_examples=100, deadline=None)

Row = list[tuple[str, float, bool]]
"""The label predictions of an entity: label, probability, asserted."""


@dataclasses.dataclass(frozen=True)
class Case:
    """The output of the stages for n entities, and the parameters of the decisions."""

    labels: LabelSet
    scores: npt.NDArray[np.float32]
    chosen: npt.NDArray[np.int32]
    probabilities: npt.NDArray[np.float32]
    decisions: Decisions

    def predict(self, query: LabelQuery) -> Predictions:
        return plain.predict(
            self.decisions,
            query,
            self.labels,
            self.implications,
            self.scores,
            self.chosen,
            self.probabilities,
        )

    @property
    def implications(self) -> Implications:
        return Implications.none(len(self.labels))

    def take(self, rows: list[int]) -> "Case":
        return dataclasses.replace(
            self,
            scores=self.scores[rows],
            chosen=self.chosen[rows],
            probabilities=self.probabilities[rows],
        )


def case_of(seed: int, labels: int = 8, count: int = 3, entities: int = 4) -> Case:
    """Random output of the stages with ties: scores and probabilities have few different values."""
    random = np.random.default_rng(seed)
    scores = (random.integers(-8, 4, (entities, labels)) / 4).astype(np.float32)
    chosen = candidates(scores, count)
    probabilities = (random.integers(0, 11, chosen.shape) / 10).astype(np.float32)
    thresholds = (random.integers(0, 11, (2, labels)) / 10).astype(np.float32)
    policies = {"balanced": thresholds[0], "bold": thresholds[1]}
    names = tuple(f"{'ab'[n % 2]}{n}" for n in range(labels))
    return Case(
        LabelSet(names), scores, chosen, probabilities, Decisions(count, 1.5, -1.0, policies, {})
    )


def rows_of(predictions: Predictions) -> list[Row]:
    names = predictions.labels.names
    rows = []
    for start, end in zip(predictions.indptr[:-1], predictions.indptr[1:], strict=False):
        part = slice(start, end)
        ids = predictions.ids[part].tolist()
        values = predictions.probabilities[part].tolist(), predictions.asserted[part].tolist()
        rows.append([(names[i], p, a) for i, p, a in zip(ids, *values, strict=False)])
    return rows


def by_hand(case: Case, query: LabelQuery) -> list[Row]:
    """The predictions that the docstrings of LabelQuery and Decisions define, in plain Python."""
    named = case.labels.matching(query.only or ["*"])
    allowed = [i for i in range(len(case.labels)) if named[i]]
    thresholds = case.decisions.policies[query.policy]
    rows = []
    for scores, chosen, reranked in zip(case.scores, case.chosen, case.probabilities, strict=False):
        probability = dict(zip(chosen.tolist(), reranked.tolist(), strict=False))
        ranked = sorted((i for i in probability if i in allowed), key=lambda i: -probability[i])
        row = [
            (i, probability[i], bool(probability[i] >= thresholds[i]))
            for place, i in enumerate(ranked)
            if place < query.top_k or probability[i] >= thresholds[i]
        ]
        others = sorted((i for i in allowed if i not in probability), key=lambda i: -scores[i])
        for i in others[: max(query.top_k - len(ranked), 0)]:
            log_odds = case.decisions.slope * float(scores[i]) + case.decisions.intercept
            row.append((i, min(1 / (1 + math.exp(-log_odds)), *reranked.tolist()), False))
        floor = np.float32(query.min_probability)
        rows.append([(case.labels.names[i], p, a) for i, p, a in row if p >= floor])
    return rows


def assert_same(found: list[Row], expected: list[Row]) -> None:
    assert [[(name, a) for name, _, a in row] for row in found] == [
        [(name, a) for name, _, a in row] for row in expected
    ]
    numbers = [[p for row in rows for _, p, _ in row] for rows in (found, expected)]
    assert numbers[0] == pytest.approx(numbers[1], abs=1e-6)


QUERIES = st.builds(
    LabelQuery,
    top_k=st.integers(1, 12),
    policy=st.sampled_from(["balanced", "bold"]),
    min_probability=st.sampled_from([0.0, 0.05, 0.1, 0.25, 0.5, 0.9, 1.0]),
    only=st.sampled_from([(), ("*",), ("a*",), ("a0", "b?"), ("b7",)]),
)
CASES = st.builds(
    case_of,
    seed=st.integers(0, 9_999),
    labels=st.just(8),
    count=st.integers(1, 8),
    entities=st.integers(0, 4),
)


@some
@example(case_of(0, count=1, entities=1), LabelQuery(top_k=12))
@given(CASES, QUERIES)
def test_predictions_are_as_documented(case: Case, query: LabelQuery) -> None:
    assert_same(rows_of(case.predict(query)), by_hand(case, query))


@some
@given(CASES, QUERIES)
def test_labels_are_sorted_by_probability(case: Case, query: LabelQuery) -> None:
    for row in rows_of(case.predict(query)):
        probabilities = [probability for _, probability, _ in row]
        assert probabilities == sorted(probabilities, reverse=True)
        assert len({name for name, _, _ in row}) == len(row)


@some
@given(CASES, QUERIES)
def test_all_labels_reach_the_minimum_probability_and_match_a_pattern(
    case: Case, query: LabelQuery
) -> None:
    named = case.labels.matching(query.only or ["*"])
    allowed = {name for name, is_named in zip(case.labels.names, named, strict=False) if is_named}
    for row in rows_of(case.predict(query)):
        assert all(p >= np.float32(query.min_probability) for _, p, _ in row)
        assert {name for name, _, _ in row} <= allowed


@some
@given(CASES, QUERIES)
def test_every_label_that_the_policy_asserts_is_listed(case: Case, query: LabelQuery) -> None:
    query = dataclasses.replace(query, min_probability=0.0)
    thresholds = case.decisions.policies[query.policy]
    named = case.labels.matching(query.only or ["*"])
    for r, row in enumerate(rows_of(case.predict(query))):
        expected = {
            case.labels.names[label]
            for label, probability in zip(case.chosen[r], case.probabilities[r], strict=False)
            if probability >= thresholds[label] and named[label]
        }
        assert {name for name, _, asserted in row if asserted} == expected


@some
@given(CASES, QUERIES)
def test_a_list_has_top_k_labels_and_all_asserted_labels(case: Case, query: LabelQuery) -> None:
    query = dataclasses.replace(query, min_probability=0.0)
    allowed = int(case.labels.matching(query.only or ["*"]).sum())
    for row in rows_of(case.predict(query)):
        assert len(row) >= min(query.top_k, allowed)
        assert all(asserted for _, _, asserted in row[query.top_k :])


@some
@given(CASES, QUERIES)
def test_other_labels_than_candidates_are_never_asserted_and_never_above_a_candidate(
    case: Case, query: LabelQuery
) -> None:
    for r, row in enumerate(rows_of(case.predict(query))):
        chosen = {case.labels.names[label] for label in case.chosen[r]}
        others = [(p, asserted) for name, p, asserted in row if name not in chosen]
        assert all(p <= case.probabilities[r].min() for p, _ in others)
        assert not any(asserted for _, asserted in others)


@some
@given(CASES, QUERIES, st.data())
def test_predictions_do_not_depend_on_the_batch(
    case: Case, query: LabelQuery, data: st.DataObject
) -> None:
    whole = rows_of(case.predict(query))
    order = data.draw(st.permutations(range(len(case.scores))))
    assert rows_of(case.take(list(order)).predict(query)) == [whole[row] for row in order]
    for row in range(len(case.scores)):
        assert rows_of(case.take([row]).predict(query)) == [whole[row]]


@some
@given(CASES, QUERIES)
def test_a_shorter_list_is_the_beginning_of_a_longer_one(case: Case, query: LabelQuery) -> None:
    shorter = rows_of(case.predict(query))
    longer = rows_of(case.predict(dataclasses.replace(query, top_k=query.top_k + 1)))
    for short, long in zip(shorter, longer, strict=False):
        assert short[: query.top_k] == long[: len(short[: query.top_k])]
        assert {*short} <= {*long}


def predict_one(
    probabilities: list[float], query: LabelQuery, thresholds: list[float], scores: list[float]
) -> Row:
    """The predictions for one entity. Its candidates are the first labels: `a`, `b` and so on."""
    count = len(probabilities)
    case = Case(
        LabelSet(tuple("abcdefgh"[: len(scores)])),
        np.array([scores], np.float32),
        np.arange(count, dtype=np.int32)[None],
        np.array([probabilities], np.float32),
        Decisions(count, 1.0, 0.0, {"balanced": np.array(thresholds, np.float32)}, {}),
    )
    (row,) = rows_of(case.predict(query))
    return [(name, round(p, 3), asserted) for name, p, asserted in row]


SCORES = [4.0, 3.0, 2.0, -3.0, -2.0]


def test_asserted_labels_are_listed_beyond_top_k() -> None:
    row = predict_one([0.9, 0.8, 0.7], LabelQuery(top_k=1), [0.9, 0.9, 0.7, 0, 0], SCORES)
    assert row == [("a", 0.9, True), ("c", 0.7, True)]


def test_a_probability_that_reaches_its_threshold_is_asserted() -> None:
    row = predict_one([0.5, 0.5, 0.5], LabelQuery(), [0.5, 0.501, 0.499, 0, 0], SCORES)
    assert [asserted for _, _, asserted in row] == [True, False, True, False, False]


def test_a_label_below_the_minimum_probability_is_not_listed_even_if_asserted() -> None:
    row = predict_one([0.9, 0.2], LabelQuery(min_probability=0.3), [0.1, 0.1, 0, 0, 0], SCORES)
    assert row == [("a", 0.9, True)]


def test_candidates_are_sorted_by_probability_and_then_by_score() -> None:
    row = predict_one([0.2, 0.7, 0.2], LabelQuery(top_k=3), [1, 1, 1, 1, 1], SCORES)
    assert [name for name, _, _ in row] == ["b", "a", "c"]


def test_a_long_list_continues_with_the_other_labels_by_score() -> None:
    row = predict_one([0.9, 0.6, 0.5], LabelQuery(top_k=5), [1, 1, 1, 0, 0], SCORES)
    logistic = [round(1 / (1 + math.exp(-score)), 3) for score in (-2, -3)]
    assert row[3:] == [("e", logistic[0], False), ("d", logistic[1], False)]


def test_no_other_label_is_more_probable_than_the_last_candidate() -> None:
    row = predict_one([0.9, 0.01], LabelQuery(top_k=4), [1, 1, 1, 1], [4, 3, 2, -9])
    assert row[2] == ("c", 0.01, False)
    assert row[3][1] < 0.001


def test_patterns_can_select_labels_that_are_not_candidates() -> None:
    row = predict_one([0.9, 0.6, 0.5], LabelQuery(top_k=2, only=("b", "d", "e")), [1] * 5, SCORES)
    assert [name for name, _, _ in row] == ["b", "e"]


def test_each_policy_has_its_own_thresholds() -> None:
    case = case_of(0)
    for policy, thresholds in case.decisions.policies.items():
        assert case.decisions.thresholds(LabelQuery(policy=policy)) is thresholds
        expected = case.probabilities >= thresholds[case.chosen]
        found = case.predict(LabelQuery(top_k=1_000, policy=policy)).asserted
        assert found.sum() == expected.sum()


def test_an_unknown_policy_is_a_request_error_that_lists_the_known_ones() -> None:
    with pytest.raises(
        RequestError, match=r"unknown policy; this model has balanced, bold, precise$"
    ):
        case_of(0).predict(LabelQuery(policy="xyzzy"))


def test_a_pattern_that_matches_no_label_is_a_request_error() -> None:
    with pytest.raises(RequestError, match="matches no label"):
        case_of(0).predict(LabelQuery(only=("a0", "nothing")))


# Queries.


@pytest.mark.parametrize("top_k", [0, -1, TOP_K_LIMIT + 1])
def test_top_k_has_limits(top_k: int) -> None:
    with pytest.raises(RequestError, match="top_k must lie between 1 and 1,000"):
        LabelQuery(top_k=top_k)


@pytest.mark.parametrize("least", [-0.001, 1.001, math.nan, math.inf])
def test_the_minimum_probability_has_limits(least: float) -> None:
    with pytest.raises(RequestError, match="min_probability must lie between 0 and 1"):
        LabelQuery(min_probability=least)


@pytest.mark.parametrize("options", [{"top_k": 1}, {"top_k": 1_000}, {"min_probability": 1.0}])
def test_the_limits_of_a_query_are_allowed(options: dict[str, Any]) -> None:
    assert dataclasses.asdict(LabelQuery(**options)).items() >= options.items()


# Predictions.


@some
@given(CASES, QUERIES, st.data())
def test_predictions_are_converted_to_arrow_lists(
    case: Case, query: LabelQuery, data: st.DataObject
) -> None:
    predictions = case.predict(query)
    rejected = data.draw(st.sets(st.sampled_from(range(len(case.scores) + 1))))
    rejected -= {len(case.scores)}
    lists = predictions.to_arrow(sorted(rejected))
    expected = [
        None
        if r in rejected
        else [{"label": name, "probability": p, "asserted": a} for name, p, a in row]
        for r, row in enumerate(rows_of(predictions))
    ]
    lists.validate(full=True)
    assert lists.to_pylist() == expected
    assert str(lists.type) == (
        "list<item: struct<label: string, probability: float, asserted: bool>>"
    )


@some
@given(CASES, QUERIES, st.integers(0, 4))
def test_joined_predictions_have_the_entities_of_all_parts_in_order(
    case: Case, query: LabelQuery, cut: int
) -> None:
    rows = list(range(len(case.scores)))
    parts = [case.take(part).predict(query) for part in (rows[:cut], rows[cut:]) if part]
    whole = Predictions.joined(parts, case.labels)
    assert rows_of(whole) == rows_of(case.predict(query))
    assert whole.indptr.dtype == np.int64


def test_joining_no_parts_gives_empty_predictions() -> None:
    empty = Predictions.joined([], LabelSet(("a",)))
    assert rows_of(empty) == []
    assert empty.to_arrow().to_pylist() == []
