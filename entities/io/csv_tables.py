"""CSV as tables of text, read in blocks of whole rows.

pyarrow's streaming reader is not used. It reads ahead on threads that can outlive the program, does
not number the rows, and joins rows without an error if a quote is not doubled.
"""

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from labelwright.entities.io.text_files import (
    BYTE_ORDER_MARK,
    CONVERT_LATIN_1,
    LINE_LIMIT,
    ByteStream,
    TextFileError,
    check_encoding,
)
from labelwright.entities.schema import EntitySchema
from labelwright.entities.values import NUMBERED

_CELL = re.compile(
    rb'(?:"(?P<quoted>[^"]*+(?:""[^"]*+)*+)"(?P<after>[^,\r\n]*+)|(?!")[^,\r\n]*+)'
    rb"(?P<end>,|\r\n|\n|\r)"
)
"""A cell, the text after its closing quote, and the mark that ends it."""
BLOCK_BYTES = 1 << 24
"""The number of bytes that are read at a time."""
HEADER_LIMIT = 1 << 20
"""The largest number of bytes of the header."""
_QUOTE = b'"'
_NEWLINES = (b"\n", b"\r")
_NEAR = 1 << 16
"""The number of bytes that are searched or read first, in the expectation that they suffice."""
_BESIDE_QUOTES = np.isin(np.arange(256), list(b',\r\n"'))
"""The bytes that stand before an opening quote and after a closing quote."""
_RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")
_OPEN = 'a quote (") is not closed'
_NOT_DOUBLED = (
    'a quoted cell is followed by other text; a quote in a cell is written as two quotes (""), not '
    "with a backslash"
)


def whole_numbers(table: pa.Table, schema: EntitySchema) -> pa.Table:
    """Remove the fraction of whole numbers, such as `75001.0`, from ids, categories and phones.

    CSV has no types, and programs write whole numbers in this way if the column has gaps.
    """
    for position, name in enumerate(table.column_names):
        column = schema.column_of(name)
        numbered = name == "id" or (column and column.kind in NUMBERED)
        if numbered and pc.any(pc.ends_with(table[name], ".0")).as_py():
            whole = pc.replace_substring_regex(table[name], r"^(-?\d+)\.0$", r"\1")
            table = table.set_column(position, name, whole)
    return table


class CsvTables:
    """A CSV file with a header line, which is read in blocks of about `block_bytes` bytes.

    Reading the header raises TextFileError. A row with more than `row_limit` bytes is refused.
    """

    def __init__(
        self, stream: ByteStream, block_bytes: int = BLOCK_BYTES, row_limit: int = LINE_LIMIT
    ) -> None:
        self._stream = stream
        self._block_bytes = block_bytes
        self._row_limit = row_limit
        self._lines = 1
        """The number of the line at which the next block begins."""
        self._rest = stream.read(max(block_bytes, HEADER_LIMIT + 1))
        check_encoding(self._rest)
        self._rest = self._rest.removeprefix(BYTE_ORDER_MARK)
        self.header = self._read_header()

    def tables(self, wanted: Collection[str]) -> Iterator[pa.Table]:
        """The rows in order; cells are text, and empty cells are null. Raises TextFileError.

        A table has the `wanted` columns that the file has; it must have one. Text may be invalid
        UTF-8.
        """
        kept = [name for name in self.header if name in wanted]
        empty = True
        for block in self._blocks():
            table = self._parse(block, kept)
            empty &= not table.num_rows
            self._lines += _count_lines(block)
            yield table
        if empty:
            yield pa.table([pa.array([], pa.string())] * len(kept), kept)

    def _read_header(self) -> list[str]:
        """Read the header, after blank lines; raises TextFileError."""
        self._take(len(self._rest) - len(self._rest.lstrip(b"\r\n")))
        if not self._rest:
            raise TextFileError("Empty CSV file: the first line must have the names of columns")
        try:
            end = _end_of_row(self._rest[:HEADER_LIMIT] + b"\n", 0)
            if end is None or end > HEADER_LIMIT:
                raise TextFileError(f"the header has more than {HEADER_LIMIT:,} bytes, or {_OPEN}")
            return next(csv.reader(io.StringIO(self._take(end).decode(), newline="")))
        except _NotDoubledError as error:
            raise TextFileError(f"the header: {_NOT_DOUBLED}") from error
        except UnicodeDecodeError as error:
            raise TextFileError(f"the header is not valid UTF-8; {CONVERT_LATIN_1}") from error
        except csv.Error as error:
            raise TextFileError(f"the header cannot be read: {error}") from error

    def _take(self, size: int) -> bytes:
        taken, self._rest = self._rest[:size], self._rest[size:]
        self._lines += _count_lines(taken)
        return taken

    def _blocks(self) -> Iterator[bytes]:
        """Blocks of whole rows; raises TextFileError."""
        rest, data = b"", self._rest
        while data:
            block = rest + data
            end = self._end_of_rows(block)
            rest = block[end:]
            if end:
                yield block[:end]
            elif len(block) > self._row_limit:
                raise TextFileError(
                    f"line {self._lines:,} begins a row longer than {self._row_limit:,} bytes, "
                    f"or {_OPEN}"
                )
            data = self._stream.read(self._block_bytes)
        if rest and self._end_of_rows(rest + b"\n") <= len(rest):
            raise TextFileError(f"line {self._last_row(rest):,}: {_OPEN}")
        if rest:
            yield rest

    def _end_of_rows(self, block: bytes) -> int:
        """The end of the last complete row of a block, 0 if there is none."""
        try:
            return _Quotes(block).end_of_rows()
        except _NotDoubledError as error:
            line = self._lines + _count_lines(block[: error.at])
            raise TextFileError(f"line {line:,}: {_NOT_DOUBLED}") from error

    def _last_row(self, block: bytes) -> int:
        """The number of the line at which the last row of a block begins."""
        return self._lines + _count_lines(block[: self._end_of_rows(block)])

    def _parse(self, block: bytes, columns: Sequence[str]) -> pa.Table:
        """The given columns of rows; raises TextFileError for a row with too few or many cells."""
        single = len(self.header) == 1  # only then, a blank line is a row: its cell is empty
        try:
            return pyarrow.csv.read_csv(
                pa.BufferReader(_native_copy(block)),
                read_options=pyarrow.csv.ReadOptions(
                    use_threads=False, block_size=len(block) + 1, column_names=self.header
                ),
                parse_options=pyarrow.csv.ParseOptions(ignore_empty_lines=not single),
                convert_options=pyarrow.csv.ConvertOptions(
                    include_columns=columns,
                    column_types=dict.fromkeys(self.header, pa.string()),
                    strings_can_be_null=True,
                    null_values=[""],
                    check_utf8=False,
                ),
            )
        except pa.ArrowInvalid as error:
            if not (found := _RAGGED.search(str(error))):
                raise
            row, expected, given = map(int, found.groups())
            line = self._lines + _lines_before(block, row, single)
            raise TextFileError(
                f"line {line:,} has {given:,} cells; the header has {expected:,}"
            ) from error


class _NotDoubledError(Exception):
    """The row at the offset `at` has a quote that is not doubled, and would swallow other rows."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


class _Quotes:
    """The quotes of a block of CSV that begins with a row.

    In most files, quotes open and close cells in turn, and this is checked for all of them at once.
    Only rows near a quote at another place are read cell by cell.
    """

    def __init__(self, block: bytes) -> None:
        self._block = block
        self._data = np.frombuffer(block, np.uint8)
        self._at: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._misplaced = [self._at, self._at]
        if _QUOTE in block:
            data = self._data
            self._at = np.flatnonzero(data == _QUOTE[0])
            begins = (self._at == 0) | _BESIDE_QUOTES[data[self._at - 1]]
            last = len(block) - 1
            ends = (self._at == last) | _BESIDE_QUOTES[data[np.minimum(self._at + 1, last)]]
            even = np.arange(len(self._at)) % 2 == 0
            self._misplaced = [
                np.flatnonzero(~np.where(even, begins, ends)),
                np.flatnonzero(~np.where(even, ends, begins)),
            ]

    def end_of_rows(self) -> int:
        """The end of the last complete row, 0 if there is none; raises _NotDoubledError."""
        start, first = 0, 0  # the offset of a row, and the number of quotes before it
        while True:
            misplaced = self._misplaced[first % 2]
            found = int(np.searchsorted(misplaced, first))
            if found == len(misplaced):
                return self._last_row(start, len(self._block), first)
            near = int(self._at[misplaced[found]])
            start = self._last_row(start, near, first)
            while start < near + _NEAR:
                if (end := _end_of_row(self._block, start)) is None:
                    return start
                start = end
            first = int(np.searchsorted(self._at, start))

    def _last_row(self, start: int, stop: int, first: int) -> int:
        """The offset after the last newline outside of quotes between two offsets."""
        for newline in _NEWLINES:
            # the next block must not begin with the second half of \r\n
            end = stop if newline == b"\n" else min(stop, len(self._block) - 1)
            for begin in (max(start, end - _NEAR), start):
                at = begin + np.flatnonzero(self._data[begin:end] == newline[0])
                outside = (np.searchsorted(self._at, at) - first) % 2 == 0
                if outside.any():
                    return int(at[outside][-1]) + 1
        return start


def _end_of_row(block: bytes, start: int) -> int | None:
    """The end of the row at an offset, None if the row is not complete.

    Raises _NotDoubledError if text follows a closing quote, and the quote seems to belong to the
    cell: a backslash is before it, or the cell has several lines.
    """
    at = start
    while cell := _CELL.match(block, at):
        at = cell.end()
        quoted = cell["quoted"]
        if (cell["after"] or b"").strip() and (
            quoted.endswith(b"\\") or b"\n" in quoted or b"\r" in quoted
        ):
            raise _NotDoubledError(start)
        if cell["end"] != b",":
            return at
    return None


def _lines_before(block: bytes, row: int, blank_rows: bool) -> int:
    """The number of lines before a row, which count from 1; blank lines may be rows or not."""
    at = start = 0
    while row and (end := _end_of_row(block, at)) is not None:
        start, at = at, end
        row -= blank_rows or bool(block[start:at].strip(b"\r\n"))
    return _count_lines(block[: at if row else start])


def _count_lines(block: bytes) -> int:
    """The number of newlines of a block."""
    return block.count(b"\n") or block.count(b"\r")


def _native_copy(block: bytes) -> pa.Buffer:
    """A copy in Arrow's memory, which Arrow's threads can release without Python."""
    copy = pa.allocate_buffer(len(block))
    memoryview(copy).cast("B")[:] = block
    return copy
