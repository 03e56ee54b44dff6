"""Small tables that would need much memory when decoded: the table or its rows are refused."""

import time

import numpy as np
import pyarrow as pa
import pytest

from labelwright.entities.arrays import buffers
from labelwright.entities.errors import DataError
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import from_records, from_table
from labelwright.entities.values import FIELD_LIMIT

LONG = "x" * (FIELD_LIMIT + 1)
ROWS = 10_000


def test_a_long_dictionary_value_is_not_copied_for_each_row(places: EntitySchema) -> None:
    values = pa.array([LONG * 1_000, "Bar", None])
    indices = pa.array([0] * ROWS + [1, 2, None])
    before = pa.total_allocated_bytes()
    entities = from_table(
        pa.table({"name": pa.DictionaryArray.from_arrays(indices, values)}), places
    )
    assert pa.total_allocated_bytes() - before < 10 * len(LONG) * 1_000
    assert len(entities.rejected) == ROWS
    assert set(entities.rejected.values()) == {"name: longer than 10,000 bytes"}
    assert entities.table["name"].to_pylist()[ROWS:] == ["Bar", None, None]


def test_the_bytes_of_a_null_string_are_dropped(places: EntitySchema) -> None:
    ends = pa.py_buffer(np.array([0, 3, 9, 12], np.int32))
    with_hidden_bytes = pa.Array.from_buffers(
        pa.string(), 3, [pa.py_buffer(b"\x05"), ends, pa.py_buffer(b"BarsecretInn")]
    )
    names = from_table(pa.table({"name": with_hidden_bytes}), places).column("name")
    assert names is not None
    assert names.to_pylist() == ["Bar", None, "Inn"]
    offsets, content = buffers(names)
    assert offsets.tolist() == [0, 3, 3, 6]
    assert content.tobytes() == b"BarInn"


def same_views(text: str, count: int, kind: pa.DataType) -> pa.Array:
    """Views of one text, which is stored once."""
    parts = pa.array([text], pa.string()).cast(kind).buffers()
    views = pa.py_buffer(parts[1].to_pybytes()[:16] * count)
    return pa.Array.from_buffers(kind, count, [None, views, *parts[2:]])


@pytest.mark.parametrize("kind", [pa.string_view(), pa.binary_view()], ids=str)
def test_views_of_the_same_long_text_are_not_copied(
    places: EntitySchema, kind: pa.DataType
) -> None:
    many = same_views(LONG, ROWS, kind)
    few = same_views("x" * FIELD_LIMIT, 2, kind)
    before = pa.total_allocated_bytes()
    entities = from_table(pa.table({"name": pa.chunked_array([many, few])}), places)
    assert pa.total_allocated_bytes() - before < 10 * ROWS * len(places.fields)
    assert len(entities.rejected) == ROWS
    assert set(entities.rejected.values()) == {"name: longer than 10,000 bytes"}
    assert entities.table["name"].to_pylist()[ROWS:] == ["x" * FIELD_LIMIT] * 2


@pytest.mark.parametrize("kind", [pa.string_view(), pa.binary_view()], ids=str)
def test_lists_and_structs_of_the_same_text_are_not_copied(
    places: EntitySchema, kind: pa.DataType
) -> None:
    views = same_views("x" * 1_000, ROWS, kind)
    ends = pa.array([0, 5, ROWS], pa.int32())
    indices = pa.array(np.zeros(ROWS, np.int32))
    words = pa.DictionaryArray.from_arrays(indices, same_views("x" * 1_000, 1, kind))
    for items in (views, words):
        lists = pa.ListArray.from_arrays(ends, items)
        entities = from_table(pa.table({"name": lists}), places)
        assert entities.rejected == {1: "name: longer than 10,000 bytes"}
        assert entities.table["name"].to_pylist() == [";".join(["x" * 1_000] * 5), None]
    few, many = (
        pa.StructArray.from_arrays([views.slice(0, 2)] * count, [*map(str, range(count))])
        for count in (5, 11)
    )
    assert not from_table(pa.table({"tags": few}), places).rejected
    assert from_table(pa.table({"tags": many}), places).rejected == dict.fromkeys(
        (0, 1), "tags: longer than 10,000 bytes"
    )


@pytest.mark.parametrize(
    "column",
    [
        pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([["x"]])),
        pa.array([{"a": ["x"]}]),
    ],
    ids=["a dictionary of lists", "nested tags"],
)
def test_a_column_whose_copies_could_exceed_the_limit_is_refused(
    places: EntitySchema, column: pa.Array
) -> None:
    with pytest.raises(DataError, match="holds"):
        from_table(pa.table({"tags": column}), places)


def test_very_many_unknown_columns_are_checked_quickly(places: EntitySchema) -> None:
    names = [f"nmae{number}" for number in range(20_000)]
    began = time.perf_counter()
    record = dict.fromkeys(names, 1) | {"name": "Bar"}
    table = pa.table([pa.array(["x"])] * (len(names) + 1), [*names, "name"])
    for warnings in (from_records([record], places).warnings, from_table(table, places).warnings):
        assert len(warnings) == 21
        assert warnings[-1] == "19,980 more columns are not in schema 'places'"
    assert time.perf_counter() - began < 20
