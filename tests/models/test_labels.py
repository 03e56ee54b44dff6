"""Label sets and matrices give the same results as plain Python."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labelwright.entities.errors import RequestError
from labelwright.models.labels import LabelMatrix, LabelSet, label_matrix, label_set

some = settings(max_examples=80, deadline=None)

Lists = list[list[str | None] | None]

NAMES = st.sampled_from(["amenity=cafe", "b", "B", "é", "", "寿司", "a;b"])
LISTS: st.SearchStrategy[Lists] = st.lists(
    st.none() | st.lists(st.none() | NAMES, max_size=5), max_size=6
)
ANY_NAME = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


def array_of(lists: Lists) -> pa.ListArray:
    return pa.array(lists, pa.list_(pa.string()))


def set_by_hand(lists: Lists, min_count: int) -> tuple[str, ...]:
    counts = Counter(name for row in lists for name in set(row or []) if name)
    return tuple(sorted(name for name, count in counts.items() if count >= min_count))


def rows_of(matrix: LabelMatrix) -> list[list[int]]:
    return [
        matrix.present.ids[start:end].tolist()
        for start, end in zip(matrix.present.indptr[:-1], matrix.present.indptr[1:], strict=False)
    ]


# Label sets.


@some
@example([["a", "a"], ["a"]], 3)
@example([None, [], [None], [""]], 1)
@given(LISTS, st.integers(1, 3))
def test_a_label_set_contains_the_labels_of_enough_entities(lists: Lists, min_count: int) -> None:
    assert label_set(array_of(lists), min_count).names == set_by_hand(lists, min_count)


@some
@given(LISTS, st.integers(0, 6), st.integers(0, 6))
def test_the_label_set_of_a_slice_depends_only_on_the_rows_of_the_slice(
    lists: Lists, start: int, rows: int
) -> None:
    part = array_of(lists).slice(min(start, len(lists)), rows)
    assert label_set(part).names == set_by_hand(lists[start : start + rows], 1)


def test_labels_are_sorted_by_code_points() -> None:
    lists = array_of([["é", "b", "B", "a", "zz", "10", "9"]])
    assert label_set(lists).names == ("10", "9", "B", "a", "b", "zz", "é")


def test_without_entities_the_label_set_is_empty() -> None:
    assert len(label_set(array_of([]))) == 0
    assert len(label_set(array_of([["a"]]), min_count=2)) == 0


def test_a_label_set_is_also_an_arrow_array() -> None:
    labels = LabelSet(("a", "b"))
    assert labels.array.to_pylist() == ["a", "b"]
    assert LabelSet(()).array.type == pa.string()


# Patterns.


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["amenity=cafe"], ["amenity=cafe"]),
        (["amenity=*"], ["amenity=bar", "amenity=cafe"]),
        (["*=?a*"], ["amenity=bar", "amenity=cafe"]),
        (["shop", "amenity=b*"], ["amenity=bar", "shop"]),
        (["*"], ["Shop", "amenity=bar", "amenity=cafe", "shop"]),
        (["S*"], ["Shop"]),
        (["?hop"], ["Shop", "shop"]),
        ([], []),
    ],
)
def test_a_pattern_selects_labels(patterns: list[str], expected: list[str]) -> None:
    labels = LabelSet(("Shop", "amenity=bar", "amenity=cafe", "shop"))
    mask = labels.matching(patterns)
    assert mask.dtype == np.bool_
    assert [name for name, named in zip(labels.names, mask, strict=False) if named] == expected


@pytest.mark.parametrize("pattern", ["cafe", "SHOP", "shop ", "", "amenity", "???", "shop\n"])
def test_a_pattern_that_matches_no_label_is_a_request_error(pattern: str) -> None:
    labels = LabelSet(("amenity=cafe", "shop"))
    with pytest.raises(RequestError, match="matches no label"):
        labels.matching(["shop", pattern])


def test_an_empty_label_set_matches_nothing() -> None:
    with pytest.raises(RequestError, match="matches no label"):
        LabelSet(()).matching(["*"])


@some
@given(st.lists(ANY_NAME.filter(lambda name: "[" not in name), min_size=1, unique=True), st.data())
def test_a_label_matches_its_own_name(names: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(names) - 1))
    assert LabelSet(tuple(names)).matching([names[place]])[place]


@pytest.mark.parametrize("name", ["shop[old]", "[ab]", "a[!b]"])
def test_a_label_with_brackets_matches_its_own_name(name: str) -> None:
    assert LabelSet((name,)).matching([name]).tolist() == [True]


def test_the_error_for_a_pattern_does_not_repeat_the_pattern() -> None:
    with pytest.raises(RequestError) as caught:
        LabelSet(("a",)).matching(["xyzzy"])
    assert "xyzzy" not in str(caught.value)


# Matrices.


@some
@example([["b", "b", "amenity=cafe"], ["b"], None, []], ["amenity=cafe", "b"])
@given(LISTS, st.lists(NAMES, unique=True))
def test_a_matrix_contains_the_ids_of_listed_labels(lists: Lists, names: list[str]) -> None:
    labels = LabelSet(tuple(sorted(names)))
    matrix = label_matrix(array_of(lists), labels)
    places = {name: place for place, name in enumerate(labels.names)}
    given_rows = [row or [] for row in lists]
    known = [{places[name] for name in row if name in places} for row in given_rows]
    assert rows_of(matrix) == [sorted(row) for row in known]
    assert matrix.foreign.tolist() == [
        sum(bool(n) and n not in places for n in row) for row in given_rows
    ]
    assert len(matrix) == len(lists)
    assert matrix.labels == len(labels)
    assert matrix.present.indptr.dtype == np.int64
    assert matrix.present.ids.dtype == np.int32


@some
@given(LISTS, st.integers(0, 6), st.integers(0, 6))
def test_the_matrix_of_a_slice_depends_only_on_the_rows_of_the_slice(
    lists: Lists, start: int, rows: int
) -> None:
    labels = LabelSet(set_by_hand(lists, 1))
    part = label_matrix(array_of(lists).slice(min(start, len(lists)), rows), labels)
    whole = label_matrix(array_of(lists), labels)
    assert rows_of(part) == rows_of(whole)[start : start + rows]
    assert part.foreign.tolist() == whole.foreign.tolist()[start : start + rows]


HIDING = pa.ListArray.from_arrays(
    [0, 1, 2, 3], pa.array(["a", "hidden", "b"]), mask=pa.array([False, True, False])
)
"""Three rows. The second row is null, but Arrow stores a value for it."""


def test_values_of_a_null_list_are_not_in_the_label_set() -> None:
    assert label_set(HIDING).names == ("a", "b")


def test_values_of_a_null_list_are_not_in_the_matrix() -> None:
    matrix = label_matrix(HIDING, LabelSet(("a", "hidden")))
    assert rows_of(matrix) == [[0], [], []]
    assert matrix.foreign.tolist() == [0, 0, 1]


def test_a_label_given_twice_counts_once() -> None:
    matrix = label_matrix(array_of([["a", "b", "a"], ["a"]]), LabelSet(("a", "b")))
    assert rows_of(matrix) == [[0, 1], [0]]
    assert matrix.counts().tolist() == [2, 1]


def test_labels_outside_the_label_set_are_counted() -> None:
    matrix = label_matrix(array_of([["x", "a", "y"], ["x"], None]), LabelSet(("a",)))
    assert matrix.foreign.tolist() == [2, 1, 0]
    assert rows_of(matrix) == [[0], [], []]


def test_with_an_empty_label_set_all_labels_are_foreign() -> None:
    matrix = label_matrix(array_of([["a", "b"], []]), LabelSet(()))
    assert matrix.foreign.tolist() == [2, 0]
    assert matrix.counts().tolist() == []


@some
@given(LISTS)
def test_counts_are_numbers_of_entities(lists: Lists) -> None:
    labels = LabelSet(set_by_hand(lists, 1))
    counts = label_matrix(array_of(lists), labels).counts()
    expected = Counter(name for row in lists for name in set(row or []))
    assert counts.tolist() == [expected[name] for name in labels.names]


@some
@given(LISTS, st.data())
def test_rows_are_taken_in_any_order(lists: Lists, data: st.DataObject) -> None:
    matrix = label_matrix(array_of(lists), LabelSet(("b", "é")))
    choice = st.lists(st.integers(0, len(lists) - 1), max_size=8) if lists else st.just([])
    wanted = data.draw(choice)
    taken = matrix.take(np.array(wanted, np.int64))
    assert rows_of(taken) == [rows_of(matrix)[row] for row in wanted]
    assert taken.foreign.tolist() == [matrix.foreign.tolist()[row] for row in wanted]
    assert taken.labels == matrix.labels


@some
@given(LISTS, st.integers(0, 999))
def test_contains_is_true_for_the_labels_of_a_row(lists: Lists, seed: int) -> None:
    labels = LabelSet(("B", "amenity=cafe", "b", "é"))
    matrix = label_matrix(array_of(lists), labels)
    candidates = np.random.default_rng(seed).integers(0, 4, (len(lists), 3)).astype(np.int32)
    expected = [
        [label in row for label in wanted]
        for row, wanted in zip(rows_of(matrix), candidates.tolist(), strict=False)
    ]
    assert matrix.contains(candidates).tolist() == expected


def test_an_absent_group_makes_all_labels_of_the_group_known_and_no_others() -> None:
    labels = LabelSet(("diet=a", "diet=b", "other", "step=no", "step=yes"))
    lists = array_of([["other"], ["diet=a"], [], [], []])
    absent = array_of([["step"], ["step", "x"], ["diet=b", "step=yes"], None, ["diet", "step"]])
    matrix = label_matrix(lists, labels, ("diet", "step"), absent)
    every = np.arange(5)
    known = [matrix.known(every, np.full(5, n, np.int32)).tolist() for n in range(5)]
    assert known == [
        [False, True, False, False, True],
        [False, True, True, False, True],
        [True] * 5,
        [True, True, False, False, True],
        [True, True, True, False, True],
    ]
    assert matrix.counts().tolist() == [1, 0, 1, 0, 0]


@some
@given(st.lists(LISTS, min_size=1, max_size=3))
def test_joined_matrices_have_the_rows_of_all_parts_in_order(parts: list[Lists]) -> None:
    labels = LabelSet(("B", "amenity=cafe", "b", "é"))
    joined = LabelMatrix.joined([label_matrix(array_of(part), labels) for part in parts])
    whole = label_matrix(array_of([row for part in parts for row in part]), labels)
    assert rows_of(joined) == rows_of(whole)
    assert joined.foreign.tolist() == whole.foreign.tolist()
    assert np.array_equal(joined.complete, whole.complete)
