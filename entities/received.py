"""Tables that somebody sent: CSV and Parquet in memory, of which no more is read than was agreed.

A few bytes of Parquet can stand for any number of rows. What a file says of itself is checked
before it is read, and what it holds while it is.
"""

import csv
import io
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from entities.errors import DataError
from entities.readers import csv_batches, csv_header, first_line
from entities.schema import EntitySchema
from entities.tables import Entities, conform

COLUMNS_LIMIT = 1_000
BYTES_LIMIT = 64 << 20
"""Bytes of a table after it has been decoded."""
VALUES_LIMIT = 1 << 20
"""Values of one column; lists have several a row."""
CODECS = frozenset({"UNCOMPRESSED", "SNAPPY"})
"""How Parquet may be compressed: others can pack thousands of bytes into one."""
_PIECE = 1_024
_UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error, MemoryError)


def from_csv(content: bytes, schema: EntitySchema, rows: int) -> Entities:
    """Entities of CSV with a header, at most so many rows; raises DataError."""
    try:
        header = csv_header(content[: 1 << 20])
        _check_columns(header)
        batches = csv_batches(io.BufferedReader(io.BytesIO(content)), header)
        return conform(_limited(batches, rows, header), schema)
    except _UNREADABLE as error:
        raise DataError(f"not valid CSV: {first_line(error)}") from error


def from_parquet(content: bytes, schema: EntitySchema, rows: int) -> Entities:
    """Entities of a Parquet file, at most so many rows; raises DataError."""
    wanted = {"id", *schema.fields}
    source = pa.BufferReader(content)
    try:
        metadata = pq.read_metadata(source)
        names = metadata.schema.to_arrow_schema().names
        _check_columns(names)
        repeated = _check_parquet(metadata, wanted, rows)
        parquet = pq.ParquetFile(
            source, metadata=metadata, read_dictionary=repeated, pre_buffer=False
        )
        batches = parquet.iter_batches(_PIECE, columns=[name for name in names if name in wanted])
        return conform(_limited(batches, rows, names), schema)
    except _UNREADABLE as error:
        raise DataError(f"not valid Parquet: {first_line(error)}") from error


def _check_columns(names: Sequence[str]) -> None:
    if len(names) > COLUMNS_LIMIT:
        raise DataError(f"a table may have {COLUMNS_LIMIT:,} columns")


def _check_parquet(metadata: pq.FileMetaData, wanted: set[str], rows: int) -> list[str]:
    """The columns whose values may stay in dictionaries, where one can stand in many rows.

    Raises DataError for more than a table may have, by what a file says of itself.
    """
    if metadata.num_rows > rows:
        raise DataError(f"a table may have {rows:,} rows")
    size = 0
    flat: dict[str, None] = {}
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            if column.path_in_schema.partition(".")[0] not in wanted:
                continue
            if column.physical_type == "BYTE_ARRAY" and column.path_in_schema in wanted:
                flat[column.path_in_schema] = None
            size += column.total_uncompressed_size
            if column.compression not in CODECS:
                raise DataError(f"Parquet may be compressed by {' or '.join(sorted(CODECS))}")
            if column.num_values > VALUES_LIMIT or not 0 <= size <= BYTES_LIMIT:
                raise DataError("the columns of a table are too large")
    return list(flat)


def _limited(batches: Iterator[pa.RecordBatch], rows: int, names: Sequence[str]) -> pa.Table:
    """All batches as one table; raises DataError as soon as there is too much."""
    found: list[pa.RecordBatch] = []
    count = size = 0
    for batch in batches:
        batch.validate()
        count, size = count + batch.num_rows, size + batch.nbytes
        if count > rows:
            raise DataError(f"a table may have {rows:,} rows")
        if size > BYTES_LIMIT:
            raise DataError("the columns of a table are too large")
        found.append(batch)
    if not found:
        return pa.table({name: pa.array([], pa.string()) for name in dict.fromkeys(names)})
    return pa.Table.from_batches(found)
