"""Files of entities as Arrow tables: Parquet (a file or a folder), CSV, JSON Lines, GeoJSON.

The end of the name tells the format; all but Parquet may be compressed (`.gz`, `.zst`, ...).
"""

import csv
import dataclasses
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.fs
import pyarrow.parquet as pq

from labelwright.entities.arrays import is_text
from labelwright.entities.errors import DataError
from labelwright.entities.io.column_map import ColumnMap
from labelwright.entities.io.geojson import features, record_of
from labelwright.entities.io.locations import Location, LocationLike, locate
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities, from_records, from_table

BATCH_ROWS = 16_384
READ_BYTES = 1 << 20
"""How much of a file is read at a time."""
FORMATS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".geojson": "geojson",
    ".geojsonl": "geojson",
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}
SAME_NAMES = ColumnMap()
"""Data whose columns are called as in the schema."""
LABEL_COLUMNS = ("labels", "absent")
LABEL_SEPARATOR = "|"
"""What stands between labels in a CSV cell."""
HEADER_LIMIT = READ_BYTES
"""Bytes within which the header of a CSV file ends."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some consecutive rows of a file: the entities, and the labels that came with them.

    `labels`, and those that are known to be `absent`, are list<string> arrays, or None where the
    file has no such column. `share` is how much of all there is has been read after it, None where
    nobody knows.
    """

    entities: Entities
    labels: pa.ListArray | None = None
    absent: pa.ListArray | None = None
    share: float | None = None


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Consecutive rows of a file as they stand there: a table, lines of JSON, or parsed records.

    `content` is None for rows that are passed over; `names` are those of all columns of a table;
    `read` says how many bytes of the file have been read after it.
    """

    rows: int
    read: float
    content: pa.Table | list[Any] | None = None
    names: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class _Source:
    """A file, its size in bytes, the columns of labels to read, and how many rows to pass over.

    `columns` says what the file calls the columns of the schema.
    """

    file: Location
    size: int
    schema: EntitySchema
    labels: Sequence[str]
    skip: int
    columns: ColumnMap


def read_batches(
    where: LocationLike,
    schema: EntitySchema,
    first_row: int = 0,
    labelled: bool = True,
    skip: int = 0,
    columns: ColumnMap = SAME_NAMES,
) -> Iterator[Batch]:
    """The rows of a file or folder in order, a few thousand at a time; raises DataError.

    `first_row` is the number of the first row, for ids that are made. What labels they have is read
    only if they are to come `labelled`. The first `skip` rows are passed over. `columns` says what
    the data calls the columns of the schema.
    """
    columns.check(schema)
    labels = LABEL_COLUMNS if labelled else ()
    files = files_of(where)
    sizes = [size_of(file) for file in files]
    before, total = 0, sum(sizes)
    for file, size in zip(files, sizes, strict=True):
        source = _Source(file, size, schema, labels, skip, columns)
        try:
            for piece in _READERS[format_of(file)](source):
                passed = min(skip, piece.rows)
                skip -= passed
                first_row += passed
                if passed < piece.rows or not piece.rows:
                    share = (before + piece.read) / total if total else None
                    yield dataclasses.replace(_batch(piece, passed, source, first_row), share=share)
                    first_row += piece.rows - passed
            before += size
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file} cannot be read: {first_line(error)}") from error


def size_of(file: Location) -> int:
    """The bytes of a file; 0 of a standard stream."""
    info = file.info()
    return info.size or 0 if info else 0


def count_rows(where: LocationLike) -> int | None:
    """How many rows a path holds where that is known without reading it (Parquet), else None."""
    files = files_of(where)
    if any(format_of(file) != "parquet" for file in files):
        return None
    rows = 0
    try:
        for file in files:
            with file.open() as stream:
                rows += pq.read_metadata(stream).num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{where} cannot be read: {first_line(error)}") from error
    return rows


def files_of(where: LocationLike) -> list[Location]:
    """The file itself, or the Parquet files of a folder in order of name; raises DataError."""
    location = locate(where)
    info = location.info()
    if info is None:
        return [location]
    if info.type == pyarrow.fs.FileType.NotFound:
        raise DataError(f"no file {location}")
    if info.type != pyarrow.fs.FileType.Directory:
        return [location]
    if not (files := [file for file in location.files() if file.name.endswith(".parquet")]):
        raise DataError(f"folder {location} holds no .parquet file")
    return files


def format_of(location: Location) -> str:
    """`parquet`, `csv` or `jsonl`, by the end of the name; raises DataError."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(location.name).suffixes]
    compressed = bool(suffixes) and suffixes[-1] in COMPRESSIONS
    if compressed:
        suffixes.pop()
    if not suffixes or suffixes[-1] not in FORMATS or (compressed and suffixes[-1] == ".parquet"):
        raise DataError(
            f"{location}: a file must end in {', '.join(FORMATS)} (text may end in .gz)"
        )
    return FORMATS[suffixes[-1]]


def compression_of(location: Location) -> str | None:
    """How text is compressed, by the end of the name."""
    return COMPRESSIONS.get(PurePosixPath(location.name).suffix.lower())


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


def _read_parquet(source: _Source) -> Iterator[_Piece]:
    with source.file.open() as stream:
        # with neither, the reader keeps all that it has read until it is done
        parquet = pq.ParquetFile(stream, pre_buffer=False, buffer_size=READ_BYTES)
        groups = range(parquet.num_row_groups)
        sizes = [parquet.metadata.row_group(group).num_rows for group in groups]
        starts = [0, *itertools.accumulate(sizes)]
        first = max(n for n, start in enumerate(starts) if _begins_a_batch(start, source.skip))
        read = starts[first]
        if read:
            yield _Piece(read, 0)
        names = parquet.schema_arrow.names
        read_as = source.columns.of(names)
        wanted = {*map(source.columns.source, ("id", *source.schema.fields, *source.labels))}
        columns = [name for name in names if name in wanted]
        for batch in parquet.iter_batches(BATCH_ROWS, row_groups=groups[first:], columns=columns):
            read += batch.num_rows
            table = source.columns.table(pa.table(batch))
            yield _Piece(batch.num_rows, read / starts[-1] * source.size, table, read_as)
        if not starts[-1]:
            nothing = source.columns.table(parquet.schema_arrow.empty_table())
            yield _Piece(0, source.size, nothing, read_as)


def _begins_a_batch(start: int, skip: int) -> bool:
    """Whether reading can begin at a group of rows: batches are the same wherever it begins."""
    return start <= skip and start % BATCH_ROWS == 0


def _read_csv(source: _Source) -> Iterator[_Piece]:
    with source.file.open() as raw, _decompressed(raw, source.file) as stream:
        buffered = io.BufferedReader(stream, HEADER_LIMIT)
        header = csv_header(buffered.peek(HEADER_LIMIT))
        names = source.columns.of(header)
        for record_batch in csv_batches(buffered, header):
            table = source.columns.table(pa.table(record_batch))
            for name in source.labels:
                if names.count(name) == 1:
                    split = _split_labels(table[name].combine_chunks())
                    table = table.set_column(names.index(name), name, split)
            yield _Piece(table.num_rows, _position(raw, source), table, names)


def csv_header(begin: bytes) -> list[str]:
    """The names of the columns, from the beginning of a CSV file."""
    lines = io.StringIO(begin.decode("utf-8-sig", "replace"), newline="")
    return next((row for row in csv.reader(lines) if row), [])


def csv_batches(stream: io.BufferedIOBase, header: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows of CSV, all of them text, null where a cell is empty; raises ArrowInvalid."""
    reader = pyarrow.csv.open_csv(
        stream,
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()),
            strings_can_be_null=True,
            null_values=[""],
        ),
        read_options=pyarrow.csv.ReadOptions(block_size=1 << 24),
    )
    yield from reader


def _split_labels(cells: pa.StringArray) -> pa.ListArray:
    """Labels of CSV cells; an empty cell is an empty list."""
    lists = pc.split_pattern(pc.fill_null(cells, ""), LABEL_SEPARATOR)
    empty = pc.equal(pc.binary_length(pc.fill_null(cells, "")), 0)
    return pc.if_else(empty, pa.scalar([], lists.type), lists)


def _read_jsonl(source: _Source) -> Iterator[_Piece]:
    with source.file.open() as raw, _decompressed(raw, source.file) as stream:
        buffered = io.BufferedReader(stream, READ_BYTES)
        lines = (line for line in buffered if line.strip())
        while chunk := list(itertools.islice(lines, BATCH_ROWS)):
            yield _Piece(len(chunk), _position(raw, source), chunk)


def _read_geojson(source: _Source) -> Iterator[_Piece]:
    with source.file.open() as raw, _decompressed(raw, source.file) as stream:
        records = (_feature(feature, source) for feature in features(stream))
        while chunk := list(itertools.islice(records, BATCH_ROWS)):
            yield _Piece(len(chunk), _position(raw, source), chunk)


def _feature(feature: Any, source: _Source) -> Any:
    """A feature as a record; labels may be one text, as in CSV: its properties often are."""
    record = source.columns.record(record_of(feature, source.schema))
    for name in source.labels:
        if isinstance(record, dict) and isinstance(text := record.get(name), str):
            record[name] = text.split(LABEL_SEPARATOR) if text else []
    return record


def _position(raw: pa.NativeFile, source: _Source) -> int:
    """Bytes read so far; a standard stream, which has no size, does not tell."""
    return raw.tell() if source.size else 0


def _decompressed(raw: pa.NativeFile, file: Location) -> pa.NativeFile:
    compression = compression_of(file)
    if not compression:
        return raw
    return pa.CompressedInputStream(pa.BufferedInputStream(raw, READ_BYTES), compression)


def _batch(piece: _Piece, passed: int, source: _Source, first_row: int) -> Batch:
    """What a piece holds after the rows that are passed over."""
    if isinstance(piece.content, pa.Table):
        return _table_batch(piece.content.slice(passed), source, first_row, piece.names)
    given = (piece.content or [])[passed:]
    records = [
        _parsed_line(one, first_row + n, source) if isinstance(one, bytes) else one
        for n, one in enumerate(given)
    ]
    entities = from_records(records, source.schema, first_row)
    return Batch(entities, **{name: _record_labels(records, name) for name in source.labels})


def _table_batch(table: pa.Table, source: _Source, first_row: int, names: Sequence[str]) -> Batch:
    """A batch from a table that has only some of the columns (`names`) of its file."""
    entities = from_table(table, source.schema, first_row)
    entities = dataclasses.replace(entities, warnings=source.schema.warnings_for(names))
    present = [name for name in source.labels if name in table.column_names]
    return Batch(entities, **{name: label_lists(table[name], name) for name in present})


def _parsed_line(line: bytes, row: int, source: _Source) -> Any:
    try:
        return source.columns.record(orjson.loads(line))
    except orjson.JSONDecodeError as error:
        raise DataError(f"{source.file}: row {row} is not valid JSON") from error


def _record_labels(records: Sequence[Any], name: str) -> pa.ListArray | None:
    if not any(isinstance(record, dict) and name in record for record in records):
        return None
    given = [record.get(name) if isinstance(record, dict) else None for record in records]
    try:
        return label_lists(pa.array(given), name)
    except (pa.ArrowException, OverflowError) as error:
        raise DataError(f"{name!r} must be lists of text") from error


def first_line(error: Exception) -> str:
    """The first line of a message, without the row of a file that Arrow may quote at its end."""
    line = str(error).split("\n", 1)[0]
    return re.sub(r"(Expected \d+ columns, got \d+).*", r"\1", line)[:200]


_READERS = {
    "parquet": _read_parquet,
    "csv": _read_csv,
    "jsonl": _read_jsonl,
    "geojson": _read_geojson,
}
