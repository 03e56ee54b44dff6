"""Files of entities as Arrow tables: Parquet (a file or a folder), CSV, JSON Lines.

The end of the name tells the format; CSV and JSON Lines may be compressed (`.gz`, `.zst`, ...).
"""

import dataclasses
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from entities.errors import DataError
from entities.schema import EntitySchema
from entities.tables import Entities, conform, from_records, is_text

BATCH_ROWS = 16_384
FORMATS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}
LABEL_COLUMNS = ("labels", "absent")
Labels = Sequence[str]
LABEL_SEPARATOR = "|"
"""What stands between labels in a CSV cell."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some consecutive rows of a file: the entities, and the labels that came with them.

    `labels`, and those that are known to be `absent`, are list<string> arrays, or None where the
    file has no such column.
    """

    entities: Entities
    labels: pa.ListArray | None = None
    absent: pa.ListArray | None = None


def read_batches(
    path: Path, schema: EntitySchema, first_row: int = 0, labelled: bool = True
) -> Iterator[Batch]:
    """The rows of a file or folder in order, a few thousand at a time; raises DataError.

    `first_row` is the number of the first row, for ids that are made. What labels they have is read
    only if they are to come `labelled`.
    """
    labels = LABEL_COLUMNS if labelled else ()
    for file in files_of(path):
        try:
            for batch in _READERS[format_of(file)](file, schema, first_row, labels):
                first_row += len(batch.entities)
                yield batch
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file} cannot be read: {_first_line(error)}") from error


def count_rows(path: Path) -> int | None:
    """How many rows a path holds where that is known without reading it (Parquet), else None."""
    files = files_of(path)
    if any(format_of(file) != "parquet" for file in files):
        return None
    try:
        rows: int = sum(pq.read_metadata(file).num_rows for file in files)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read: {_first_line(error)}") from error
    return rows


def files_of(path: Path) -> list[Path]:
    """The file itself, or the Parquet files of a folder in order of name; raises DataError."""
    if path.is_dir():
        files = sorted(file for file in path.glob("**/*.parquet") if file.is_file())
        if not files:
            raise DataError(f"folder {path} holds no .parquet file")
        return files
    if not path.exists():
        raise DataError(f"no file {path}")
    return [path]


def format_of(path: Path) -> str:
    """`parquet`, `csv` or `jsonl`, by the end of the name; raises DataError."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = bool(suffixes) and suffixes[-1] in COMPRESSIONS
    if compressed:
        suffixes.pop()
    if not suffixes or suffixes[-1] not in FORMATS or (compressed and suffixes[-1] == ".parquet"):
        raise DataError(f"{path}: a file must end in {', '.join(FORMATS)} (text may end in .gz)")
    return FORMATS[suffixes[-1]]


def label_lists(column: pa.ChunkedArray | pa.Array, name: str = "labels") -> pa.ListArray:
    """A column of labels as list<string>; nulls stay null. Raises DataError for another type."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = array.type
    if pa.types.is_null(kind):
        return array.cast(pa.list_(pa.string()))
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not is_list or not (is_text(kind.value_type) or pa.types.is_null(kind.value_type)):
        raise DataError(f"column {name!r} holds {kind}; it must be lists of text")
    lists = array.cast(pa.list_(pa.string()))
    try:
        lists.validate(full=True)
    except pa.ArrowInvalid as error:
        raise DataError(f"column {name!r} must be lists of text in valid UTF-8") from error
    return lists


def _read_parquet(
    file: Path, schema: EntitySchema, first_row: int, labels: Labels
) -> Iterator[Batch]:
    with pq.ParquetFile(file) as parquet:
        names = parquet.schema_arrow.names
        wanted = [name for name in names if name in {"id", *schema.fields, *labels}]
        for record_batch in parquet.iter_batches(BATCH_ROWS, columns=wanted):
            yield _batch(pa.table(record_batch), schema, first_row, labels, names)
            first_row += record_batch.num_rows
        if parquet.metadata.num_rows == 0:
            nothing = parquet.schema_arrow.empty_table()
            yield _batch(nothing, schema, first_row, labels, names)


def _read_csv(file: Path, schema: EntitySchema, first_row: int, labels: Labels) -> Iterator[Batch]:
    with pa.input_stream(file, compression=_compression(file)) as stream:
        header = pyarrow.csv.open_csv(
            stream, parse_options=_CSV, read_options=pyarrow.csv.ReadOptions(block_size=1 << 24)
        ).schema.names
    text = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=True, null_values=[""]
    )
    with pa.input_stream(file, compression=_compression(file)) as stream:
        reader = pyarrow.csv.open_csv(
            stream,
            parse_options=_CSV,
            convert_options=text,
            read_options=pyarrow.csv.ReadOptions(block_size=1 << 24),
        )
        for record_batch in reader:
            table = pa.table(record_batch)
            for name in labels:
                if header.count(name) == 1:
                    split = _split_labels(table[name].combine_chunks())
                    table = table.set_column(header.index(name), name, split)
            yield _batch(table, schema, first_row, labels, header)
            first_row += table.num_rows


_CSV = pyarrow.csv.ParseOptions(newlines_in_values=True)


def _split_labels(cells: pa.StringArray) -> pa.ListArray:
    """Labels of CSV cells; an empty cell is an empty list."""
    lists = pc.split_pattern(pc.fill_null(cells, ""), LABEL_SEPARATOR)
    empty = pc.equal(pc.binary_length(pc.fill_null(cells, "")), 0)
    return pc.if_else(empty, pa.scalar([], lists.type), lists)


def _read_jsonl(
    file: Path, schema: EntitySchema, first_row: int, labels: Labels
) -> Iterator[Batch]:
    with pa.input_stream(file, compression=_compression(file)) as stream:
        lines = (line for line in io.BufferedReader(stream) if line.strip())
        while chunk := list(itertools.islice(lines, BATCH_ROWS)):
            records = [_parsed_line(line, first_row + i, file) for i, line in enumerate(chunk)]
            entities = from_records(records, schema, first_row)
            lists = {name: _record_labels(records, name) for name in labels}
            yield Batch(entities, **lists)
            first_row += len(records)


def _parsed_line(line: bytes, row: int, file: Path) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{file}: row {row} is not valid JSON") from error


def _record_labels(records: Sequence[Any], name: str) -> pa.ListArray | None:
    if not any(isinstance(record, dict) and name in record for record in records):
        return None
    given = [record.get(name) if isinstance(record, dict) else None for record in records]
    try:
        return label_lists(pa.array(given), name)
    except (pa.ArrowException, OverflowError) as error:
        raise DataError(f"{name!r} must be lists of text") from error


def _batch(
    table: pa.Table, schema: EntitySchema, first_row: int, labels: Labels, names: Sequence[str]
) -> Batch:
    """A batch from a table that has only some of the columns (`names`) of its source."""
    entities = conform(table, schema, first_row)
    entities = dataclasses.replace(entities, warnings=schema.warnings_for(names))
    present = [name for name in labels if name in table.column_names]
    return Batch(entities, **{name: label_lists(table[name], name) for name in present})


def _compression(file: Path) -> str | None:
    return COMPRESSIONS.get(file.suffix.lower())


def _first_line(error: Exception) -> str:
    """The first line of a message, without the row of a file that Arrow may quote at its end."""
    line = str(error).split("\n", 1)[0]
    return re.sub(r"(Expected \d+ columns, got \d+).*", r"\1", line)[:200]


_READERS = {"parquet": _read_parquet, "csv": _read_csv, "jsonl": _read_jsonl}
