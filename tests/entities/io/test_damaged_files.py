"""Damaged files: an error or an answer, and never another answer if the format has a checksum."""

import base64
import bz2
import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.io.readers import read_batches
from labelwright.entities.redirects import Redirects
from labelwright.entities.schema import EntitySchema, load_schema
from tests.entities.files import csv_text, jsonl_bytes
from tests.fuzz.mutations import mutated

INPUTS = 120
ROWS: list[dict[str, Any]] = [
    {
        "id": f"i{n}",
        "name": f'"{n}" Café',
        "city": None if n % 4 else "Bonn",
        "labels": ["a"] * (n % 3),
    }
    for n in range(10)
]


def parquet() -> bytes:
    """The rows as Parquet in three row groups, whose pages have checksums."""
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), sink, row_group_size=4, write_page_checksum=True)
    return sink.getvalue()


def geojson() -> bytes:
    features = [{"type": "Feature", "properties": row, "geometry": None} for row in ROWS]
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


CSV, JSON_LINES = csv_text(ROWS).encode(), jsonl_bytes(ROWS)
BY_TOOLS = {
    ".jsonl.zst": (
        "KLUv/QRYTQMAgoUUH6ApjQH/WVUZWxCaFbFSjvLbWjALGjN3k7nBQYoywTBmGeDL9CMEBHiSeiCRRRaSWRAr"
        "344PeFOVUr93GRpXkpX4biQ6DaCYYVwxcr9zXLF+BAcAZQxYQ0JVLXDFQYop2PeFLEABBWpzNA=="
    ),
    ".jsonl.lz4": (
        "BCJNGGRAp3AAAADzMHsiaWQiOiJhIiwibmFtZSI6IkpvZSdzIEJhciIsImNpdHkiOiJCb25uIiwibGFiZWxz"
        "IjpbIngiLCJ5Il19Cj8AFmI/AGdDYWbDqSAGAAg5AAEyAANoAAJiAPADbGF0IjoxLjUsImxvbiI6Mn0KAAAA"
        "AJuTT4I="
    ),
}
"""Three lines, compressed by the commands `zstd` and `lz4`, which add checksums."""
CHECKED = {
    ".parquet": parquet(),
    ".csv.gz": gzip.compress(CSV),
    ".jsonl.gz": gzip.compress(JSON_LINES),
    ".csv.bz2": bz2.compress(CSV),
    **{suffix: base64.b64decode(text) for suffix, text in BY_TOOLS.items()},
}
PLAIN = {".csv": CSV, ".jsonl": JSON_LINES, ".geojson": geojson(), ".geojsonl": JSON_LINES}


def rows_in(path: Path, schema: EntitySchema) -> list[Any]:
    """The entities of a file with their labels and rejections."""
    found: list[Any] = []
    for batch in read_batches(path, schema):
        rows = batch.entities.table.to_pylist()
        lists = batch.labels.to_pylist() if batch.labels is not None else [None] * len(rows)
        reasons = batch.entities.rejection_reasons.to_pylist()
        found += zip(rows, lists, reasons, strict=True)
    return found


def answer(read: Callable[[], Any]) -> Any:
    """The result of a reader, or the error for the user; other errors are raised."""
    try:
        return read()
    except DataError as error:
        return error


def damaged(content: bytes, seed: str) -> list[bytes]:
    """Copies of some content with changed, inserted or removed bytes, or without their end."""
    chance = random.Random(seed)
    cut = [content[: chance.randrange(len(content))] for _ in range(INPUTS // 4)]
    bits = []
    for _ in range(INPUTS // 4):
        flipped = bytearray(content)
        flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        bits.append(bytes(flipped))
    return [*cut, *bits, *(mutated(content, chance) for _ in range(INPUTS // 2))]


@pytest.mark.parametrize("suffix", CHECKED)
def test_a_damaged_file_with_checksums_gives_the_same_rows_or_an_error(
    tmp_path: Path, places: EntitySchema, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(CHECKED[suffix])
    whole = rows_in(path, places)
    errors = 0
    for content in damaged(CHECKED[suffix], suffix):
        path.write_bytes(content)
        found = answer(lambda: rows_in(path, places))
        errors += isinstance(found, DataError)
        assert isinstance(found, DataError) or found == whole
    assert errors > INPUTS / 2


@pytest.mark.parametrize("suffix", PLAIN)
def test_a_damaged_file_of_text_gives_rows_or_an_error(
    tmp_path: Path, places: EntitySchema, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    for content in damaged(PLAIN[suffix], suffix):
        path.write_bytes(content)
        found = answer(lambda: rows_in(path, places))
        assert not isinstance(found, DataError) or "\n" not in str(found)


def test_a_changed_byte_in_a_line_changes_only_its_row(
    tmp_path: Path, places: EntitySchema
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(JSON_LINES)
    whole = rows_in(path, places)
    ends = [at for at, byte in enumerate(JSON_LINES) if byte == ord("\n")]
    chance = random.Random(5)
    for _ in range(INPUTS):
        at = chance.randrange(len(JSON_LINES))
        byte = chance.randrange(256)
        if at in ends or byte == ord("\n"):
            continue
        path.write_bytes(JSON_LINES[:at] + bytes([byte]) + JSON_LINES[at + 1 :])
        row = sum(end < at for end in ends)
        found = answer(lambda: rows_in(path, places))
        if isinstance(found, DataError):
            assert "must be lists of text" in str(found)
            continue
        del found[row]
        assert found == whole[:row] + whole[row + 1 :]


def test_a_damaged_table_of_redirects_or_schema_is_read_or_refused(tmp_path: Path) -> None:
    table = b'old,new\n"shop=a, b",shop=c\nshop=gone,\nshop=x,shop=y\n'
    schema = b'name = "s"\n[columns.title]\nkind = "text"\n[columns.kind]\nkind = "category"\n'
    path = tmp_path / "a.toml"
    for content in damaged(table, "redirects"):
        path.write_bytes(content)
        assert isinstance(answer(lambda: Redirects.read(path)), Redirects | DataError)
    for content in damaged(schema, "schema"):
        path.write_bytes(content)
        assert isinstance(answer(lambda: load_schema(str(path))), EntitySchema | DataError)
