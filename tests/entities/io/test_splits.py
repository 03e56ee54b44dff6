"""Splitting of files into parts with the same batches as the whole file."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.io import readers
from labelwright.entities.io.splits import parts_of, read_part
from labelwright.entities.schema import EntitySchema

BATCH = 20


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "BATCH_ROWS", BATCH)


def folder_of(folder: Path, *files: tuple[int, int]) -> Path:
    """Write a Parquet file for each (rows, rows of a row group); every third row has no id."""
    for number, (rows, group) in enumerate(files):
        names = pa.array([f"{number}-{row}" for row in range(rows)], pa.string())
        ids = pa.array(
            [name if row % 3 else None for row, name in enumerate(names.to_pylist())], pa.string()
        )
        table = pa.table({"id": ids, "name": names})
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=group)
    return folder


@pytest.mark.parametrize("skip", [0, 1, 39, 40, 41, 99, 100, 130, 231, 500])
def test_reading_all_parts_gives_the_batches_of_the_whole_file(
    places: EntitySchema, tmp_path: Path, skip: int
) -> None:
    folder = folder_of(tmp_path, (100, 40), (0, 1), (30, 7), (1, 1), (100, 100))
    parts = [part for one in parts_of(folder) if (part := one.after(skip))]
    whole = readers.read_batches(folder, places, labelled=False, skip=skip)
    apart = (batch for part in parts for batch in read_part(part, places))
    assert [one.entities.table for one in apart] == [one.entities.table for one in whole]


def test_a_part_begins_where_both_a_row_group_and_a_batch_begin(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, (100, 40), (90, 30), (50, 7))
    found = [(one.before, one.first, one.stop) for one in parts_of(folder)]
    assert found == [
        *((0, 0, 40), (0, 40, 80), (0, 80, 100)),
        *((100, 0, 60), (100, 60, 90)),
        (190, 0, 50),
    ]
    assert all(one.file.path.startswith("/") for one in parts_of(folder))


def test_a_text_file_is_one_part(places: EntitySchema, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("name\n" + "Bar\n" * 30)
    (part,) = parts_of(tmp_path / "in.csv")
    rest = part.after(25)
    assert rest is not None
    (batch,) = read_part(rest, places)
    assert batch.entities.ids.to_pylist() == ["25", "26", "27", "28", "29"]


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.parquet").write_text("text")
    with pytest.raises(DataError, match="parquet cannot be read"):
        parts_of(tmp_path / "in.parquet")
