"""Implications are learned from rows with few exceptions, or declared in the schema."""

import pyarrow as pa
import pytest

from labelwright.entities.errors import DataError
from labelwright.models.labels import LabelSet, label_matrix, label_set
from labelwright.models.stages.implications import Implications
from labelwright.training.fitting.implications import (
    MAX_EXCEPTIONS,
    MIN_SUPPORT,
    learn_implications,
)
from labelwright.training.fitting.reranker import co_occurrence


def learned(
    lists: list[list[str]], declared: dict[str, tuple[str, ...]] | None = None
) -> dict[str, set[str]]:
    array = pa.array(lists, pa.list_(pa.string()))
    labels = label_set(array)
    matrix = label_matrix(array, labels)
    found = learn_implications(labels, matrix.counts(), *co_occurrence(matrix), declared or {})
    return named(labels, found)


def named(labels: LabelSet, found: Implications) -> dict[str, set[str]]:
    above = {
        n: {labels.names[a] for a in found.ancestors_of(i)} for i, n in enumerate(labels.names)
    }
    return {name: implied for name, implied in above.items() if implied}


def test_the_rarer_of_two_labels_that_occur_together_implies_the_other() -> None:
    assert learned([["a", "b"]] * MIN_SUPPORT + [["b"]]) == {"a": {"b"}}


def test_few_rows_are_sufficient_only_for_implications_between_paths() -> None:
    assert learned([["a", "b"]] * (MIN_SUPPORT - 1) + [["b"]]) == {}
    paths = ["kind=food/bar/wine", "group=food/bar", "top=food"]
    rows = [paths, paths[1:], paths[1:], paths[2:], paths[2:], paths[2:]]
    assert learned(rows) == {paths[0]: set(paths[1:]), paths[1]: {paths[2]}}
    assert learned([["kind=food/bars", "group=food/bar"], ["group=food/bar"]]) == {}
    assert learned([["kind=/a", "popular"], ["popular"]]) == {}
    assert learned([["food/bar", "food"], ["food"]]) == {"food/bar": {"food"}}


def test_an_implication_is_learned_despite_a_small_share_of_exceptions() -> None:
    most = int(MAX_EXCEPTIONS * 1_000)
    rows = [["a", "b"]] * (1_000 - most) + [["a"]] * most + [["b"]] * 1_000
    assert learned(rows) == {"a": {"b"}}
    assert learned([*rows, ["a"], ["a"]]) == {}


def test_implications_are_transitive() -> None:
    rows = [["a", "b", "c"]] * MIN_SUPPORT + [["b", "c"]] * MIN_SUPPORT + [["c"]] * MIN_SUPPORT
    assert learned(rows) == {"a": {"b", "c"}, "b": {"c"}}


def test_two_labels_with_the_same_rows_have_one_implication() -> None:
    assert learned([["a", "b"]] * MIN_SUPPORT) == {"b": {"a"}}


def test_declared_implications_need_no_rows() -> None:
    assert learned([["a"], ["b"], ["c"]], {"a": ("b",), "b": ("c", "zz"), "zz": ("a",)}) == {
        "a": {"b", "c"},
        "b": {"c"},
    }


def test_declared_implications_that_form_a_circle_are_an_error() -> None:
    with pytest.raises(DataError, match="circle"):
        learned([["a"], ["b"]], {"a": ("b",), "b": ("a",)})


def test_rows_with_an_unknown_label_are_not_counted() -> None:
    lists = pa.array([["a", "b=1"]] * MIN_SUPPORT + [["a"]] * MIN_SUPPORT + [["b=1"], ["b=2"]])
    labels = label_set(lists)
    a, b = labels.names.index("a"), labels.names.index("b=1")
    assert co_occurrence(label_matrix(lists, labels, ["b"]))[0][a, b] == 1
    assert co_occurrence(label_matrix(lists, labels))[0][a, b] == pytest.approx(0.5)


def test_an_implication_needs_enough_rows_with_a_known_label() -> None:
    lists = pa.array([["a"]] * 2 * MIN_SUPPORT + [["a", "b=1"]] + [["b=1"]] * 3 * MIN_SUPPORT)
    labels = label_set(lists)
    matrix = label_matrix(lists, labels, ["b"])
    found = learn_implications(labels, matrix.counts(), *co_occurrence(matrix), {})
    assert named(labels, found) == {}
