"""Decoding of uploaded CSV and Parquet in memory, with limits on rows and columns."""

import dataclasses
import io
from collections.abc import Sequence

import pyarrow as pa

from labelwright.entities.errors import DataError
from labelwright.entities.io.csv_tables import CsvTables, whole_numbers
from labelwright.entities.io.readers import message_of
from labelwright.entities.io.sandbox import COLUMNS_LIMIT, ParquetDecoder
from labelwright.entities.io.text_files import TextFileError
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities, check_columns, from_table

_UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError, TextFileError)
_DECODER = ParquetDecoder()
BLOCK_BYTES = 1 << 20
"""The number of bytes of CSV that are decoded before their rows are counted, and of a row."""


def from_csv(content: bytes, schema: EntitySchema, rows: int) -> Entities:
    """Decode CSV with a header line; raises DataError if it has more than `rows` rows."""
    try:
        table = CsvTables(io.BytesIO(content), BLOCK_BYTES, BLOCK_BYTES)
        if len(table.header) > COLUMNS_LIMIT:
            raise DataError(f"a table may have at most {COLUMNS_LIMIT:,} columns")
        check_columns(table.header, schema)
        parts, count = [], 0
        for part in table.tables({"id", *schema.fields}):
            count += part.num_rows
            if count > rows:
                raise DataError(f"a table may have at most {rows:,} rows")
            parts.append(part)
        entities = from_table(whole_numbers(pa.concat_tables(parts), schema), schema)
        return dataclasses.replace(entities, warnings=schema.warnings_for(table.header))
    except _UNREADABLE as error:
        raise DataError(f"not valid CSV: {message_of(error)}") from error


def decode_parquet(content: bytes, columns: Sequence[str], rows: int) -> pa.Table:
    """The given columns of a Parquet file; raises DataError if it has more than `rows` rows."""
    return _DECODER.table(content, columns, rows)


def from_parquet(content: bytes | pa.Table, schema: EntitySchema, rows: int) -> Entities:
    """Decode a Parquet file; raises DataError if it has more than `rows` rows.

    `content` is the file, or the result of `decode_parquet` with at least the columns of `schema`.
    """
    columns = ["id", *schema.fields]
    table = content if isinstance(content, pa.Table) else decode_parquet(content, columns, rows)
    table = table.select([name for name in table.column_names if name in columns])
    try:
        return from_table(table, schema)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError("not valid Parquet") from error
