"""Ids of rows without an id: `row-N` beside rows with ids, and never the id of another row."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.io import readers
from labelwright.entities.io.readers import read_batches
from labelwright.entities.io.row_ids import with_distinct_ids
from labelwright.entities.schema import EntitySchema
from labelwright.training.data import read_labelled
from tests.entities.files import WRITERS, ids, jsonl_bytes, read, write_parquet

SUFFIXES = [".parquet", ".csv", ".jsonl"]


def rows_of(given: list[str | None]) -> list[dict[str, Any]]:
    return [{"id": one, "name": f"n{row}", "labels": ["x"]} for row, one in enumerate(given)]


def write(path: Path, given: list[str | None]) -> Path:
    WRITERS[path.suffix](path, rows_of(given))
    return path


def distinct(path: Path, schema: EntitySchema) -> list[str]:
    return ids(list(with_distinct_ids(read_batches(path, schema))))


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of three rows, except of CSV."""
    monkeypatch.setattr(readers, "BATCH_ROWS", 3)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.usefixtures("small_batches")
def test_a_row_without_an_id_gets_its_number_with_a_prefix(
    tmp_path: Path, places: EntitySchema, suffix: str
) -> None:
    given = ["1", None, "a", None, None, None, None, "7"]
    path = write(tmp_path / f"a{suffix}", given)
    expected = [one or f"row-{row}" for row, one in enumerate(given)]
    assert distinct(path, places) == expected
    assert read_labelled([path], places).entities.ids.to_pylist() == expected


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("skip", [0, 1, 3, 4, 7])
@pytest.mark.usefixtures("small_batches")
def test_skipped_rows_do_not_change_ids(
    tmp_path: Path, places: EntitySchema, suffix: str, skip: int
) -> None:
    path = write(tmp_path / f"a{suffix}", ["1", None, "a", None, None, None, None, None])
    batches = list(read_batches(path, places, skip=skip))
    assert ids(batches) == ids(read(path, places))[skip:]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "given", [["row-1", None], [None, "row-0"], ["a", None, "b", "c", "d", None, "row-5", "row-1"]]
)
@pytest.mark.usefixtures("small_batches")
def test_an_id_like_that_of_a_row_without_an_id_is_refused_with_its_row(
    tmp_path: Path, places: EntitySchema, suffix: str, given: list[str | None]
) -> None:
    path = write(tmp_path / f"a{suffix}", given)
    row = next(n for n, one in enumerate(given) if one and one.startswith("row-"))
    with pytest.raises(DataError, match=f"the rows {row}"):
        distinct(path, places)
    with pytest.raises(DataError, match=f"the rows {row}"):
        read_labelled([path], places)


@pytest.mark.parametrize("given", [["row-1", "row-0"], ["row-0", None], ["1", "row-01", None]])
def test_ids_like_those_of_no_other_row_are_kept(
    tmp_path: Path, places: EntitySchema, given: list[str | None]
) -> None:
    found = distinct(write(tmp_path / "a.jsonl", given), places)
    assert found == [one or f"row-{row}" for row, one in enumerate(given)]


@pytest.mark.usefixtures("small_batches")
def test_the_first_ids_may_come_after_rows_without_ids(
    tmp_path: Path, places: EntitySchema
) -> None:
    rows = [{"name": "n", "labels": ["x"]}] * 6
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl_bytes([*rows, {"name": "n", "id": "7", "labels": ["x"]}]))
    assert distinct(path, places) == ["0", "1", "2", "3", "4", "5", "7"]
    read_as = read_labelled([path], places).entities.ids.to_pylist()
    assert read_as == [*(f"row-{row}" for row in range(6)), "7"]
    path.write_bytes(jsonl_bytes([*rows, {"name": "n", "id": "5", "labels": ["x"]}]))
    with pytest.raises(DataError, match="the rows 6"):
        distinct(path, places)
    assert len(set(read_labelled([path], places).entities.ids.to_pylist())) == 7


def test_files_with_and_without_ids_are_read_together(tmp_path: Path, places: EntitySchema) -> None:
    named, plain = tmp_path / "a.parquet", tmp_path / "b.parquet"
    write_parquet(named, rows_of(["2", "3"]))
    pq.write_table(pa.table({"name": ["x", "y"], "labels": [["x"], ["y"]]}), plain)
    for files, expected in (
        ([named, plain], ["2", "3", "row-2", "row-3"]),
        ([plain, named], ["row-0", "row-1", "2", "3"]),
    ):
        data = read_labelled(files, places)
        assert data.entities.ids.to_pylist() == expected
        assert not data.entities.anonymous
    assert distinct(tmp_path, places) == ["2", "3", "row-2", "row-3"]
    assert read_labelled([plain, plain], places).entities.ids.to_pylist() == list("0123")
