"""Readers of entity files: behaviour of all formats, and folders of files."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.io.column_map import ColumnMap
from labelwright.entities.io.locations import locate
from labelwright.entities.io.readers import (
    BATCH_ROWS,
    Batch,
    count_rows,
    files_of,
    format_of,
    read_batches,
)
from labelwright.entities.schema import EntitySchema
from tests.entities.files import ROWS, WRITERS, ids, labels, read, read_bytes, write_parquet

# All formats.


@pytest.mark.parametrize("suffix", WRITERS)
def test_all_formats_give_the_same_entities(
    tmp_path: Path, places: EntitySchema, suffix: str
) -> None:
    path = tmp_path / f"places{suffix}"
    WRITERS[suffix](path, ROWS)
    (batch,) = read(path, places)
    expected = [{k: v for k, v in row.items() if k != "labels"} for row in ROWS]
    assert batch.entities.table.to_pylist() == expected
    assert not batch.entities.rejected
    assert not batch.entities.warnings


@pytest.mark.parametrize("suffix", WRITERS)
def test_all_formats_give_the_same_labels(
    tmp_path: Path, places: EntitySchema, suffix: str
) -> None:
    path = tmp_path / f"places{suffix}"
    WRITERS[suffix](path, ROWS)
    assert labels(read(path, places)) == [row["labels"] for row in ROWS]


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_without_a_label_column_has_no_labels(
    tmp_path: Path, places: EntitySchema, suffix: str
) -> None:
    path = tmp_path / f"places{suffix}"
    WRITERS[suffix](path, [{"name": "a"}, {"name": "b"}])
    (batch,) = read(path, places)
    assert batch.labels is None
    assert ids([batch]) == ["0", "1"]


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_bad_row_rejects_only_its_row(tmp_path: Path, places: EntitySchema, suffix: str) -> None:
    path = tmp_path / f"places{suffix}"
    WRITERS[suffix](path, [{"name": "a"}, {"name": "b" * 10_001}, {"name": "c"}])
    (batch,) = read(path, places)
    assert batch.entities.rejected == {1: "name: longer than 10,000 bytes"}
    assert batch.entities.table["name"].to_pylist() == ["a", None, "c"]


@pytest.mark.parametrize("suffix", WRITERS)
def test_an_unknown_column_gives_a_warning(
    tmp_path: Path, places: EntitySchema, suffix: str
) -> None:
    path = tmp_path / f"places{suffix}"
    WRITERS[suffix](path, [{"name": "a", "citty": "b"}])
    (batch,) = read(path, places)
    assert batch.entities.warnings == [
        "column 'citty' is not in schema 'places'; did you mean 'city'?"
    ]


# Rows, batches and folders.


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_row_numbers_continue_across_batches(
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


def test_the_parquet_files_of_a_folder_are_read_in_order(
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


def test_a_subfolder_can_have_the_suffix_of_a_file(tmp_path: Path, places: EntitySchema) -> None:
    (tmp_path / "2024.parquet").mkdir()
    write_parquet(tmp_path / "2024.parquet" / "part-0.parquet", [{"name": "a"}])
    assert ids(read(tmp_path, places)) == ["0"]


def test_a_folder_with_the_suffix_of_a_file_is_read_as_a_folder(
    tmp_path: Path, places: EntitySchema
) -> None:
    folder = tmp_path / "places.parquet"
    folder.mkdir()
    write_parquet(folder / "part-0.parquet", [{"name": "a"}])
    assert ids(read(folder, places)) == ["0"]


def test_files_of_a_folder_can_have_different_columns(tmp_path: Path, places: EntitySchema) -> None:
    write_parquet(tmp_path / "a.parquet", [{"name": "a"}])
    write_parquet(tmp_path / "b.parquet", [{"city": "b", "labels": ["x"]}])
    first, second = read(tmp_path, places)
    assert first.entities.table.column_names == ["id", "name"]
    assert second.entities.table.to_pylist() == [{"id": "1", "city": "b"}]
    assert first.labels is None
    assert second.labels is not None


def test_rows_are_counted_for_parquet_only(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [{"name": "a"}] * 3)
    (tmp_path / "a.csv").write_text("name\na\n")
    assert count_rows(tmp_path / "a.parquet") == 3
    assert count_rows(tmp_path / "a.csv") is None


def test_rows_of_a_broken_file_cannot_be_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 broken PAR1")
    with pytest.raises(DataError, match=r"a\.parquet cannot be read"):
        count_rows(path)


def names_in(batches: list[Batch]) -> list[str]:
    return [name for batch in batches for name in batch.entities.table["name"].to_pylist()]


@pytest.mark.parametrize(
    "hidden",
    [".a.parquet", "_a.parquet", ".ipynb_checkpoints/a.parquet", "_temporary/0/a.parquet"],
)
def test_hidden_files_and_folders_are_not_read(
    tmp_path: Path, places: EntitySchema, hidden: str
) -> None:
    folder = tmp_path / ".data"
    (folder / "_year=2024").mkdir(parents=True)
    (folder / hidden).parent.mkdir(parents=True, exist_ok=True)
    write_parquet(folder / hidden, [{"name": "hidden"}])
    write_parquet(folder / "b.PARQUET", [{"name": "2"}])
    write_parquet(folder / "_year=2024" / "a.parquet", [{"name": "1"}])
    assert names_in(read(folder, places)) == ["1", "2"]
    assert count_rows(folder) == 2
    assert ids(read(folder / hidden, places)) == ["0"]


def test_columns_in_the_path_are_read(tmp_path: Path, places: EntitySchema) -> None:
    paths = {
        "country=DE/city=K%C3%B6ln/lat=50.9/a.parquet": ("DE", "Köln", 50.9),
        "country=FR/city=__HIVE_DEFAULT_PARTITION__/lat=48.8/a.parquet": ("FR", None, 48.8),
        "unknown=1/a.parquet": (None, None, None),
    }
    for path in paths:
        file = tmp_path / path
        file.parent.mkdir(parents=True)
        write_parquet(file, [{"name": "a", "lon": 1.0}] * 2 if "lat" in path else [{"name": "a"}])
    found = [row for batch in read(tmp_path, places) for row in batch.entities.table.to_pylist()]
    values = [(row.get("country"), row.get("city"), row.get("lat")) for row in found]
    assert values == [paths[path] for path in paths for _ in range(2 if "lat" in path else 1)]
    mapped = read_batches(tmp_path, places, columns=ColumnMap({"region": "country"}))
    with pytest.raises(DataError, match="has no column 'country'"):
        list(mapped)
    (batch,) = read_batches(
        tmp_path / "country=DE", places, columns=ColumnMap({"region": "country"})
    )
    assert batch.entities.table["region"].to_pylist() == ["DE", "DE"]
    assert "country" not in batch.entities.table.column_names


def test_a_column_of_the_file_has_priority_over_its_path(
    tmp_path: Path, places: EntitySchema
) -> None:
    (tmp_path / "country=DE").mkdir()
    write_parquet(tmp_path / "country=DE" / "a.parquet", [{"name": "a", "country": "AT"}])
    (batch,) = read(tmp_path, places)
    assert batch.entities.table["country"].to_pylist() == ["AT"]


# Empty files.


def test_a_parquet_file_without_rows_gives_one_empty_batch(
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


def test_a_csv_file_with_only_a_header_has_no_rows(tmp_path: Path, places: EntitySchema) -> None:
    assert ids(read_bytes(tmp_path / "a.csv", b"name,labels\n", places)) == []


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_an_empty_file_is_refused_if_the_format_needs_a_header(
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


# Suffixes.


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
def test_the_suffix_determines_the_format(name: str, kind: str) -> None:
    assert format_of(locate(name)) == kind


@pytest.mark.parametrize(
    "name", ["a", "a.txt", "a.json", "a.csv.zip", "a.gz", ".gz", "a.csv.txt", "csv", "a.csv.gz.gz"]
)
def test_an_unknown_suffix_is_refused_with_the_known_suffixes(
    tmp_path: Path, places: EntitySchema, name: str
) -> None:
    with pytest.raises(DataError, match=r"must end in \.parquet, \.csv, \.jsonl, \.ndjson"):
        read_bytes(tmp_path / name, b"name\na\n", places)


def test_compressed_parquet_is_refused() -> None:
    with pytest.raises(DataError):
        format_of(locate("a.parquet.gz"))


def test_a_missing_file_is_named_in_the_error(tmp_path: Path, places: EntitySchema) -> None:
    with pytest.raises(DataError, match=r"no file .*missing\.csv"):
        read(tmp_path / "missing.csv", places)


def test_a_folder_without_parquet_is_refused(tmp_path: Path, places: EntitySchema) -> None:
    (tmp_path / "a.csv").write_text("name\na\n")
    with pytest.raises(DataError, match=r"holds no \.parquet file"):
        read(tmp_path, places)


def test_files_of_returns_a_single_file_as_a_list(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.touch()
    assert [file.local for file in files_of(path)] == [path]
