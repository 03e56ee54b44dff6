"""Parquet of strangers: whatever it does to its decoder, the next table is decoded."""

import io
import signal
from collections.abc import Iterator

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


def test_the_known_columns_come(decoder: ParquetDecoder) -> None:
    check(decoder)
    assert len(decoder.table(parquet(GOOD.slice(0, 0)), ["name"], 10)) == 0


def test_a_process_that_dies_costs_one_caller(decoder: ParquetDecoder) -> None:
    check(decoder)
    process = decoder._process
    assert process is not None
    process.kill()
    process.wait()
    check(decoder)


def repeated(text: str, times: int) -> pa.DictionaryArray:
    """A text that stands once and is meant many times."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * times), pa.array([text]))


GROWING = {
    "a value repeated": repeated("x" * (1 << 20), 5_000),
    "a list that grows": pa.ListArray.from_arrays([0, 1_000_000], repeated("x" * 1_000, 1_000_000)),
    "pages that shrank": pa.array(["x" * (1 << 25)] * 3),
}


@pytest.mark.parametrize("name", GROWING)
def test_a_file_that_grows_is_refused(decoder: ParquetDecoder, name: str) -> None:
    content = parquet(pa.table({"name": GROWING[name]}), compression="zstd", store_schema=False)
    assert len(content) < 1 << 20
    with pytest.raises(DataError, match=r"at most 67,108,864 bytes|not valid Parquet"):
        decoder.table(content, ["name"], 10_000)
    check(decoder)


def test_a_decoder_that_hangs_is_ended(
    decoder: ParquetDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(decoder)
    process = decoder._process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(sandbox, "SECONDS", 0.2)
    with pytest.raises(DataError, match="not valid Parquet"):
        decoder.table(parquet(GOOD), ["name"], 10)
    monkeypatch.undo()
    check(decoder)
