"""Files of entities: three formats, plain and compressed, and everything that breaks them."""

import bz2
import gzip
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from entities.errors import DataError
from entities.locations import locate
from entities.readers import (
    BATCH_ROWS,
    Batch,
    count_rows,
    files_of,
    format_of,
    label_lists,
    read_batches,
)
from entities.schema import EntitySchema

PRIVATE = "xyzzy"
ROWS: list[dict[str, Any]] = [
    {"id": "a", "name": "Joe's Pizza", "city": "New York", "labels": ["amenity=cafe", "x"]},
    {"id": "b", "name": 'Two\nlines; "quoted", comma', "city": None, "labels": []},
    {"id": "c", "name": "寿司 🍣", "city": "大阪", "labels": ["cuisine=sushi"]},
]


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


def csv_text(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV with every value quoted, but for nulls."""

    def cell(value: Any) -> str:
        if isinstance(value, list):
            value = "|".join(value)
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


# What all formats have in common.


@pytest.mark.parametrize("suffix", WRITERS)
def test_all_formats_tell_the_same(tmp_path: Path, places: EntitySchema, suffix: str) -> None:
    path = tmp_path / f"places{suffix}"
    WRITERS[suffix](path, ROWS)
    (batch,) = read(path, places)
    expected = [{k: v for k, v in row.items() if k != "labels"} for row in ROWS]
    assert batch.entities.table.to_pylist() == expected
    assert not batch.entities.rejected
    assert not batch.entities.warnings


@pytest.mark.parametrize("suffix", WRITERS)
def test_all_formats_tell_the_same_labels(
    tmp_path: Path, places: EntitySchema, suffix: str
) -> None:
    path = tmp_path / f"places{suffix}"
    WRITERS[suffix](path, ROWS)
    assert labels(read(path, places)) == [row["labels"] for row in ROWS]


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_without_labels_has_none(tmp_path: Path, places: EntitySchema, suffix: str) -> None:
    path = tmp_path / f"places{suffix}"
    WRITERS[suffix](path, [{"name": "a"}, {"name": "b"}])
    (batch,) = read(path, places)
    assert batch.labels is None
    assert ids([batch]) == ["0", "1"]


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_bad_row_is_rejected_in_its_own_place(
    tmp_path: Path, places: EntitySchema, suffix: str
) -> None:
    path = tmp_path / f"places{suffix}"
    WRITERS[suffix](path, [{"name": "a"}, {"name": "b" * 10_001}, {"name": "c"}])
    (batch,) = read(path, places)
    assert batch.entities.rejected == {1: "name: longer than 10,000 bytes"}
    assert batch.entities.table["name"].to_pylist() == ["a", None, "c"]


@pytest.mark.parametrize("suffix", WRITERS)
def test_an_unknown_column_is_a_warning(tmp_path: Path, places: EntitySchema, suffix: str) -> None:
    path = tmp_path / f"places{suffix}"
    WRITERS[suffix](path, [{"name": "a", "citty": "b"}])
    (batch,) = read(path, places)
    assert batch.entities.warnings == [
        "column 'citty' is not in schema 'places'; did you mean 'city'?"
    ]


# Rows, batches and folders.


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_rows_and_ids_continue_over_batches(
    tmp_path: Path, places: EntitySchema, suffix: str
) -> None:
    rows = 2 * BATCH_ROWS + 3
    path = tmp_path / f"places{suffix}"
    filler = "x" * 600 if suffix == ".csv" else ""
    WRITERS[suffix](
        path, [{"name": f"{row} {filler}", "labels": [str(row)]} for row in range(rows)]
    )
    batches = read(path, places)
    assert len(batches) >= 2
    assert ids(batches) == [str(row) for row in range(rows)]
    assert labels(batches) == [[str(row)] for row in range(rows)]
    names = [name for batch in batches for name in batch.entities.table["name"].to_pylist()]
    assert [int(name.split()[0]) for name in names] == list(range(rows))


def test_a_folder_is_its_parquet_files_in_order_of_name(
    tmp_path: Path, places: EntitySchema
) -> None:
    (tmp_path / "a").mkdir()
    write_parquet(tmp_path / "b.parquet", [{"name": "2"}, {"name": "3"}])
    write_parquet(tmp_path / "c.parquet", [{"name": "4"}])
    write_parquet(tmp_path / "a" / "z.parquet", [{"name": "0"}, {"name": "1"}])
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "notes.csv").write_text("name\nx\n")
    batches = read(tmp_path, places)
    names = [name for batch in batches for name in batch.entities.table["name"].to_pylist()]
    assert names == ["0", "1", "2", "3", "4"]
    assert ids(batches) == names
    assert count_rows(tmp_path) == 5


def test_a_folder_within_a_folder_may_be_called_as_a_file(
    tmp_path: Path, places: EntitySchema
) -> None:
    (tmp_path / "2024.parquet").mkdir()
    write_parquet(tmp_path / "2024.parquet" / "part-0.parquet", [{"name": "a"}])
    assert ids(read(tmp_path, places)) == ["0"]


def test_a_folder_called_as_a_file_is_a_folder(tmp_path: Path, places: EntitySchema) -> None:
    folder = tmp_path / "places.parquet"
    folder.mkdir()
    write_parquet(folder / "part-0.parquet", [{"name": "a"}])
    assert ids(read(folder, places)) == ["0"]


def test_files_of_a_folder_may_have_different_columns(tmp_path: Path, places: EntitySchema) -> None:
    write_parquet(tmp_path / "a.parquet", [{"name": "a"}])
    write_parquet(tmp_path / "b.parquet", [{"city": "b", "labels": ["x"]}])
    first, second = read(tmp_path, places)
    assert first.entities.table.column_names == ["id", "name"]
    assert second.entities.table.to_pylist() == [{"id": "1", "city": "b"}]
    assert first.labels is None
    assert second.labels is not None


def test_rows_are_counted_without_reading_where_that_is_possible(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [{"name": "a"}] * 3)
    (tmp_path / "a.csv").write_text("name\na\n")
    assert count_rows(tmp_path / "a.parquet") == 3
    assert count_rows(tmp_path / "a.csv") is None


def test_rows_of_a_broken_file_cannot_be_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 broken PAR1")
    with pytest.raises(DataError, match=r"a\.parquet cannot be read"):
        count_rows(path)


# Files with nothing in them.


def test_a_parquet_file_without_rows_is_one_empty_batch(
    tmp_path: Path, places: EntitySchema
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"name": pa.array([], pa.string())}), path)
    (batch,) = read(path, places)
    assert len(batch.entities) == 0


def test_a_parquet_file_without_rows_must_still_have_a_known_column(
    tmp_path: Path, places: EntitySchema
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"title": pa.array([], pa.string())}), path)
    with pytest.raises(DataError, match="no column is known"):
        read(path, places)


def test_a_csv_file_of_a_header_alone_has_no_rows(tmp_path: Path, places: EntitySchema) -> None:
    assert ids(read_bytes(tmp_path / "a.csv", b"name,labels\n", places)) == []


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_an_empty_file_is_refused_where_the_format_needs_a_header(
    tmp_path: Path, places: EntitySchema, name: str
) -> None:
    content = gzip.compress(b"") if name.endswith(".gz") else b""
    with pytest.raises(DataError, match=f"{name} cannot be read"):
        read_bytes(tmp_path / name, content, places)


@pytest.mark.parametrize("content", [b"", b"\n \n\t\n"], ids=["empty", "blank"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_an_empty_json_lines_file_has_no_rows(
    tmp_path: Path, places: EntitySchema, content: bytes, name: str
) -> None:
    packed = gzip.compress(content) if name.endswith(".gz") else content
    assert read_bytes(tmp_path / name, packed, places) == []


# CSV.


def test_a_quoted_cell_of_csv_may_hold_newlines(tmp_path: Path, places: EntitySchema) -> None:
    content = b'name,city\r\n"a\nb","c\r\nd"\r\n"e ""f""",g\r\n'
    (batch,) = read_bytes(tmp_path / "a.csv", content, places)
    assert batch.entities.table.to_pylist() == [
        {"id": "0", "name": "a\nb", "city": "c\r\nd"},
        {"id": "1", "name": 'e "f"', "city": "g"},
    ]


def test_a_cell_of_labels_is_split_at_bars(tmp_path: Path, places: EntitySchema) -> None:
    content = b'name,labels\na,x|y=1;2|z w\nb,"x"\n'
    batches = read_bytes(tmp_path / "a.csv", content, places)
    assert labels(batches) == [["x", "y=1;2", "z w"], ["x"]]


def test_an_empty_cell_of_labels_is_an_empty_list(tmp_path: Path, places: EntitySchema) -> None:
    assert labels(read_bytes(tmp_path / "a.csv", b'name,labels\na,\nb,""\n', places)) == [[], []]


def test_all_cells_of_csv_are_text(tmp_path: Path, places: EntitySchema) -> None:
    content = b"id,name,postcode,lat,lon\n007,1e5,01234,1.5,\n008,true,,,\n"
    (batch,) = read_bytes(tmp_path / "a.csv", content, places)
    table = batch.entities.table
    assert table["id"].to_pylist() == ["007", "008"]
    assert table["name"].to_pylist() == [None, "true"]
    assert table["postcode"].to_pylist() == [None, None]
    assert batch.entities.rejected == {0: "lat and lon must be given together"}


def test_an_empty_cell_of_csv_is_missing(tmp_path: Path, places: EntitySchema) -> None:
    (batch,) = read_bytes(tmp_path / "a.csv", b'name,city\na,\n"",b\nNULL,NA\n', places)
    assert batch.entities.table["name"].to_pylist() == ["a", None, "NULL"]
    assert batch.entities.table["city"].to_pylist() == [None, "b", "NA"]


def test_a_byte_order_mark_is_not_part_of_the_first_column(
    tmp_path: Path, places: EntitySchema
) -> None:
    (batch,) = read_bytes(tmp_path / "a.csv", b"\xef\xbb\xbfname\na\n", places)
    assert batch.entities.table["name"].to_pylist() == ["a"]


def test_a_column_of_csv_must_not_occur_twice(tmp_path: Path, places: EntitySchema) -> None:
    with pytest.raises(DataError, match="column 'name' occurs more than once"):
        read_bytes(tmp_path / "a.csv", b"name,name\na,b\n", places)


def test_a_row_of_csv_with_too_many_cells_is_refused_without_repeating_it(
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
def test_a_broken_text_file_is_refused_without_repeating_it(
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
def test_a_malformed_line_is_refused_with_its_row_and_without_its_content(
    tmp_path: Path, places: EntitySchema, line: str
) -> None:
    content = f'{{"name": "a"}}\n\n{{"name": "b"}}\n{line}\n'.encode()
    with pytest.raises(DataError, match=r"a\.jsonl: row 2 is not valid JSON") as caught:
        read_bytes(tmp_path / "a.jsonl", content, places)
    assert PRIVATE not in str(caught.value)


def test_blank_lines_and_a_missing_last_newline_do_not_count(
    tmp_path: Path, places: EntitySchema
) -> None:
    content = b'\n{"name": "a"}\r\n  \r\n{"name": "b"}'
    assert ids(read_bytes(tmp_path / "a.jsonl", content, places)) == ["0", "1"]


def test_a_line_that_is_no_object_is_rejected_in_its_own_place(
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


def test_a_file_has_labels_even_if_those_of_one_batch_are_null(
    tmp_path: Path, places: EntitySchema
) -> None:
    rows: list[dict[str, Any]] = [{"name": "a", "labels": None}] * BATCH_ROWS
    rows.append({"name": "b", "labels": ["x"]})
    batches = read_bytes(tmp_path / "a.jsonl", jsonl_bytes(rows), places)
    assert labels(batches) == [row["labels"] for row in rows]


@pytest.mark.parametrize(
    "given",
    ['"x"', "5", "true", "[1]", '[1, "x"]', '[["x"]]', '{"x": 1}', "[18446744073709551615]"],
)
def test_labels_of_a_line_that_are_no_list_of_texts_are_refused(
    tmp_path: Path, places: EntitySchema, given: str
) -> None:
    content = f'{{"name": "a", "labels": {given}}}\n'.encode()
    with pytest.raises(DataError, match="must be lists of text"):
        read_bytes(tmp_path / "a.jsonl", content, places)


# Parquet.


def parquet_bytes(rows: int) -> bytes:
    """A Parquet file in memory, with text that does not compress."""
    source = random.Random(rows)
    sink = pa.BufferOutputStream()
    names = [source.randbytes(8).hex() for _ in range(rows)]
    pq.write_table(pa.table({"name": names, "labels": [["x"]] * rows}), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_parquet_file_is_refused(
    tmp_path: Path, places: EntitySchema, share: float
) -> None:
    content = parquet_bytes(1_000)
    with pytest.raises(DataError, match=r"a\.parquet cannot be read: \w"):
        read_bytes(tmp_path / "a.parquet", content[: int(len(content) * share)], places)


def test_a_parquet_file_without_its_middle_is_refused(tmp_path: Path, places: EntitySchema) -> None:
    content = parquet_bytes(1_000)
    with pytest.raises(DataError, match=r"a\.parquet cannot be read: \w"):
        read_bytes(tmp_path / "a.parquet", content[:2_000] + content[4_000:], places)


def test_a_parquet_file_with_any_byte_changed_is_read_or_refused(
    tmp_path: Path, places: EntitySchema
) -> None:
    content = parquet_bytes(50)
    source = random.Random(0)
    outcomes = set()
    for _ in range(150):
        changed = bytearray(content)
        changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
        try:
            read_bytes(tmp_path / "a.parquet", bytes(changed), places)
            outcomes.add("read")
        except DataError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_broken_utf8_within_parquet_is_rejected_row_by_row(
    tmp_path: Path, places: EntitySchema
) -> None:
    broken = pa.array([b"a", b"\xff\xfe", b"c"])
    names = pa.StringArray.from_buffers(3, *broken.buffers()[1:])
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"name": names, "id": ["x", "y", "z"]}), path)
    (batch,) = read(path, places)
    assert batch.entities.rejected == {1: "name: not valid UTF-8"}
    assert batch.entities.table["name"].to_pylist() == ["a", None, "c"]


def test_a_wrong_type_within_parquet_is_refused(tmp_path: Path, places: EntitySchema) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"name": [1.5]}), path)
    with pytest.raises(DataError, match="column 'name' holds double"):
        read(path, places)


def test_a_text_file_under_a_parquet_name_is_refused(tmp_path: Path, places: EntitySchema) -> None:
    content = f"name\n{PRIVATE}\n".encode() * 50
    with pytest.raises(DataError, match="Parquet magic bytes not found") as caught:
        read_bytes(tmp_path / "a.parquet", content, places)
    assert PRIVATE not in str(caught.value)


# Names.


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.parquet", "parquet"),
        ("a.PARQUET", "parquet"),
        ("a.b.csv", "csv"),
        ("a.csv.gz", "csv"),
        ("a.csv.zst", "csv"),
        ("a.jsonl.lz4", "jsonl"),
        ("a.ndjson", "jsonl"),
    ],
)
def test_the_end_of_a_name_tells_the_format(name: str, kind: str) -> None:
    assert format_of(locate(name)) == kind


@pytest.mark.parametrize(
    "name", ["a", "a.txt", "a.json", "a.csv.zip", "a.gz", ".gz", "a.csv.txt", "csv", "a.csv.gz.gz"]
)
def test_an_unknown_end_of_a_name_is_refused_with_those_that_are_known(
    tmp_path: Path, places: EntitySchema, name: str
) -> None:
    with pytest.raises(DataError, match=r"must end in \.parquet, \.csv, \.jsonl, \.ndjson"):
        read_bytes(tmp_path / name, b"name\na\n", places)


def test_parquet_has_no_compressed_form() -> None:
    with pytest.raises(DataError):
        format_of(locate("a.parquet.gz"))


def test_a_missing_file_is_refused_by_its_name(tmp_path: Path, places: EntitySchema) -> None:
    with pytest.raises(DataError, match=r"no file .*nowhere\.csv"):
        read(tmp_path / "nowhere.csv", places)


def test_a_folder_without_parquet_is_refused(tmp_path: Path, places: EntitySchema) -> None:
    (tmp_path / "a.csv").write_text("name\na\n")
    with pytest.raises(DataError, match=r"holds no \.parquet file"):
        read(tmp_path, places)


def test_a_file_is_the_only_one_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.touch()
    assert [file.local for file in files_of(path)] == [path]


# Labels.


@pytest.mark.parametrize(
    "array",
    [
        pa.array([["x", "y"], None, []]),
        pa.array([["x", "y"], None, []], pa.large_list(pa.string())),
        pa.array([["x", "y"], None, []], pa.list_(pa.large_string())),
        pa.array([["x", "y"], None, []], pa.list_(pa.string_view())),
        pa.chunked_array([pa.array([["x", "y"], None]), pa.array([[]], pa.list_(pa.string()))]),
    ],
    ids=["list", "large list", "large text", "view", "chunks"],
)
def test_labels_may_come_in_any_list_of_texts(array: pa.Array) -> None:
    lists = label_lists(array)
    assert lists.type == pa.list_(pa.string())
    assert lists.to_pylist() == [["x", "y"], None, []]


def test_labels_of_nulls_are_null() -> None:
    assert label_lists(pa.nulls(2)).to_pylist() == [None, None]
    assert label_lists(pa.array([[], None], pa.list_(pa.null()))).to_pylist() == [[], None]


@pytest.mark.parametrize(
    "array",
    [
        pa.array(["x"]),
        pa.array([1]),
        pa.array([{"x": 1}]),
        pa.array([[["x"]]]),
        pa.array([[{"x": 1}]]),
        pa.array([["x"]], pa.list_(pa.string(), 1)),
        pa.array([[("x", "y")]], pa.map_(pa.string(), pa.string())),
        *(pa.array([[value]]) for value in (1, True, b"x")),
    ],
    ids=lambda array: str(array.type),
)
def test_labels_of_another_type_are_refused(array: pa.Array) -> None:
    with pytest.raises(DataError, match=r"column 'labels' holds .*; it must be lists of text"):
        label_lists(array)


def test_labels_of_a_wrong_type_in_a_file_are_refused(tmp_path: Path, places: EntitySchema) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"name": ["a"], "labels": [PRIVATE]}), path)
    with pytest.raises(DataError, match="column 'labels' holds string") as caught:
        read(path, places)
    assert PRIVATE not in str(caught.value)


def test_labels_that_are_no_utf8_are_refused() -> None:
    broken = pa.array([b"\xff"])
    texts = pa.StringArray.from_buffers(1, *broken.buffers()[1:])
    with pytest.raises(DataError, match="must be lists of text"):
        label_lists(pa.ListArray.from_arrays([0, 1], texts))
