"""Schemas in the metadata of Parquet files."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.io.schema_metadata import ENTRY, embedded_schema, schema_metadata
from labelwright.entities.schema import EntitySchema

COLUMNS = {"name": {"kind": "text"}}


def schema(**more: object) -> EntitySchema:
    return EntitySchema.from_mapping({"name": "s", "columns": COLUMNS, **more})


def write(path: Path, metadata: dict[bytes, bytes] | None) -> Path:
    table = pa.table({"name": ["x"]})
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


def test_the_schemas_of_several_files_are_merged(tmp_path: Path) -> None:
    one = schema(open_world=["a"], implies={"x=1": ["y=1"]}, redirects={"old": "new"})
    other = schema(open_world=["a", "b"], implies={"x=1": ["z=1"], "w=1": ["z=1"]})
    write(tmp_path / "1.parquet", schema_metadata(one))
    assert embedded_schema([tmp_path / "1.parquet"]) == one
    write(tmp_path / "2.parquet", schema_metadata(other))
    write(tmp_path / "3.parquet", None)
    both = embedded_schema([tmp_path])
    assert both == schema(
        open_world=["a", "b"],
        implies={"x=1": ["y=1", "z=1"], "w=1": ["z=1"]},
        redirects={"old": "new"},
    )


def test_files_without_the_metadata_have_no_schema(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("name\nx\n")
    assert embedded_schema([write(tmp_path / "1.parquet", None), tmp_path / "rows.csv"]) is None


def test_schemas_with_different_columns_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "1.parquet", schema_metadata(schema()))
    columns = {"title": {"kind": "text"}}
    other = write(tmp_path / "2.parquet", schema_metadata(schema(columns=columns)))
    with pytest.raises(DataError, match="--schema"):
        embedded_schema([first, other])
    for bad in (b"{", b"[]", b'{"name": 1}'):
        with pytest.raises(DataError, match="cannot be read"):
            embedded_schema([write(tmp_path / "3.parquet", {ENTRY: bad})])
    (tmp_path / "no.parquet").write_text("no")
    with pytest.raises(DataError, match="cannot be read"):
        embedded_schema([tmp_path / "no.parquet"])
