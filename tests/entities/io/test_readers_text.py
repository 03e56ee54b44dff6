"""Readers of CSV and JSON Lines: valid and broken rows."""

import contextlib
import csv
import gzip
import io
import random
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.io import csv_tables, readers
from labelwright.entities.io.readers import BATCH_ROWS, read_batches
from labelwright.entities.io.text_files import LINE_LIMIT, TextFileError
from labelwright.entities.io.uploads import from_csv
from labelwright.entities.schema import EntitySchema
from tests.entities.files import PRIVATE, ids, jsonl_bytes, labels, read_bytes

# CSV.


def test_whole_numbers_with_gaps_in_csv_have_no_fraction(
    tmp_path: Path, places: EntitySchema
) -> None:
    content = (
        b"id,name,postcode,phone,lat,lon\n"
        b"75001.0,1984.0,75001.0,33123456789.0,48.0,2.0\n"
        b",b,,,,\n"
        b"1.10,c,1.50,007,,\n"
    )
    (batch,) = read_bytes(tmp_path / "a.csv", content, places)
    uploaded = from_csv(content, places, 10)
    assert uploaded.table.equals(batch.entities.table)
    rows = uploaded.table.to_pylist()
    assert [row["id"] for row in rows] == ["75001", "row-1", "1.10"]
    assert [row["postcode"] for row in rows] == ["75001", None, "1.50"]
    assert [row["phone"] for row in rows] == ["33123456789", None, "007"]
    assert [row["name"] for row in rows] == ["1984.0", "b", "c"]


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


def test_an_empty_label_cell_is_null_and_brackets_are_an_empty_list(
    tmp_path: Path, places: EntitySchema
) -> None:
    content = b'name,labels\na,\nb,""\nc,[]\nd, \n'
    batches = read_bytes(tmp_path / "a.csv", content, places)
    assert labels(batches) == [None, None, [], None]
    assert batches[0].cells


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


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("before", [0, 2, 50_000])
def test_a_csv_row_with_another_number_of_cells_is_named_by_its_line_and_not_repeated(
    tmp_path: Path, places: EntitySchema, before: int, newline: str
) -> None:
    rows = ["name,city", *["a,b", "", "c,d"] * (before // 2), f"{PRIVATE},{PRIVATE},{PRIVATE}", ""]
    content = newline.join(rows).encode()
    line = 2 + 3 * (before // 2)
    with pytest.raises(DataError, match=rf"a\.csv .* line {line:,} has 3 cells.* 2") as caught:
        read_bytes(tmp_path / "a.csv", content, places)
    assert PRIVATE not in str(caught.value)


def test_lines_in_quoted_cells_count_as_lines(tmp_path: Path, places: EntitySchema) -> None:
    content = b'\nname,city\n"a\nb",c\n\nd\n'
    with pytest.raises(DataError, match="line 6 has 1 cells"):
        read_bytes(tmp_path / "a.csv", content, places)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_blank_line_of_a_file_with_one_column_is_a_row(
    tmp_path: Path, places: EntitySchema, newline: str
) -> None:
    content = newline.join(["", "name", "a", "", "b", '""', "c", ""]).encode()
    batches = read_bytes(tmp_path / "a.csv", content, places)
    names = [name for batch in batches for name in batch.entities.table["name"].to_pylist()]
    assert names == ["a", None, "b", None, "c"]


def test_a_blank_line_of_a_file_with_two_columns_is_no_row(
    tmp_path: Path, places: EntitySchema
) -> None:
    (batch,) = read_bytes(tmp_path / "a.csv", b"name,city\na,b\n\nc,d\n\n", places)
    assert batch.entities.table["name"].to_pylist() == ["a", "c"]


@pytest.mark.parametrize(
    "rows",
    [
        ['"24\\" pipe",x', '"b",y'],
        ['"24\\"",x', '"b",y'],
        ["a,b", '"the \\"Inn\\"",x', "c,d"],
        ['"opened,x', '"b",y'],
        ['"opened,x', "a,b", 'c,"d"e'],
        ['"\\"",x', "a,b", "c,d"],
        ["a,b", 'c,"d', "e,f"],
        ['"'],
    ],
)
def test_a_quote_that_would_swallow_rows_is_refused_with_its_line(
    tmp_path: Path, places: EntitySchema, rows: list[str]
) -> None:
    first = next(number for number, row in enumerate(rows, 2) if '"' in row)
    content = "\n".join(["name,city", *rows, ""]).encode()
    with pytest.raises(DataError, match=rf'a\.csv .*line {first}: .*quote \("\)|two quotes'):
        read_bytes(tmp_path / "a.csv", content, places)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ('24" pipe', '24" pipe'),
        ('"24" pipe"', '24 pipe"'),
        ('"C:\\"', "C:\\"),
        ('"a"" b"', 'a" b'),
        ('"a"  ', "a  "),
        (' "a"', ' "a"'),
        ('""""', '"'),
        ('"a\r\nb"', "a\r\nb"),
        ('x""y', 'x""y'),
    ],
)
def test_quotes_at_unusual_places_are_part_of_the_cell(
    tmp_path: Path, places: EntitySchema, cell: str, value: str
) -> None:
    content = f'name,city\n{cell},x\n"b",{cell}\n{cell},"z"\n'.encode()
    (batch,) = read_bytes(tmp_path / "a.csv", content, places)
    assert batch.entities.table["name"].to_pylist() == [value, "b", value]
    assert batch.entities.table["city"].to_pylist() == ["x", value, "z"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
def test_csv_is_read_in_blocks_of_whole_rows(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    rows = [("a", "b"), ("c\nd", 'e"f'), ('"', ""), ("g", "h\r\n\n"), ("", "i,j"), ("k", "l")]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("name", "city"), *rows])
    monkeypatch.setattr(csv_tables, "HEADER_LIMIT", 11)
    content = csv_tables.CsvTables(io.BytesIO(text.getvalue().encode()), size)
    parts = [part.to_pylist() for part in content.tables(["name", "city"])]
    assert [(row["name"] or "", row["city"] or "") for part in parts for row in part] == rows
    assert len(parts) > 1


class WatchedStream(io.BytesIO):
    """A stream that keeps the threads that read from it."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.threads: set[int] = set()

    def read(self, size: int | None = -1) -> bytes:
        self.threads.add(threading.get_ident())
        return super().read(size)


def test_csv_is_read_on_the_thread_of_the_caller() -> None:
    """A thread of Arrow that reads could outlive the program, and abort it."""
    stream = WatchedStream(b"name\n" + b"a\n" * 10_000_000)
    next(csv_tables.CsvTables(stream).tables(["name"]))
    assert stream.threads == {threading.get_ident()}
    assert stream.tell() < 18 << 20


def test_a_row_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_tables, "HEADER_LIMIT", 100)
    content = b'name,city\na,b\n"' + b"c,d\n" * 1_000
    with pytest.raises(TextFileError, match="line 3 begins a row longer than"):
        list(csv_tables.CsvTables(io.BytesIO(content), 100, 1_000).tables(["name"]))


@pytest.mark.parametrize(
    "piece",
    [
        b'5"\n',
        b'"5"x"\n',
        b'"\n",',
        b'5",',
        b'""',
        b'","\n"',
        b'"\r""\n',
        b"\r",
        b',\r"',
        b'"a\nb"\n',
    ],
)
def test_unusual_csv_is_split_in_linear_time(piece: bytes) -> None:
    content = b"name\n" + piece * ((2 << 20) // len(piece))
    began = time.process_time()
    with contextlib.suppress(TextFileError):
        next(csv_tables.CsvTables(io.BytesIO(content)).tables(["name"]))
    assert time.process_time() - began < 20  # quadratic time would be hours


def test_columns_without_a_name_and_unknown_repeated_columns_are_left_out(
    tmp_path: Path, places: EntitySchema
) -> None:
    content = b"name,notes,city,notes,,\na,1,b,2,,\n"
    (batch,) = read_bytes(tmp_path / "a.csv", content, places)
    assert batch.entities.table.to_pylist() == [{"id": "0", "name": "a", "city": "b"}]
    assert batch.entities.warnings == [
        "a column without a name is not read",
        "column 'notes' is not in schema 'places'",
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.geojson"])
def test_utf_16_is_refused_with_the_conversion(
    tmp_path: Path, places: EntitySchema, name: str, encoding: str
) -> None:
    text = "name,city\na,b\n" if name == "a.csv" else '{"name": "a"}\n'
    with pytest.raises(DataError, match=rf"{name} cannot be read: .*UTF-(16|32).*iconv -f UTF"):
        read_bytes(tmp_path / name, text.encode(encoding), places)


def test_latin_1_rejects_the_rows_and_gives_the_conversion(
    tmp_path: Path, places: EntitySchema
) -> None:
    content = "name,city\ncafé,b\nc,d\n".encode("latin-1")
    (batch,) = read_bytes(tmp_path / "a.csv", content, places)
    assert batch.entities.rejected == {0: "name: not valid UTF-8"}
    assert batch.entities.table["name"].to_pylist() == [None, "c"]
    (warning,) = batch.entities.warnings
    assert "iconv -f LATIN1 -t UTF-8" in warning
    content = "name,labels\na,x|café\nb,y\n".encode("latin-1")
    (batch,) = read_bytes(tmp_path / "a.csv", content, places)
    assert batch.entities.rejected == {0: "labels: not valid UTF-8"}
    assert batch.entities.warnings == [warning]
    lines = '{"name": "café"}\n{"name": "c"}\n'.encode("latin-1")
    (batch,) = read_bytes(tmp_path / "a.jsonl", lines, places)
    (reason,) = batch.entities.rejected.values()
    assert re.match("line 1 is not valid UTF-8; .*iconv -f LATIN1 -t UTF-8", reason)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"name\xff,city\n" + PRIVATE.encode() + b",b\n"),
        ("a.csv", f"name\n{PRIVATE}\n".encode("utf-16")),
        ("a.csv.gz", f"name\n{PRIVATE}\n".encode()),
        ("a.csv.gz", gzip.compress(f"name\n{PRIVATE * 99}\n".encode())[:-9]),
        ("a.csv.bz2", gzip.compress(f"name\n{PRIVATE * 99}\n".encode())),
        ("a.csv", f"{PRIVATE * 9}\n{PRIVATE}\n".encode()),
        ("a.jsonl", f'{{"name": "{PRIVATE}'.encode() + b'\xff"}\n'),
    ],
    ids=["header", "UTF-16", "plain", "truncated", "foreign", "column", "JSON"],
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
    [
        f'{{"name": {PRIVATE}}}'.encode(),
        f'{{"name": "{PRIVATE}"'.encode(),
        f'{{"name": "{PRIVATE}"}} 1'.encode(),
        f'{{"name": "{PRIVATE}"}},'.encode(),
        f'{{"name": "{PRIVATE}\0"}}'.encode(),
        f'{{"name": "{PRIVATE}é"}}'.encode("latin-1"),
        b"{'a",
        b"[" * 2_000,
    ],
)
def test_a_malformed_line_rejects_only_its_row_and_is_not_repeated(
    tmp_path: Path, places: EntitySchema, line: bytes
) -> None:
    content = b'{"name": "a", "labels": ["x"]}\n\n' + line + b'\n{"name": "b", "labels": []}\n'
    (batch,) = read_bytes(tmp_path / "a.jsonl", content, places)
    assert batch.entities.table["name"].to_pylist() == ["a", None, "b"]
    assert labels([batch]) == [["x"], None, []]
    ((row, reason),) = batch.entities.rejected.items()
    assert row == 1
    assert re.match("line 3 is not valid (JSON at column|UTF-8)", reason)
    assert PRIVATE not in reason


@pytest.mark.parametrize("lines", ["name,city\na,b\n", '[{"name": "a"},\n{"name": "b"}]\n', "{"])
def test_a_file_of_malformed_lines_only_is_refused(
    tmp_path: Path, places: EntitySchema, lines: str
) -> None:
    with pytest.raises(DataError, match=r"a\.jsonl cannot be read: line 1 is not valid JSON"):
        read_bytes(tmp_path / "a.jsonl", lines.encode(), places)


def test_later_batches_may_have_malformed_lines_only(tmp_path: Path, places: EntitySchema) -> None:
    content = b'{"name": "a"}\n' * BATCH_ROWS + b"x\n" * 3
    first, second = read_bytes(tmp_path / "a.jsonl", content, places)
    assert not first.entities.rejected
    assert sorted(second.entities.rejected) == [0, 1, 2]
    (rest,) = read_batches(tmp_path / "a.jsonl", places, skip=BATCH_ROWS + 1)
    assert rest.entities.rejected == {
        0: f"line {BATCH_ROWS + 2:,} is not valid JSON at column 1",
        1: f"line {BATCH_ROWS + 3:,} is not valid JSON at column 1",
    }


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.geojsonl", "a.csv"])
def test_a_byte_order_mark_before_the_first_line_is_ignored(
    tmp_path: Path, places: EntitySchema, name: str
) -> None:
    texts = {
        "a.csv": "name\na\n",
        "a.geojsonl": '{"type": "Feature", "properties": {"name": "a"}}\n',
    }
    content = b"\xef\xbb\xbf" + texts.get(name, '{"name": "a"}\n').encode()
    (batch,) = read_bytes(tmp_path / name, content, places)
    assert batch.entities.table["name"].to_pylist() == ["a"]


def test_a_line_without_an_end_rejects_its_row(tmp_path: Path, places: EntitySchema) -> None:
    long = b'{"name": "' + b"b" * 3 * LINE_LIMIT + b'"}\n'
    content = gzip.compress(b'{"name": "a"}\n' + long + b'{"name": "c"}\n', 1)
    (batch,) = read_bytes(tmp_path / "a.jsonl.gz", content, places)
    assert batch.entities.table["name"].to_pylist() == ["a", None, "c"]
    assert batch.entities.rejected == {1: f"line 2 is longer than {LINE_LIMIT:,} bytes"}


def test_long_lines_are_read_in_small_batches(
    tmp_path: Path, places: EntitySchema, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "CHUNK_BYTES", 1_000)
    content = jsonl_bytes([{"name": "a" * 100}] * 25)
    batches = read_bytes(tmp_path / "a.jsonl", content, places)
    assert [len(batch.entities) for batch in batches] == [9, 9, 7]
    assert ids(batches) == [str(row) for row in range(25)]


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
