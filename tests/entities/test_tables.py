"""Canonical tables: columns, ids, and the class Entities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.tables import Entities, from_records, from_table
from tests.entities.canonical import ALL, column

# Columns.


def test_missing_columns_are_not_added() -> None:
    entities = from_table(pa.table({"text": ["a"]}), ALL)
    assert entities.table.column_names == ["id", "text"]
    assert entities.column("number") is None


def test_columns_are_in_the_order_of_the_schema() -> None:
    given = {"tags": ["{}"], "lon": [0], "number": [1], "lat": [0], "text": ["a"]}
    names = from_table(pa.table(given), ALL).table.column_names
    assert names == ["id", "text", "number", "lat", "lon", "tags"]


@pytest.mark.parametrize("name", ["text", "words", "category", "web", "phone", "number", "tags"])
def test_a_column_of_type_null_is_accepted(name: str) -> None:
    assert column(pa.nulls(3), name) == [None, None, None]


def test_a_canonical_column_is_text_or_float64() -> None:
    given = {field: pa.nulls(2) for field in ALL.fields}
    table = from_table(pa.table(given), ALL).table
    kinds = {name: table.schema.field(name).type for name in table.column_names}
    numbers = {"number", "lat", "lon"}
    assert {name for name, kind in kinds.items() if kind == pa.float64()} == numbers
    assert {name for name, kind in kinds.items() if kind == pa.string()} == kinds.keys() - numbers


def test_a_table_without_rows_is_accepted() -> None:
    entities = from_table(pa.table({"text": pa.array([], pa.string())}), ALL)
    assert len(entities) == 0
    assert entities.ids.to_pylist() == []


def test_a_table_without_chunks_is_accepted() -> None:
    empty = pa.chunked_array([], pa.string())
    assert len(from_table(pa.table({"text": empty, "id": empty}), ALL)) == 0


def test_a_table_without_known_columns_is_refused_with_the_known_columns() -> None:
    with pytest.raises(DataError, match="no column is known to schema 'all', which has text, "):
        from_table(pa.table({"title": ["a"], "id": ["1"], "labels": [["x"]]}), ALL)


def test_a_duplicate_column_is_named_in_the_error() -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    with pytest.raises(DataError, match="column 'text' occurs more than once"):
        from_table(table, ALL)


def test_an_unknown_column_gives_a_warning() -> None:
    entities = from_table(pa.table({"text": ["a"], "catgory": ["b"]}), ALL)
    assert entities.warnings == [
        "column 'catgory' is not in schema 'all'; did you mean 'category'?"
    ]


# Ids.


def test_a_missing_id_becomes_the_row_number() -> None:
    table = pa.table({"text": ["a", "b"]})
    assert from_table(table, ALL).ids.to_pylist() == ["0", "1"]
    assert from_table(table, ALL, first_row=40).ids.to_pylist() == ["40", "41"]


def test_a_null_id_becomes_the_row_number_with_a_prefix() -> None:
    table = pa.table({"text": ["a", "b", "c"], "id": ["x", None, "z"]})
    assert from_table(table, ALL, first_row=7).ids.to_pylist() == ["x", "row-8", "z"]


def test_a_record_without_an_id_gets_its_row_number_with_a_prefix() -> None:
    records: list[Any] = [{"id": "x"}, {"text": "a"}, {"id": None}, {"id": 12}]
    assert from_records(records, ALL, first_row=5).ids.to_pylist() == ["x", "row-6", "row-7", "12"]


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.uint64()], ids=str)
def test_ids_can_be_whole_numbers(kind: pa.DataType) -> None:
    table = pa.table({"text": ["a", "b"], "id": pa.array([3, None], kind)})
    assert from_table(table, ALL).ids.to_pylist() == ["3", "row-1"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_ids_can_have_any_arrow_type_of_text(kind: pa.DataType) -> None:
    ids = pa.array(["x", None], kind)
    assert from_table(pa.table({"text": ["a", "b"], "id": ids}), ALL).ids.to_pylist() == [
        "x",
        "row-1",
    ]


def test_ids_can_be_a_dictionary_column() -> None:
    ids = pa.array(["x", "x", None]).dictionary_encode()
    table = pa.table({"text": ["a", "b", "c"], "id": ids})
    assert from_table(table, ALL).ids.to_pylist() == ["x", "x", "row-2"]


def test_all_ids_can_be_null() -> None:
    table = pa.table({"text": ["a", "b"], "id": pa.nulls(2)})
    assert from_table(table, ALL).ids.to_pylist() == ["0", "1"]


def test_a_rejected_row_keeps_its_id() -> None:
    table = pa.table({"text": ["a", "b" * 20_000], "id": ["x", "y"]})
    assert from_table(table, ALL).ids.to_pylist() == ["x", "y"]


# The class Entities.


def test_entities_can_be_sliced_and_taken() -> None:
    entities = from_table(pa.table({"text": ["a", "b", "c"], "id": ["x", "y", "z"]}), ALL)
    assert entities.slice(1, 2).ids.to_pylist() == ["y", "z"]
    taken = entities.take(np.array([2, 0, 2]))
    assert taken.ids.to_pylist() == ["z", "x", "z"]
    values = taken.column("text")
    assert values is not None
    assert values.to_pylist() == ["c", "a", "c"]


def test_an_empty_slice_has_no_entities() -> None:
    entities = from_table(pa.table({"text": ["a"]}), ALL).slice(1, 5)
    assert len(entities) == 0
    assert entities.ids.to_pylist() == []


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_empty_entities_have_no_column_except_ids(rows: int) -> None:
    entities = Entities.empty(ALL, rows)
    assert len(entities) == rows
    assert entities.ids.to_pylist() == [str(row) for row in range(rows)]
    assert all(entities.column(field) is None for field in ALL.fields)


def test_a_column_with_several_chunks_is_returned_as_one_array() -> None:
    parts: Sequence[pa.Array] = [pa.array(["a"]), pa.array(["b", None])]
    values = from_table(pa.table({"text": pa.chunked_array(parts)}), ALL).column("text")
    assert isinstance(values, pa.StringArray)
    assert values.to_pylist() == ["a", "b", None]
