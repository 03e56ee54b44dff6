"""Decoding of uploaded CSV and Parquet in memory, with limits on rows and columns."""

import csv
import io

import pyarrow as pa

from labelwright.entities.errors import DataError
from labelwright.entities.io.readers import HEADER_LIMIT, csv_batches, csv_header, message_of
from labelwright.entities.io.sandbox import COLUMNS_LIMIT, ParquetDecoder
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities, from_table

_UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error)
_DECODER = ParquetDecoder()


def from_csv(content: bytes, schema: EntitySchema, rows: int) -> Entities:
    """Decode CSV with a header line; raises DataError if it has more than `rows` rows."""
    try:
        header = csv_header(content[:HEADER_LIMIT])
        if len(header) > COLUMNS_LIMIT:
            raise DataError(f"a table may have at most {COLUMNS_LIMIT:,} columns")
        batches, count = [], 0
        for batch in csv_batches(io.BufferedReader(io.BytesIO(content)), header):
            count += batch.num_rows
            if count > rows:
                raise DataError(f"a table may have at most {rows:,} rows")
            batches.append(batch)
        if not batches:
            return from_table(pa.table([pa.array([], pa.string())] * len(header), header), schema)
        return from_table(pa.Table.from_batches(batches), schema)
    except _UNREADABLE as error:
        raise DataError(f"not valid CSV: {message_of(error)}") from error


def from_parquet(content: bytes, schema: EntitySchema, rows: int) -> Entities:
    """Decode a Parquet file; raises DataError if it has more than `rows` rows."""
    table = _DECODER.table(content, ["id", *schema.fields], rows)
    try:
        return from_table(table, schema)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError("not valid Parquet") from error
