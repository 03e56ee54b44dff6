"""Writers of predictions (columns `id`, `labels`, `primary`) as Parquet, CSV or JSON Lines."""

import contextlib
import json
import zlib
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

PREDICTIONS = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("labels", LABELS),
        pa.field("primary", LABELS.value_type),
    ]
)
"""The columns of a file of predictions; in CSV, `labels` and `primary` are JSON."""

FINGERPRINT = "fingerprint"
"""An optional uint64 column, which Parquet files store as raw bytes after each row group.

Other formats leave it out.
"""
METADATA_KEY = b"labelwright"
"""The key of the Parquet metadata with the provenance, and the offsets and checksums (CRC-32) of
the fingerprints."""

_DICTIONARY_COLUMNS = ["labels.list.element.label", "primary.label"]
"""The columns whose values repeat."""
_BYTE_STREAM_SPLIT_COLUMNS = ["labels.list.element.probability", "primary.probability"]
"""The first bytes of probabilities are similar, so splitting by byte position compresses better."""

WriteTable = Callable[[pa.Table], None]


@contextlib.contextmanager
def predictions_file(
    where: LocationLike,
    provenance: Mapping[str, Any] | None = None,
    work_folder: Path | None = None,
) -> Iterator[WriteTable]:
    """Yield a function that appends tables with the schema PREDICTIONS to a file.

    The suffix of the name determines the format. The file appears under its name when it is
    complete. `work_folder` is the argument of `open_output`. `provenance` describes the origin of
    the predictions; it is stored in the metadata of Parquet files only. Raises StorageError if the
    disk is full, and DataError if the suffix is unknown.
    """
    location = locate(where)
    kind = output_format(location)
    with (
        open_output(location, work_folder) as stream,
        _WRITERS[kind](stream, compression_of(location), provenance or {}) as write,
    ):
        yield write


def output_format(location: Location) -> str:
    """`parquet`, `csv` or `jsonl`, by the suffix of the name; raises DataError for another one."""
    kind = format_of(location)
    if kind not in _WRITERS:
        raise DataError(
            f"{location}: predictions are written as {', '.join(_WRITERS)}; change the suffix"
        )
    return kind


@contextlib.contextmanager
def _parquet(
    stream: pa.NativeFile, compression: str | None, provenance: Mapping[str, Any]
) -> Iterator[WriteTable]:
    offsets: list[int] = []
    checksums: list[int] = []
    with pq.ParquetWriter(
        stream,
        PREDICTIONS,
        compression="zstd",
        compression_level=1,
        use_dictionary=_DICTIONARY_COLUMNS,
        use_byte_stream_split=_BYTE_STREAM_SPLIT_COLUMNS,
        write_statistics=["id"],
        write_page_checksum=True,
    ) as writer:

        def write(predictions: pa.Table) -> None:
            if not len(predictions):
                return
            writer.write_table(
                predictions.select(PREDICTIONS.names), row_group_size=len(predictions)
            )
            if FINGERPRINT in predictions.column_names:
                offsets.append(stream.tell())
                fingerprints = predictions[FINGERPRINT].to_numpy().tobytes()
                checksums.append(zlib.crc32(fingerprints))
                stream.write(fingerprints)

        yield write
        metadata = {**provenance, "fingerprints": offsets, "checksums": checksums}
        writer.add_key_value_metadata({METADATA_KEY: json.dumps(metadata)})


@contextlib.contextmanager
def _csv(
    stream: pa.NativeFile, compression: str | None, provenance: Mapping[str, Any]
) -> Iterator[WriteTable]:
    schema = pa.schema([pa.field(name, pa.string()) for name in PREDICTIONS.names])
    with (
        pa.output_stream(stream, compression=compression) as packed,
        pyarrow.csv.CSVWriter(packed, schema) as writer,
    ):

        def write(predictions: pa.Table) -> None:
            texts = [
                pa.array(map(_json, predictions[name].to_pylist()), pa.string())
                for name in PREDICTIONS.names[1:]
            ]
            writer.write_table(pa.table([predictions["id"], *texts], schema=schema))

        yield write


@contextlib.contextmanager
def _jsonl(
    stream: pa.NativeFile, compression: str | None, provenance: Mapping[str, Any]
) -> Iterator[WriteTable]:
    with pa.output_stream(stream, compression=compression) as packed:

        def write(predictions: pa.Table) -> None:
            rows = predictions.select(PREDICTIONS.names).to_pylist()
            packed.write(b"".join(orjson.dumps(row) + b"\n" for row in rows))

        yield write


def _json(value: object) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


_WRITERS = {"parquet": _parquet, "csv": _csv, "jsonl": _jsonl}
