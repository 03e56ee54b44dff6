"""Feature rows: their content, and changes of the input that must not change their content."""

import functools
import math
import unicodedata
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities, from_records, from_table
from labelwright.models.features.space import (
    FeatureRows,
    FeatureSpace,
    fill_rows,
    number_columns,
    token_source,
)
from labelwright.models.features.tokens import GROUPS, group_of, row_tokens, scratch, tokens_at_most
from labelwright.models.labeler import Labeler

some = settings(max_examples=50, deadline=None)

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]

SCHEMA = EntitySchema.from_mapping(
    {
        "name": "shops",
        "columns": {
            "name": {"kind": "text"},
            "about": {"kind": "text", "grams": False},
            "city": {"kind": "category"},
            "web": {"kind": "web"},
            "phone": {"kind": "phone"},
            "tags": {"kind": "tags"},
            "area": {"kind": "number"},
            "floors": {"kind": "number"},
            "position": {"kind": "point", "fields": ["lat", "lon"]},
        },
    }
)
EDGES = np.array([np.arange(15) * 10.0, np.arange(15) * 1.0])
SHARES = np.array([1, 0.5, 2], np.float32)
"""Lengths of the groups of tokens: character n-grams, words, and tokens of the other columns."""

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
WORDS = st.text(st.sampled_from("ab c\u00e9\u4e2d"), max_size=8)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "name": WORDS | TEXTS,
        "about": WORDS | TEXTS,
        "city": WORDS,
        "web": st.sampled_from(["a.example", "https://www.b.test/x", "c.example;d.test"]),
        "phone": st.sampled_from(["+1 212 366", "0301", ""]),
        "tags": st.dictionaries(st.sampled_from("kl"), WORDS, max_size=2),
        "area": st.floats(-50, 200),
        "floors": st.integers(-2, 20),
    },
)


def entities_of(*records: dict[str, Any]) -> Entities:
    entities = from_records(records, SCHEMA)
    assert not entities.rejected
    return entities


def tokens_by_row(entities: Entities) -> list[list[int]]:
    """The tokens of each row."""
    return [list(row) for row in counts_by_row(entities)]


def counts_by_row(entities: Entities) -> list[dict[int, int]]:
    """The tokens of each row, and how often each of them occurs."""
    source = token_source(entities, EDGES)
    space = scratch(source)
    sizes = (row_tokens(row, source, space) for row in range(len(entities)))
    return [
        dict(zip(space.tokens[:size].tolist(), space.counts[:size].tolist(), strict=True))
        for size in sizes
    ]


def space_of(entities: Entities, seed: int = 0) -> FeatureSpace:
    """A feature space with two thirds of the tokens of some entities, chosen at random."""
    random = np.random.default_rng(seed)
    keys = np.array(sorted({t for row in tokens_by_row(entities) for t in row}), np.uint64)
    keys = random.permutation(keys)[: -(-2 * len(keys) // 3)]
    weights = random.uniform(0.5, 9, len(keys)).astype(np.float32)
    return FeatureSpace(SCHEMA, keys, weights, SHARES, EDGES)


def by_hand(space: FeatureSpace, entities: Entities) -> list[dict[int, float]]:
    """The feature rows that `models.features.space` documents, computed in plain Python."""
    places = {int(key): place for place, key in enumerate(space.keys)}
    rows = []
    for row in counts_by_row(entities):
        groups: list[dict[int, float]] = [{} for _ in range(GROUPS)]
        for token, count in row.items():
            if token in places:
                place = places[token]
                weight = (1 + math.log(count)) * float(space.weights[place])
                groups[group_of(np.uint64(token))][place] = weight
        whole = sum(share**2 for share, group in zip(SHARES, groups, strict=False) if group) ** 0.5
        values: dict[int, float] = {}
        for share, group in zip(SHARES, groups, strict=False):
            length = sum(weight**2 for weight in group.values()) ** 0.5
            values |= {p: weight * float(share) / length / whole for p, weight in group.items()}
        rows.append(values)
    return rows


def as_dicts(rows: FeatureRows) -> list[dict[int, float]]:
    found = []
    for start, end in zip(rows.indptr[:-1], rows.indptr[1:], strict=False):
        row = dict(
            zip(rows.indices[start:end].tolist(), rows.values[start:end].tolist(), strict=False)
        )
        assert len(row) == end - start
        found.append(row)
    return found


def assert_same(left: FeatureRows, right: FeatureRows) -> None:
    """Check that rows are bitwise equal."""
    assert np.array_equal(left.indptr, right.indptr)
    assert np.array_equal(left.indices, right.indices)
    assert np.array_equal(left.values, right.values)


@pytest.fixture(scope="module")
def some_brands(brands: Entities) -> Entities:
    return brands.slice(0, 200)


# Content of rows.


@some
@given(st.lists(RECORDS, min_size=1, max_size=5))
def test_rows_are_as_documented(records: list[dict[str, Any]]) -> None:
    entities = entities_of(*records)
    space = space_of(entities)
    found, expected = as_dicts(space.transform(entities)), by_hand(space, entities)
    assert [row.keys() for row in found] == [row.keys() for row in expected]
    for row, other in zip(found, expected, strict=False):
        assert row == pytest.approx(other, rel=1e-5)


@some
@given(st.lists(RECORDS, min_size=1, max_size=5))
def test_rows_have_unit_length_or_no_features(records: list[dict[str, Any]]) -> None:
    entities = entities_of(*records)
    for row in as_dicts(space_of(entities).transform(entities)):
        assert not row or sum(v**2 for v in row.values()) == pytest.approx(1, abs=1e-5)


def test_real_rows_have_unit_length(labeler: Labeler, some_brands: Entities) -> None:
    rows = labeler.features.transform(some_brands)
    squares = np.add.reduceat(rows.values.astype(np.float64) ** 2, rows.indptr[:-1])
    assert np.allclose(squares, 1, atol=1e-5)


def test_real_rows_are_as_documented(labeler: Labeler, some_brands: Entities) -> None:
    rows = labeler.features.transform(some_brands)
    assert rows.indptr.dtype == np.int64
    assert rows.indices.dtype == np.int32
    assert rows.values.dtype == np.float32
    assert rows.indptr[0] == 0
    assert rows.indptr[-1] == len(rows.indices) == len(rows.values)
    assert (rows.indices >= 0).all()
    assert (rows.indices < len(labeler.features.keys)).all()
    assert (rows.values > 0).all()


def test_the_most_frequent_features_come_first(labeler: Labeler, brands: Entities) -> None:
    counts = np.bincount(
        labeler.features.transform(brands).indices, minlength=len(labeler.features.keys)
    )
    head, tail = counts[:1_000].mean(), counts[-1_000:].mean()
    assert head > 5 * tail
    weights = labeler.features.weights
    assert (np.diff(weights) >= 0).all()


def test_tokens_that_are_not_features_are_left_out() -> None:
    known, unknown = entities_of({"name": "joes pizza"}), entities_of({"name": "quux"})
    keys = np.array(tokens_by_row(known)[0], np.uint64)
    space = FeatureSpace(SCHEMA, keys, np.ones(len(keys), np.float32), SHARES, EDGES)
    assert as_dicts(space.transform(unknown)) == [{}]
    both = entities_of({"name": "joes pizza", "about": "quux"})
    assert_same(space.transform(both), space.transform(known))


def test_a_space_without_features_gives_empty_rows() -> None:
    space = FeatureSpace(SCHEMA, np.zeros(0, np.uint64), np.zeros(0, np.float32), SHARES, EDGES)
    assert as_dicts(space.transform(entities_of({"name": "a"}, {}))) == [{}, {}]


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_empty_entities_have_empty_rows(labeler: Labeler, rows: int) -> None:
    transformed = labeler.features.transform(Entities.empty(labeler.schema, rows))
    assert as_dicts(transformed) == [{}] * rows


def test_a_rejected_row_is_an_empty_row(labeler: Labeler) -> None:
    records = [{"name": "Shell"}, {"name": "Shell", "lat": 200, "lon": 0}, {"name": "Shell"}]
    first, bad, last = as_dicts(labeler.features.transform(from_records(records, labeler.schema)))
    assert first == last
    assert first
    assert not bad


@pytest.mark.parametrize("size", [1, 2, 3, 63, 64, 65])
def test_tokens_are_found_despite_hash_collisions(size: int) -> None:
    entities = entities_of({"name": " ".join(f"w{n}" for n in range(20))})
    (row,) = tokens_by_row(entities)
    random = np.random.default_rng(size)
    others = (np.uint64(row[0]) + np.arange(1, size, dtype=np.uint64) * np.uint64(1 << 40))[
        : size - 1
    ]
    keys = random.permutation(np.concatenate([np.array(row[:1], np.uint64), others]))
    space = FeatureSpace(SCHEMA, keys, np.ones(size, np.float32), SHARES, EDGES)
    (found,) = as_dicts(space.transform(entities))
    assert found == {int(np.flatnonzero(keys == row[0])[0]): 1}


# Changes of the input that do not change features.


@some
@given(st.lists(RECORDS, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_change_features(
    records: list[dict[str, Any]], random: Any
) -> None:
    entities = entities_of(*records)
    space = space_of(entities)
    order = list(range(len(records)))
    random.shuffle(order)
    shuffled = entities_of(*(records[row] for row in order))
    assert_same(space.transform(shuffled), space.transform(entities).take(np.array(order)))


def stacked(parts: list[FeatureRows]) -> FeatureRows:
    """Concatenate the rows of several parts."""
    rows, size = sum(len(part.names) for part in parts), sum(len(part.indices) for part in parts)
    buffers = (
        np.zeros(rows + 1, np.int64),
        np.zeros(size, np.int32),
        np.zeros(size, np.float32),
        np.zeros(rows, np.uint64),
    )
    return fill_rows(FeatureRows(*buffers), parts)


@pytest.mark.parametrize("batch", [1, 7, 64, 1_000])
def test_the_batch_does_not_change_features(
    labeler: Labeler, some_brands: Entities, batch: int
) -> None:
    whole = labeler.features.transform(some_brands)
    parts = [
        labeler.features.transform(some_brands.slice(start, batch))
        for start in range(0, len(some_brands), batch)
    ]
    assert_same(stacked(parts), whole)


def test_the_chunks_of_a_table_do_not_change_features(
    labeler: Labeler, some_brands: Entities
) -> None:
    table = some_brands.table
    chunked = pa.concat_tables([table.slice(0, 3), table.slice(3, 0), table.slice(3)])
    entities = from_table(chunked, labeler.schema)
    assert_same(labeler.features.transform(entities), labeler.features.transform(some_brands))


def respelled(entities: Entities, change: Any) -> Entities:
    """A copy of the entities in which `change` has been applied to every text."""
    table = entities.table
    arrays = {
        name: pa.array(
            [None if v is None else change(v) for v in table[name].to_pylist()], pa.string()
        )
        for name in table.column_names
    }
    return from_table(pa.table(arrays), entities.schema)


@pytest.mark.parametrize("form", get_args(Form))
def test_the_unicode_normal_form_does_not_change_features(
    labeler: Labeler, some_brands: Entities, form: Form
) -> None:
    changed = respelled(some_brands, functools.partial(unicodedata.normalize, form))
    assert_same(labeler.features.transform(changed), labeler.features.transform(some_brands))


@pytest.mark.parametrize(
    "change",
    [str.upper, str.casefold, lambda text: f"{text} ", lambda text: text.replace(" ", "  ")],
    ids=["upper", "folded", "space after", "spaces within"],
)
def test_case_and_spacing_do_not_change_features(
    labeler: Labeler, some_brands: Entities, change: Any
) -> None:
    changed = respelled(some_brands, change)
    assert_same(labeler.features.transform(changed), labeler.features.transform(some_brands))


@some
@given(
    st.lists(st.text("aB\u00c9\u00df\u0416\u03a9 ", max_size=10), min_size=1, max_size=4),
    st.sampled_from(get_args(Form)),
)
def test_case_normal_form_and_spacing_of_any_text_do_not_change_features(
    names: list[str], form: Form
) -> None:
    entities = entities_of(*({"name": name, "city": name} for name in names))
    changed = [unicodedata.normalize(form, f" {name.upper()}  ") for name in names]
    space = space_of(entities)
    others = entities_of(*({"name": name, "city": name} for name in changed))
    assert_same(space.transform(others), space.transform(entities))


def test_a_missing_column_equals_a_column_of_nulls(labeler: Labeler, some_brands: Entities) -> None:
    table = some_brands.table.drop_columns("website")
    nulls = table.append_column("website", pa.nulls(len(table), pa.string()))
    without, empty = from_table(table, labeler.schema), from_table(nulls, labeler.schema)
    assert_same(labeler.features.transform(without), labeler.features.transform(empty))


# Numbers.


def test_numbers_in_one_bin_give_the_same_feature() -> None:
    areas = [-1e300, -1.0, 0.5, 9.9, 10.1, 139.0, 141.0, 1e300]
    rows = tokens_by_row(entities_of(*({"area": area} for area in areas)))
    assert all(len(row) == 1 for row in rows)
    bins = [row[0] for row in rows]
    assert bins[0] == bins[1]
    assert bins[2] == bins[3]
    assert bins[6] == bins[7]
    assert len(set(bins)) == 5


def test_two_number_columns_have_separate_bins() -> None:
    area, floors, both = tokens_by_row(
        entities_of({"area": 5}, {"floors": 5}, {"area": 5, "floors": 5})
    )
    assert not {*area} & {*floors}
    assert {*both} == {*area, *floors}


def test_a_missing_number_gives_no_feature() -> None:
    entities = entities_of({"area": None}, {"area": float("nan")}, {}, {"area": 0})
    assert [len(row) for row in tokens_by_row(entities)] == [0, 0, 0, 1]


def test_a_point_gives_no_feature() -> None:
    assert tokens_by_row(entities_of({"lat": 1, "lon": 2})) == [[]]


def test_number_columns_are_in_the_order_of_the_schema() -> None:
    assert [column.name for column in number_columns(SCHEMA)] == ["area", "floors"]


# Bounds.


@some
@given(st.lists(RECORDS, max_size=5))
def test_all_offsets_are_within_bounds(records: list[dict[str, Any]]) -> None:
    source = token_source(entities_of(*records), EDGES)
    assert source.starts.shape == (len(source.kinds), len(records) + 1)
    assert (np.diff(source.starts, axis=1) >= 0).all()
    assert source.starts.max(initial=0) <= source.data.size
    lengths = np.diff(source.starts, axis=1)
    assert source.longest == lengths.max(initial=0)
    source.data.tobytes().decode("utf-8")


@some
@given(st.lists(RECORDS, min_size=1, max_size=5))
def test_buffers_are_large_enough_if_every_token_is_a_feature(
    records: list[dict[str, Any]],
) -> None:
    entities = entities_of(*records)
    rows = tokens_by_row(entities)
    keys = np.array(sorted({token for row in rows for token in row}), np.uint64)
    space = FeatureSpace(SCHEMA, keys, np.ones(len(keys), np.float32), SHARES, EDGES)
    transformed = space.transform(entities)
    assert np.diff(transformed.indptr).tolist() == [len(row) for row in rows]
    source = token_source(entities, EDGES)
    size = sum(tokens_at_most(int(n)) for n in np.diff(source.starts, axis=1).ravel())
    assert len(transformed.indices) <= size + source.number_tokens.size


# Operations on rows.


def random_rows(random: np.random.Generator, rows: int) -> FeatureRows:
    lengths = random.integers(0, 4, rows)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    used = int(indptr[-1])
    values: npt.NDArray[np.float32] = random.random(used).astype(np.float32)
    names = random.integers(0, 9, rows).astype(np.uint64)
    return FeatureRows(indptr, random.integers(0, 9, used).astype(np.int32), values, names)


def rows_as_lists(rows: FeatureRows) -> list[list[tuple[int, float]]]:
    pairs = list(zip(rows.indices.tolist(), rows.values.tolist(), strict=False))
    bounds = zip(rows.indptr[:-1], rows.indptr[1:], rows.names.tolist(), strict=True)
    return [[(-1, name), *pairs[first:end]] for first, end, name in bounds]


@some
@given(st.integers(0, 99), st.integers(0, 6), st.data())
def test_rows_are_taken_in_any_order(seed: int, count: int, data: st.DataObject) -> None:
    rows = random_rows(np.random.default_rng(seed), count)
    choice = st.lists(st.integers(0, count - 1), max_size=8) if count else st.just([])
    wanted = data.draw(choice)
    taken = rows.take(np.array(wanted, np.int64))
    assert rows_as_lists(taken) == [rows_as_lists(rows)[row] for row in wanted]
    assert [part.dtype for part in taken] == [part.dtype for part in rows]


@some
@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 4)), min_size=1, max_size=4))
def test_fill_rows_writes_the_parts_in_order(parts: list[tuple[int, int]]) -> None:
    given = [random_rows(np.random.default_rng(seed), count) for seed, count in parts]
    whole = stacked(given)
    assert rows_as_lists(whole) == [row for part in given for row in rows_as_lists(part)]
    assert [part.dtype for part in whole] == [np.int64, np.int32, np.float32, np.uint64]
