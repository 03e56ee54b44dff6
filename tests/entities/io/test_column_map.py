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
