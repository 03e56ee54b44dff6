"""Readers of entity files: Parquet (a file or a folder), CSV, JSON Lines and GeoJSON.

The suffix of the name determines the format. Files of all formats except Parquet may be compressed.
The name of a compressed file has a second suffix (`.gz`, `.zst`, `.bz2`, `.lz4`).
"""

import dataclasses
import io
import itertools
import json
import re
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from labelwright.entities.arrays import RejectedRows
from labelwright.entities.errors import DataError, first_line
from labelwright.entities.io.column_map import ColumnMap
from labelwright.entities.io.csv_tables import CsvTables, whole_numbers
from labelwright.entities.io.geojson import features, record_of
from labelwright.entities.io.label_columns import (
    SEPARATOR,
    cell_labels,
    first_doubtful,
    first_separated,
    label_lists,
    label_values,
    whole_labels,
    whole_value,
)
from labelwright.entities.io.locations import Location, LocationLike, locate
from labelwright.entities.io.text_files import (
    CONVERT_LATIN_1,
    LINE_LIMIT,
    TOO_LONG,
    Line,
    TextFileError,
    numbered_lines,
)
from labelwright.entities.json_text import parse_json
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities, check_columns, from_records, from_table
from labelwright.entities.values import NOT_UTF8

BATCH_ROWS = 16_384
CHUNK_BYTES = 64 << 20
"""The number of bytes of JSON Lines at which a batch ends, even if it has few rows."""
READ_BYTES = 1 << 20
"""The number of bytes that are read from a file at a time."""
FORMATS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".geojson": "geojson",
    ".geojsonl": "geojson",
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}
DEFAULT_PARTITION = "__HIVE_DEFAULT_PARTITION__"
"""The name of the folder with the rows whose partition column is null."""
SAME_NAMES = ColumnMap()
"""The column map of data whose columns have the names of the schema."""
LABEL_COLUMNS = ("labels", "absent")
_UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError, TextFileError)


@dataclasses.dataclass(frozen=True)
class Batch:
    """Consecutive rows of a file: the entities and their labels.

    `labels` has the labels of each row, and `absent` the labels that a row is known not to have.
    Each is a list<string> array, or None if the file has no such column. If `cells` is true, they
    are from cells of text, and a null list is from an empty cell. `share` is the share of the bytes
    of all files that has been read, from 0 to 1, or None if their size is not known. `names` are
    the names of all columns of the file, after mapping, as far as they are known.
    """

    entities: Entities
    labels: pa.ListArray | None = None
    absent: pa.ListArray | None = None
    cells: bool = False
    share: float | None = None
    names: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class _Chunk:
    """Consecutive rows of a file before they are checked: a table, lines, or records.

    `content` is None if the rows are skipped. `names` are the names of all columns of the file; a
    table may have fewer columns. `read` is the number of bytes of the file that have been read.
    """

    rows: int
    read: float
    content: pa.Table | list[Any] | None = None
    names: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class _InputFile:
    """A file to read: its size in bytes, the label columns to read, and the rows to skip.

    `columns` maps the columns of the schema to those of the file. `doubted` are the label columns
    about which a warning was given.
    """

    location: Location
    size: int
    schema: EntitySchema
    labels: Sequence[str]
    skip: int
    columns: ColumnMap
    doubted: set[str] = dataclasses.field(default_factory=set)

    @property
    def wanted(self) -> set[str]:
        """The names in the file of all columns that are read, if the file has them."""
        return {*map(self.columns.name_in_data, ("id", *self.schema.fields, *self.labels))}


def read_batches(
    where: LocationLike,
    schema: EntitySchema,
    first_row: int = 0,
    labelled: bool = True,
    skip: int = 0,
    columns: ColumnMap = SAME_NAMES,
) -> Iterator[Batch]:
    """Read the rows of a file or folder in order, in batches; raises DataError.

    Row numbers count from `first_row`. A row without an id gets `row-N`, N being its number, if the
    first batch has ids, and otherwise N. Labels are read only if `labelled` is true. The first
    `skip` rows are skipped. `columns` maps the columns of the schema to those of the data.
    """
    columns.check(schema)
    labels = LABEL_COLUMNS if labelled else ()
    files = files_of(where)
    sizes = [size_of(file) for file in files]
    before, total, named = 0, sum(sizes), None
    for location, size in zip(files, sizes, strict=True):
        file = _InputFile(location, size, schema, labels, skip, columns)
        try:
            for chunk in _READERS[format_of(location)](file):
                if named is None and chunk.rows:
                    named = _has_ids(chunk, file)
                skipped = min(skip, chunk.rows)
                skip -= skipped
                first_row += skipped
                if skipped < chunk.rows or not chunk.rows:
                    share = (before + chunk.read) / total if total else None
                    batch = _batch(chunk, skipped, file, first_row, bool(named))
                    yield dataclasses.replace(batch, share=share)
                    first_row += chunk.rows - skipped
            before += size
        except _UNREADABLE as error:
            raise DataError(f"{location} cannot be read: {message_of(error)}") from error


def size_of(file: Location) -> int:
    """The size of a file in bytes; 0 for a standard stream."""
    info = file.info()
    return info.size or 0 if info else 0


def count_rows(where: LocationLike) -> int | None:
    """The number of rows of a Parquet file or folder, from the metadata; raises DataError.

    None for other formats, because the rows can only be counted by reading them.
    """
    files = files_of(where)
    if any(format_of(file) != "parquet" for file in files):
        return None
    rows = 0
    try:
        for file in files:
            with file.open() as stream:
                rows += pq.read_metadata(stream).num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{where} cannot be read: {message_of(error)}") from error
    return rows


def files_of(where: LocationLike) -> list[Location]:
    """A file as a list, or the Parquet files of a folder in order of path; raises DataError.

    Hidden files are left out, as `Location.files` does.
    """
    location = locate(where)
    info = location.info()
    if info is None:
        return [location]
    if info.type == pyarrow.fs.FileType.NotFound:
        raise DataError(f"no file {location}")
    if info.type != pyarrow.fs.FileType.Directory:
        return [location]
    if not (files := [file for file in location.files() if file.name.lower().endswith(".parquet")]):
        raise DataError(f"folder {location} holds no .parquet file: a folder is read as Parquet")
    return files


def format_of(location: Location) -> str:
    """`parquet`, `csv`, `jsonl` or `geojson`, by the suffix of the name; raises DataError."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(location.name).suffixes]
    compressed = bool(suffixes) and suffixes[-1] in COMPRESSIONS
    if compressed:
        suffixes.pop()
    if not suffixes or suffixes[-1] not in FORMATS or (compressed and suffixes[-1] == ".parquet"):
        raise DataError(
            f"{location}: the name of a file must end in {', '.join(FORMATS)}; all but Parquet may "
            f"be compressed and end in {', '.join(COMPRESSIONS)}"
        )
    return FORMATS[suffixes[-1]]


def compression_of(location: Location) -> str | None:
    """The compression of a file by the suffix of its name; None if it is not compressed."""
    return COMPRESSIONS.get(PurePosixPath(location.name).suffix.lower())


def _read_parquet(file: _InputFile) -> Iterator[_Chunk]:
    with file.location.open() as stream:
        # without these options, the reader keeps all data in memory until the end of the file
        parquet = pq.ParquetFile(
            stream, pre_buffer=False, buffer_size=READ_BYTES, page_checksum_verification=True
        )
        groups = range(parquet.num_row_groups)
        sizes = [parquet.metadata.row_group(group).num_rows for group in groups]
        starts = [0, *itertools.accumulate(sizes)]
        first = max(n for n, start in enumerate(starts) if _can_begin(start, file.skip))
        read = starts[first]
        names = parquet.schema_arrow.names
        constants = {n: v for n, v in _partition(file).items() if n not in names}
        read_as = file.columns.rename_columns([*names, *constants])
        check_columns(read_as, file.schema)
        if read:
            yield _Chunk(read, 0, names=read_as)
        columns = [name for name in names if name in file.wanted]
        for batch in parquet.iter_batches(BATCH_ROWS, row_groups=groups[first:], columns=columns):
            read += batch.num_rows
            table = file.columns.rename_table(_with_constants(batch, constants))
            yield _Chunk(batch.num_rows, read / starts[-1] * file.size, table, read_as)
        if read != starts[-1]:  # pyarrow reads fewer rows from some damaged pages
            raise DataError(
                f"{file.location} is damaged: {read:,} of its {starts[-1]:,} rows can be read; "
                "copy or export the file again"
            )
        if not starts[-1]:
            empty = _with_constants(parquet.schema_arrow.empty_table().select(columns), constants)
            yield _Chunk(0, file.size, file.columns.rename_table(empty), read_as)


def _partition(file: _InputFile) -> dict[str, str | None]:
    """The columns in the path of a file, like `country=DE/`; a default partition is null."""
    parts = PurePosixPath(file.location.address).parent.parts
    pairs = (urllib.parse.unquote(part).partition("=") for part in parts if "=" in part)
    return {
        name: None if value == DEFAULT_PARTITION else value
        for name, _, value in pairs
        if name in file.wanted
    }


def _with_constants(
    rows: pa.RecordBatch | pa.Table, constants: Mapping[str, str | None]
) -> pa.Table:
    """A table with the columns of `rows`, and columns with the same text in all rows."""
    same = [pa.repeat(pa.scalar(text, pa.string()), rows.num_rows) for text in constants.values()]
    return pa.table([*rows.columns, *same], [*rows.schema.names, *constants])


def _can_begin(start: int, skip: int) -> bool:
    """Whether reading can begin at row `start` and give the same batches as from the first row."""
    return start <= skip and start % BATCH_ROWS == 0


def _read_csv(file: _InputFile) -> Iterator[_Chunk]:
    with file.location.open() as raw, _decompressed(raw, file.location) as stream:
        content = CsvTables(stream)
        names = file.columns.rename_columns(content.header)
        check_columns(names, file.schema)
        for original in content.tables(file.wanted):
            table = whole_numbers(file.columns.rename_table(original), file.schema)
            for start in range(0, table.num_rows or 1, BATCH_ROWS):
                rows = table.slice(start, BATCH_ROWS)
                yield _Chunk(rows.num_rows, _position(raw, file), rows, names)


def _read_jsonl(file: _InputFile) -> Iterator[_Chunk]:
    with file.location.open() as raw, _decompressed(raw, file.location) as stream:
        buffered = io.BufferedReader(stream, READ_BYTES)
        for rows in _in_chunks(numbered_lines(buffered)):
            yield _Chunk(len(rows), _position(raw, file), rows)


def _in_chunks(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Lists of at most BATCH_ROWS lines, with about CHUNK_BYTES bytes at most."""
    chunk, size = [], 0
    for line in lines:
        chunk.append(line)
        size += len(line.text)
        if len(chunk) == BATCH_ROWS or size > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _read_geojson(file: _InputFile) -> Iterator[_Chunk]:
    with file.location.open() as raw, _decompressed(raw, file.location) as stream:
        records = (_feature(feature, file) for feature in _counted(features(stream)))
        while rows := list(itertools.islice(records, BATCH_ROWS)):
            yield _Chunk(len(rows), _position(raw, file), rows)


def _counted(found: Iterator[Any]) -> Iterator[Any]:
    """Features; the error for a file that is not valid has the number of the feature."""
    number = 0
    try:
        for feature in found:
            number += 1
            yield feature
    except DataError as error:
        raise TextFileError(f"{error}, at or after feature {number + 1:,}") from error


def _feature(feature: Any, file: _InputFile) -> Any:
    """Convert a feature to a record; a text of labels is split at separators, as in CSV."""
    record = file.columns.rename_record(record_of(feature, file.schema))
    for name in file.labels:
        if name == "labels" and file.columns.whole_labels:
            continue
        if isinstance(record, dict) and isinstance(text := record.get(name), str):
            record[name] = cell_labels(text)
    return record


def _position(raw: pa.NativeFile, file: _InputFile) -> int:
    """The bytes read so far; 0 for a standard stream, whose size is not known."""
    return raw.tell() if file.size else 0


def _decompressed(raw: pa.NativeFile, file: Location) -> pa.NativeFile:
    compression = compression_of(file)
    if not compression:
        return raw
    return pa.CompressedInputStream(pa.BufferedInputStream(raw, READ_BYTES), compression)


def _has_ids(chunk: _Chunk, file: _InputFile) -> bool:
    """Whether a table has a column of ids, or one of the records has an id."""
    if not isinstance(chunk.content, list):
        return "id" in chunk.names
    parsed = (_parsed_or_none(one, file) for one in chunk.content)
    return any(isinstance(one, dict) and one.get("id") is not None for one in parsed)


def _batch(chunk: _Chunk, skipped: int, file: _InputFile, first_row: int, named: bool) -> Batch:
    """Check the rows of a chunk, without the first `skipped` rows.

    `named` is the argument of `from_table`.
    """
    if isinstance(chunk.content, pa.Table):
        return _table_batch(chunk.content.slice(skipped), file, first_row, named, chunk.names)
    records = (chunk.content or [])[skipped:]
    broken: dict[int, str] = {}
    if records and isinstance(records[0], Line):
        records, broken = _parsed_lines(records, file)
    entities = from_records(records, file.schema, first_row, named)
    if broken:
        rejected = dict(sorted({**entities.rejected, **broken}.items()))
        entities = dataclasses.replace(entities, rejected=rejected)
    whole = file.columns.whole_labels
    lists = {
        name: _record_labels(records, name, first_row, whole and name == "labels")
        for name in file.labels
    }
    names: dict[str, None] = {}
    if file.labels:
        names = dict.fromkeys(n for record in records if isinstance(record, dict) for n in record)
    return Batch(
        entities, lists.get("labels"), lists.get("absent"), cells=whole, names=tuple(names)
    )


def _table_batch(
    table: pa.Table, file: _InputFile, first_row: int, named: bool, names: Sequence[str]
) -> Batch:
    """Check a table; warnings are about `names`, the names of all columns of the file."""
    entities = from_table(table, file.schema, first_row, named)
    warnings = file.schema.warnings_for(names)
    cells = format_of(file.location) == "csv"
    rejected_rows = RejectedRows()
    lists = {}
    for name in file.labels:
        if name not in table.column_names:
            continue
        if name == "labels" and file.columns.whole_labels:
            whole = whole_labels(table[name], name, rejected_rows)
            if whole is not None:
                lists[name], cells = whole, True
                warnings += _doubts_of_whole(whole, file, first_row)
                continue
        lists[name] = label_lists(table[name], name, rejected_rows, cells)
        if cells:
            warnings += _doubts(table[name], name, file, first_row)
    rejected = dict(sorted({**rejected_rows.reasons, **entities.rejected}.items()))
    if any(reason.endswith(NOT_UTF8) for reason in rejected.values()):
        warnings.append(f"{file.location} has text that is {NOT_UTF8}; {CONVERT_LATIN_1}")
    return Batch(
        dataclasses.replace(entities, warnings=warnings, rejected=rejected),
        **lists,
        cells=cells,
        names=names,
    )


def _doubts(cells: pa.ChunkedArray, name: str, file: _InputFile, first_row: int) -> list[str]:
    """A warning about the first cell of a file that may have been meant as several labels."""
    row = None if name in file.doubted else first_doubtful(cells.combine_chunks())
    if row is None:
        return []
    file.doubted.add(name)
    return [
        f"{file.location}: {name!r} of row {first_row + row} has a comma or a semicolon, and is "
        f"read as one label; labels are separated by {SEPARATOR}"
    ]


def _doubts_of_whole(labels: pa.ListArray, file: _InputFile, first_row: int) -> list[str]:
    """A warning about the first cell of --label-column that may have been meant as several."""
    row = None if "labels" in file.doubted else first_separated(labels)
    if row is None:
        return []
    file.doubted.add("labels")
    name = file.columns.name_in_data("labels")
    return [
        f"{file.location}: {name!r} of row {first_row + row} has a {SEPARATOR}, and is read as one "
        f"label; --map labels={name} reads several labels of a cell"
    ]


def _parsed_lines(lines: Sequence[Line], file: _InputFile) -> tuple[list[Any], dict[int, str]]:
    """The values of lines of JSON, and the reason for each line that is not JSON.

    The value of a line that is not JSON is None. Raises TextFileError if the file begins with such
    lines only.
    """
    records: list[Any] = []
    broken: dict[int, str] = {}
    for row, line in enumerate(lines):
        try:
            records.append(file.columns.rename_record(_parsed(line.text)))
        except ValueError as error:
            records.append(None)
            broken[row] = f"line {line.number:,} is {error}"
    if len(broken) == len(lines) and lines[0].number == 1:
        raise TextFileError(f"{broken[0]}; JSON Lines have one object a line")
    return records, broken


def _parsed_or_none(record: Any, file: _InputFile) -> Any:
    """The value of a line, None if it is not JSON; a record is returned unchanged."""
    if not isinstance(record, Line):
        return record
    try:
        return file.columns.rename_record(_parsed(record.text))
    except ValueError:
        return None


def _parsed(line: bytes) -> Any:
    """The value of a line of JSON; raises ValueError."""
    if len(line) > LINE_LIMIT:
        raise ValueError(TOO_LONG)
    try:
        return parse_json(line)
    except json.JSONDecodeError as error:
        try:
            line.decode()
        except UnicodeDecodeError:
            raise ValueError(f"not valid UTF-8; {CONVERT_LATIN_1}") from error
        raise ValueError(f"not valid JSON at column {error.colno:,}") from error


def _record_labels(
    records: Sequence[Any], name: str, first_row: int, whole: bool
) -> pa.ListArray | None:
    if not any(isinstance(record, dict) and name in record for record in records):
        return None
    given = (record.get(name) if isinstance(record, dict) else None for record in records)
    return label_values(map(whole_value, given) if whole else given, name, first_row)


def message_of(error: Exception) -> str:
    """The first line of an error's message, without the data that Arrow may quote in it."""
    return re.sub(r"(Expected \d+ columns, got \d+).*", r"\1", first_line(error))


_READERS = {
    "parquet": _read_parquet,
    "csv": _read_csv,
    "jsonl": _read_jsonl,
    "geojson": _read_geojson,
}
