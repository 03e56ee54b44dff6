"""Reader of Parquet: broken files are refused, and invalid rows are rejected."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.schema import EntitySchema
from tests.entities.files import PRIVATE, read, read_bytes


def parquet_bytes(rows: int) -> bytes:
    """The bytes of a Parquet file whose text does not compress."""
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


def test_a_parquet_file_with_a_changed_byte_is_read_or_refused(
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


def test_a_text_file_with_the_suffix_of_parquet_is_refused(
    tmp_path: Path, places: EntitySchema
) -> None:
    content = f"name\n{PRIVATE}\n".encode() * 50
    with pytest.raises(DataError, match="Parquet magic bytes not found") as caught:
        read_bytes(tmp_path / "a.parquet", content, places)
    assert PRIVATE not in str(caught.value)


def test_a_damaged_bit_of_a_page_with_a_checksum_changes_no_row(
    tmp_path: Path, places: EntitySchema
) -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"name": [f"Bar {n}" for n in range(50)]})
    pq.write_table(table, sink, write_page_checksum=True)
    content = sink.getvalue().to_pybytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    chance, refused = random.Random(0), 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[chance.randrange(footer)] ^= 1 << chance.randrange(8)
        try:
            batches = read_bytes(tmp_path / "a.parquet", bytes(damaged), places)
        except DataError:
            refused += 1
            continue
        names = [name for batch in batches for name in batch.entities.table["name"].to_pylist()]
        assert names == table["name"].to_pylist()
    assert refused
