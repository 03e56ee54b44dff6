"""Writers of input files and a reader of JSON Lines."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def parquet(path: Path, table: pa.Table | dict[str, Any]) -> Path:
    """Write a table as a Parquet file and return its path."""
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path)
    return path


def text(path: Path, content: str | bytes) -> Path:
    """Write a text file and return its path."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]
