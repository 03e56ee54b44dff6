"""Decoding of untrusted Parquet: a failure does not prevent the decoding of the next table."""

import io
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.io import sandbox
from labelwright.entities.io.sandbox import ParquetDecoder


@pytest.fixture(scope="module")
def decoder() -> Iterator[ParquetDecoder]:
    decoder = ParquetDecoder()
    yield decoder
    decoder.close()


def parquet(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


GOOD = pa.table({"name": ["Bar", None], "other": [1, 2]})


def check(decoder: ParquetDecoder) -> None:
    assert decoder.table(parquet(GOOD), ["name", "city"], 10) == GOOD.select(["name"])


def started_process(decoder: ParquetDecoder) -> psutil.Process:
    """Make the decoder start a new process, and return this process."""
    decoder.close()
    before = set(psutil.Process().children())
    check(decoder)
    (process,) = set(psutil.Process().children()) - before
    return process


def test_only_the_requested_columns_are_decoded(decoder: ParquetDecoder) -> None:
    check(decoder)
    assert len(decoder.table(parquet(GOOD.slice(0, 0)), ["name"], 10)) == 0


def test_after_the_process_dies_the_next_table_is_decoded(decoder: ParquetDecoder) -> None:
    process = started_process(decoder)
    process.kill()
    process.wait()
    check(decoder)


def repeated(text: str, times: int) -> pa.DictionaryArray:
    """A dictionary column that repeats one text many times."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * times), pa.array([text]))


GROWING = {
    "a value repeated": repeated("x" * (1 << 20), 5_000),
    "a list that grows": pa.ListArray.from_arrays([0, 1_000_000], repeated("x" * 1_000, 1_000_000)),
    "pages that shrank": pa.array(["x" * (1 << 25)] * 3),
}


@pytest.mark.parametrize("name", GROWING)
def test_a_file_that_is_too_large_when_decoded_is_refused(
    decoder: ParquetDecoder, name: str
) -> None:
    content = parquet(pa.table({"name": GROWING[name]}), compression="zstd", store_schema=False)
    assert len(content) < 1 << 20
    with pytest.raises(DataError, match=r"at most 67,108,864 bytes|not valid Parquet"):
        decoder.table(content, ["name"], 10_000)
    check(decoder)


def test_a_decoder_that_hangs_is_killed(
    decoder: ParquetDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    started_process(decoder).suspend()
    monkeypatch.setattr(sandbox, "SECONDS", 0.2)
    with pytest.raises(DataError, match="not valid Parquet"):
        decoder.table(parquet(GOOD), ["name"], 10)
    monkeypatch.undo()
    check(decoder)


def test_a_process_that_ends_in_the_middle_of_its_reply_is_a_data_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = """import sys; sys.stdin.readline(); print('{"size": 100, "refused": false}')"""

    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    monkeypatch.setattr(sandbox, "_start", start)
    with pytest.raises(DataError):
        ParquetDecoder().table(b"", ["name"], 1)
