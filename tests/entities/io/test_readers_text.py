"""Readers of CSV and JSON Lines: valid and broken rows."""

import gzip
import random
from pathlib import Path
from typing import Any

import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.io.readers import BATCH_ROWS
from labelwright.entities.schema import EntitySchema
from tests.entities.files import PRIVATE, ids, jsonl_bytes, labels, read_bytes

# CSV.


def test_a_quoted_csv_cell_can_contain_newlines(tmp_path: Path, places: EntitySchema) -> None:
    content = b'name,city\r\n"a\nb","c\r\nd"\r\n"e ""f""",g\r\n'
    (batch,) = read_bytes(tmp_path / "a.csv", content, places)
    assert batch.entities.table.to_pylist() == [
        {"id": "0", "name": "a\nb", "city": "c\r\nd"},
        {"id": "1", "name": 'e "f"', "city": "g"},
    ]


def test_labels_of_a_csv_cell_are_split_at_the_separator(
    tmp_path: Path, places: EntitySchema
) -> None:
    content = b'name,labels\na,x|y=1;2|z w\nb,"x"\n'
    batches = read_bytes(tmp_path / "a.csv", content, places)
    assert labels(batches) == [["x", "y=1;2", "z w"], ["x"]]


def test_an_empty_label_cell_is_an_empty_list(tmp_path: Path, places: EntitySchema) -> None:
    assert labels(read_bytes(tmp_path / "a.csv", b'name,labels\na,\nb,""\n', places)) == [[], []]


def test_csv_cells_are_read_as_text(tmp_path: Path, places: EntitySchema) -> None:
    content = b"id,name,postcode,lat,lon\n007,1e5,01234,1.5,\n008,true,,,\n"
    (batch,) = read_bytes(tmp_path / "a.csv", content, places)
    table = batch.entities.table
    assert table["id"].to_pylist() == ["007", "008"]
    assert table["name"].to_pylist() == [None, "true"]
    assert table["postcode"].to_pylist() == [None, None]
    assert batch.entities.rejected == {0: "lat and lon must be given together"}


def test_an_empty_csv_cell_is_null(tmp_path: Path, places: EntitySchema) -> None:
    (batch,) = read_bytes(tmp_path / "a.csv", b'name,city\na,\n"",b\nNULL,NA\n', places)
    assert batch.entities.table["name"].to_pylist() == ["a", None, "NULL"]
    assert batch.entities.table["city"].to_pylist() == [None, "b", "NA"]


def test_a_byte_order_mark_is_not_part_of_the_first_column(
    tmp_path: Path, places: EntitySchema
) -> None:
    (batch,) = read_bytes(tmp_path / "a.csv", b"\xef\xbb\xbfname\na\n", places)
    assert batch.entities.table["name"].to_pylist() == ["a"]


def test_a_csv_file_with_a_duplicate_column_is_refused(
    tmp_path: Path, places: EntitySchema
) -> None:
    with pytest.raises(DataError, match="column 'name' occurs more than once"):
        read_bytes(tmp_path / "a.csv", b"name,name\na,b\n", places)


def test_a_csv_row_with_too_many_cells_is_refused_and_not_repeated(
    tmp_path: Path, places: EntitySchema
) -> None:
    content = f"name,city\n{PRIVATE},{PRIVATE},{PRIVATE}\n".encode()
    with pytest.raises(DataError, match=r"a\.csv cannot be read") as caught:
        read_bytes(tmp_path / "a.csv", content, places)
    assert PRIVATE not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", f"name\n{PRIVATE}".encode() + b"\xff\n"),
        ("a.csv", f"name\n{PRIVATE}\n".encode() + b"\xc3\n"),
        ("a.csv", b"name\xff,city\n" + PRIVATE.encode() + b",b\n"),
        ("a.csv", f"name\n{PRIVATE}\n".encode("utf-16")),
        ("a.csv.gz", f"name\n{PRIVATE}\n".encode()),
        ("a.csv.gz", gzip.compress(f"name\n{PRIVATE * 99}\n".encode())[:-9]),
        ("a.csv.bz2", gzip.compress(f"name\n{PRIVATE * 99}\n".encode())),
        ("a.csv", f"{PRIVATE * 9}\n{PRIVATE}\n".encode()),
        ("a.jsonl", f'{{"name": "{PRIVATE}'.encode() + b'\xff"}\n'),
    ],
    ids=["UTF-8", "cut", "header", "UTF-16", "plain", "truncated", "foreign", "column", "JSON"],
)
def test_a_broken_text_file_is_refused_and_not_repeated(
    tmp_path: Path, places: EntitySchema, name: str, content: bytes
) -> None:
    with pytest.raises(DataError, match=r"a\.(csv|jsonl)|no column is known") as caught:
        read_bytes(tmp_path / name, content, places)
    assert str(caught.value).rstrip() == str(caught.value)
    assert not str(caught.value).endswith(":")
    assert PRIVATE not in str(caught.value)


# JSON Lines.


@pytest.mark.parametrize(
    "line",
    [f'{{"name": {PRIVATE}}}', f'{{"name": "{PRIVATE}"', f'{{"name": "{PRIVATE}"}} 1', "{'a"],
)
def test_a_malformed_line_is_refused_by_row_number_and_not_repeated(
    tmp_path: Path, places: EntitySchema, line: str
) -> None:
    content = f'{{"name": "a"}}\n\n{{"name": "b"}}\n{line}\n'.encode()
    with pytest.raises(DataError, match=r"a\.jsonl: row 2 is not valid JSON") as caught:
        read_bytes(tmp_path / "a.jsonl", content, places)
    assert PRIVATE not in str(caught.value)


def test_blank_lines_and_a_missing_last_newline_are_ignored(
    tmp_path: Path, places: EntitySchema
) -> None:
    content = b'\n{"name": "a"}\r\n  \r\n{"name": "b"}'
    assert ids(read_bytes(tmp_path / "a.jsonl", content, places)) == ["0", "1"]


def test_a_line_that_is_not_an_object_rejects_only_its_row(
    tmp_path: Path, places: EntitySchema
) -> None:
    content = b'{"name": "a", "labels": ["x"]}\n5\n{"name": "c", "labels": []}\n'
    (batch,) = read_bytes(tmp_path / "a.jsonl", content, places)
    assert batch.entities.rejected == {1: "an entity must be an object"}
    assert labels([batch]) == [["x"], None, []]


def test_a_truncated_json_lines_file_is_refused(tmp_path: Path, places: EntitySchema) -> None:
    content = gzip.compress(random.Random(0).randbytes(5_000).hex().encode())
    with pytest.raises(DataError, match=r"a\.jsonl\.gz cannot be read: \w"):
        read_bytes(tmp_path / "a.jsonl.gz", content[:-20], places)


def test_a_batch_of_null_labels_has_labels(tmp_path: Path, places: EntitySchema) -> None:
    rows: list[dict[str, Any]] = [{"name": "a", "labels": None}] * BATCH_ROWS
    rows.append({"name": "b", "labels": ["x"]})
    batches = read_bytes(tmp_path / "a.jsonl", jsonl_bytes(rows), places)
    assert labels(batches) == [row["labels"] for row in rows]


@pytest.mark.parametrize(
    "given",
    ['"x"', "5", "true", "[1]", '[1, "x"]', '[["x"]]', '{"x": 1}', "[18446744073709551615]"],
)
def test_labels_of_a_line_that_are_not_a_list_of_texts_are_refused(
    tmp_path: Path, places: EntitySchema, given: str
) -> None:
    content = f'{{"name": "a", "labels": {given}}}\n'.encode()
    with pytest.raises(DataError, match="must be lists of text"):
        read_bytes(tmp_path / "a.jsonl", content, places)
