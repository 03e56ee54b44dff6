"""Helpers of tests of readers, which write equal rows in all formats."""

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from labelwright.entities.io.readers import Batch, read_batches
from labelwright.entities.schema import EntitySchema

PRIVATE = "xyzzy"
ROWS: list[dict[str, Any]] = [
    {"id": "a", "name": "Joe's Pizza", "city": "New York", "labels": ["amenity=cafe", "x"]},
    {"id": "b", "name": 'Two\nlines; "quoted", comma', "city": None, "labels": []},
    {"id": "c", "name": "寿司 🍣", "city": "大阪", "labels": ["cuisine=sushi"]},
]


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


def csv_text(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV; all values except nulls are quoted."""

    def cell(value: Any) -> str:
        if isinstance(value, list):
            value = "|".join(value) or "[]"
        return "" if value is None else '"' + value.replace('"', '""') + '"'

    lines = [",".join(rows[0]), *(",".join(map(cell, row.values())) for row in rows)]
    return "\n".join(lines) + "\n"


def jsonl_bytes(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], object]] = {
    ".parquet": write_parquet,
    ".csv": lambda path, rows: path.write_text(csv_text(rows), "utf-8"),
    ".csv.gz": lambda path, rows: path.write_bytes(gzip.compress(csv_text(rows).encode())),
    ".csv.bz2": lambda path, rows: path.write_bytes(bz2.compress(csv_text(rows).encode())),
    ".jsonl": lambda path, rows: path.write_bytes(jsonl_bytes(rows)),
    ".ndjson": lambda path, rows: path.write_bytes(jsonl_bytes(rows)),
    ".jsonl.gz": lambda path, rows: path.write_bytes(gzip.compress(jsonl_bytes(rows))),
    ".JSONL.GZ": lambda path, rows: path.write_bytes(gzip.compress(jsonl_bytes(rows))),
}


def read(path: Path, schema: EntitySchema) -> list[Batch]:
    return list(read_batches(path, schema))


def read_bytes(path: Path, content: bytes, schema: EntitySchema) -> list[Batch]:
    path.write_bytes(content)
    return read(path, schema)


def ids(batches: list[Batch]) -> list[str]:
    """The ids of all rows in order."""
    return [name for batch in batches for name in batch.entities.ids.to_pylist()]


def labels(batches: list[Batch]) -> list[Any]:
    """The labels of all rows in order."""
    lists = [batch.labels for batch in batches]
    assert all(part is not None for part in lists)
    return [row for part in lists if part is not None for row in part.to_pylist()]
