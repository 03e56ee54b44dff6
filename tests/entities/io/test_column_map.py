"""Column maps: data whose column names differ from the schema."""

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.io.column_map import ColumnMap
from labelwright.entities.io.readers import read_batches
from labelwright.entities.schema import EntitySchema
from tests.entities.files import WRITERS

NAMES = ColumnMap.parse(["id=key,name=title", "city=place,labels=kinds"])
ROWS: list[dict[str, Any]] = [
    {"key": "a", "title": "Joe's Pizza", "place": "Rome", "kinds": ["x", "y"], "name": "wrong"},
    {"key": "b", "title": "Eve's", "place": None, "kinds": [], "name": "wrong"},
]


def write_geojson(path: Path, rows: list[dict[str, Any]]) -> None:
    features = [{"type": "Feature", "geometry": None, "properties": row} for row in rows]
    path.write_bytes(orjson.dumps({"type": "FeatureCollection", "features": features}))


ALL_WRITERS = {**WRITERS, ".geojson": write_geojson}


@pytest.mark.parametrize("suffix", ALL_WRITERS)
def test_mapped_columns_are_read_under_their_new_names_only(
    tmp_path: Path, places: EntitySchema, suffix: str
) -> None:
    path = tmp_path / f"rows{suffix}"
    ALL_WRITERS[suffix](path, ROWS)
    (batch,) = read_batches(path, places, columns=NAMES)
    table = batch.entities.table
    assert table["id"].to_pylist() == ["a", "b"]
    assert table["name"].to_pylist() == ["Joe's Pizza", "Eve's"]
    assert table["city"].to_pylist() == ["Rome", None]
    assert batch.labels is not None
    assert batch.labels.to_pylist() == [["x", "y"], []]
    assert batch.entities.warnings == []


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_missing_column_is_named_in_the_error(
    tmp_path: Path, places: EntitySchema, suffix: str
) -> None:
    path = tmp_path / f"rows{suffix}"
    WRITERS[suffix](path, ROWS)
    with pytest.raises(DataError, match="has no column 'titel'"):
        list(read_batches(path, places, columns=ColumnMap({"name": "titel"})))


def test_a_column_of_the_data_can_be_mapped_twice(tmp_path: Path, places: EntitySchema) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"title": ["x"]}), path)
    names = ColumnMap.parse(["name=title,description=title"])
    (batch,) = read_batches(path, places, columns=names)
    assert batch.entities.table.select(["name", "description"]).to_pylist() == [
        {"name": "x", "description": "x"}
    ]


@pytest.mark.parametrize("text", ["name", "name=", "=title", "name=a,name=b"])
def test_an_invalid_map_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="--map"):
        ColumnMap.parse([text])


def test_a_map_of_an_unknown_column_is_refused(places: EntitySchema) -> None:
    assert ColumnMap.parse([]) == ColumnMap()
    with pytest.raises(DataError, match="'titel' is not a column of schema 'places'"):
        ColumnMap.parse(["titel=title"]).check(places)


CATEGORIES: list[dict[str, Any]] = [
    {"name": "Joe's", "city": "Rome", "category": "bar; pub"},
    {"name": "Eve's", "city": "Rome", "category": "[cafe]"},
    {"name": "Ann's", "city": "Rome", "category": None},
    {"name": "Bob's", "city": "Rome", "category": "a|b"},
]


@pytest.mark.parametrize("suffix", ALL_WRITERS)
@pytest.mark.parametrize("column", ["category", "city"])
def test_cells_of_a_label_column_are_labels_as_they_stand(
    tmp_path: Path, places: EntitySchema, suffix: str, column: str
) -> None:
    path = tmp_path / f"rows{suffix}"
    given = [{"name": row["name"], column: row["category"]} for row in CATEGORIES]
    ALL_WRITERS[suffix](path, given)
    (batch,) = read_batches(path, places, columns=ColumnMap.parse([], column))
    assert batch.labels is not None
    assert batch.labels.to_pylist() == [["bar; pub"], ["[cafe]"], None, ["a|b"]]
    assert "city" not in batch.entities.table.column_names
    if "json" not in suffix.lower():
        (warning,) = batch.entities.warnings
        assert f"{column!r} of row 3 has a |, and is read as one label" in warning


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (pa.array([3, None, -1]), [["3"], None, ["-1"]]),
        (pa.array([True, False, None]), [["true"], ["false"], None]),
        (pa.array(["a", "a", " "]).dictionary_encode(), [["a"], ["a"], None]),
        (pa.array([["a", "b"], [], None]), [["a", "b"], [], None]),
        (pa.array([b"a", b"\xff", b" b  c"], pa.binary()), [["a"], None, ["b c"]]),
    ],
)
def test_a_label_column_may_have_other_types(
    tmp_path: Path, places: EntitySchema, values: pa.Array, labels: list[list[str] | None]
) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"name": ["x", "y", "z"], "category": values}), path)
    (batch,) = read_batches(path, places, columns=ColumnMap.parse([], "category"))
    assert batch.labels is not None
    assert batch.labels.to_pylist() == labels
    assert list(batch.entities.rejected) == ([1] if pa.types.is_binary(values.type) else [])


def test_a_label_column_of_numbers_with_fractions_is_refused(
    tmp_path: Path, places: EntitySchema
) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"name": ["x"], "category": [0.5]}), path)
    with pytest.raises(DataError, match="holds double; it must be lists of text"):
        list(read_batches(path, places, columns=ColumnMap.parse([], "category")))


@pytest.mark.parametrize(
    ("maps", "column", "reason"),
    [
        (["labels=kinds"], "category", "give only one"),
        ([], "", "it is empty"),
    ],
)
def test_a_label_column_that_cannot_be_used_is_refused(
    maps: list[str], column: str, reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        ColumnMap.parse(maps, column)


def test_rows_to_label_need_no_label_column(tmp_path: Path, places: EntitySchema) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("name\na\n")
    columns = ColumnMap.parse([], "category")
    (batch,) = read_batches(path, places, labelled=False, columns=columns)
    assert batch.entities.table["name"].to_pylist() == ["a"]
