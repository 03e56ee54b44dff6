"""Files of answers: `id` and `labels`, as Parquet, CSV or JSON Lines, whole or not at all."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from labelwright.entities.errors import DataError
from labelwright.entities.io.locations import Location, LocationLike, locate, open_output
from labelwright.entities.io.readers import compression_of, format_of
from labelwright.entities.tables import LABELS

PREDICTIONS = pa.schema([pa.field("id", pa.string()), pa.field("labels", LABELS)])
"""What every file of answers holds; in CSV `labels` is JSON."""

FINGERPRINT = "fingerprint"
"""A column of uint64 that may come with answers: Parquet keeps it between its groups of rows."""
METADATA_KEY = b"labelwright"
"""The entry of Parquet's metadata that says who gave the answers, and where fingerprints lie."""

_REPEATED = ["labels.list.element.label"]
"""The only column in Parquet whose values repeat."""
_SPREAD = ["labels.list.element.probability"]
"""A column of numbers whose bytes are alike at each place, which compresses better by place."""

Write = Callable[[pa.Table], None]


@contextlib.contextmanager
def predictions_file(
    where: LocationLike, provenance: Mapping[str, Any] | None = None, drafts: Path | None = None
) -> Iterator[Write]:
    """A function that appends tables with the schema PREDICTIONS to a file, by the end of its name.

    The file appears when it is complete; for `drafts` see `open_output`. `provenance` is
    kept in Parquet's metadata. Raises StorageError for a full disk, and DataError for a name that
    tells no format.
    """
    location = locate(where)
    kind = output_format(location)
    with (
        open_output(location, drafts) as stream,
        _WRITERS[kind](stream, compression_of(location), provenance or {}) as write,
    ):
        yield write


def output_format(location: Location) -> str:
    """`parquet`, `csv` or `jsonl`, by the end of the name; raises DataError."""
    kind = format_of(location)
    if kind not in _WRITERS:
        raise DataError(f"{location}: answers are written as {', '.join(_WRITERS)}")
    return kind


@contextlib.contextmanager
def _parquet(
    stream: pa.NativeFile, compression: str | None, provenance: Mapping[str, Any]
) -> Iterator[Write]:
    offsets: list[int] = []
    with pq.ParquetWriter(
        stream,
        PREDICTIONS,
        compression="zstd",
        compression_level=1,
        use_dictionary=_REPEATED,
        use_byte_stream_split=_SPREAD,
        write_statistics=["id"],
    ) as writer:

        def write(predictions: pa.Table) -> None:
            if not len(predictions):
                return
            writer.write_table(
                predictions.select(PREDICTIONS.names), row_group_size=len(predictions)
            )
            if FINGERPRINT in predictions.column_names:
                offsets.append(stream.tell())
                stream.write(predictions[FINGERPRINT].to_numpy().tobytes())

        yield write
        told = {**provenance, "fingerprints": offsets}
        writer.add_key_value_metadata({METADATA_KEY: json.dumps(told)})


@contextlib.contextmanager
def _csv(
    stream: pa.NativeFile, compression: str | None, provenance: Mapping[str, Any]
) -> Iterator[Write]:
    schema = pa.schema([pa.field("id", pa.string()), pa.field("labels", pa.string())])
    with (
        pa.output_stream(stream, compression=compression) as packed,
        pyarrow.csv.CSVWriter(packed, schema) as writer,
    ):

        def write(predictions: pa.Table) -> None:
            texts = [_json(labels) for labels in predictions["labels"].to_pylist()]
            writer.write_table(pa.table([predictions["id"], pa.array(texts)], schema=schema))

        yield write


@contextlib.contextmanager
def _jsonl(
    stream: pa.NativeFile, compression: str | None, provenance: Mapping[str, Any]
) -> Iterator[Write]:
    with pa.output_stream(stream, compression=compression) as packed:

        def write(predictions: pa.Table) -> None:
            rows = predictions.select(PREDICTIONS.names).to_pylist()
            packed.write(b"".join(orjson.dumps(row) + b"\n" for row in rows))

        yield write


def _json(labels: list[dict[str, object]] | None) -> str | None:
    return None if labels is None else orjson.dumps(labels).decode()


_WRITERS = {"parquet": _parquet, "csv": _csv, "jsonl": _jsonl}
