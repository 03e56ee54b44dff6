"""Writers of rows as text files."""

from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.csv

ROWS = 300


def write_csv(rows: pa.Table, path: Path) -> Path:
    """Write rows as CSV, with `|` between labels and `[]` for none, and return the path."""
    labels = pa.array(["|".join(labels) or "[]" for labels in rows["labels"].to_pylist()])
    at = rows.column_names.index("labels")
    pyarrow.csv.write_csv(rows.set_column(at, "labels", labels), path)
    return path


def write_jsonl(rows: pa.Table, path: Path) -> Path:
    """Write rows as JSON Lines and return the path."""
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows.to_pylist()))
    return path
