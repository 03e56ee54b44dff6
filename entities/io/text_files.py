"""Encoding of text files, and their lines with a limit on the length."""

import codecs
import io
from collections.abc import Iterator
from typing import NamedTuple, Protocol

LINE_LIMIT = 16 << 20
"""The largest number of bytes of a line of JSON Lines, and of a row of CSV."""
BYTE_ORDER_MARK = codecs.BOM_UTF8
TOO_LONG = f"longer than {LINE_LIMIT:,} bytes"
CONVERT_LATIN_1 = "if the text is Latin-1, convert it: iconv -f LATIN1 -t UTF-8 FILE"
_UTF_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SHORTEST_MARK = 2


class ByteStream(Protocol):
    """A readable stream of bytes."""

    def read(self, size: int) -> bytes: ...


class TextFileError(ValueError):
    """A text file that cannot be read; the message says in which line, and what to do."""


def check_encoding(begin: bytes) -> None:
    """Raise TextFileError if the first bytes of a file show UTF-16 or UTF-32."""
    if begin.startswith(_UTF_32):
        encoding = "UTF-32"
    elif begin.startswith(_UTF_16) or 0 in begin[:_SHORTEST_MARK]:
        encoding = "UTF-16"
    else:
        return
    raise TextFileError(
        f"the text is {encoding}; convert it to UTF-8: iconv -f {encoding} -t UTF-8 FILE"
    )


class Line(NamedTuple):
    """A line of a file, and its number, which counts from 1."""

    number: int
    text: bytes


def numbered_lines(stream: io.BufferedIOBase) -> Iterator[Line]:
    """The lines of a stream that are not blank.

    A line that is longer than LINE_LIMIT is cut to LINE_LIMIT + 1 bytes. Raises TextFileError for
    UTF-16.
    """
    number = 0
    while line := stream.readline(LINE_LIMIT + 1):
        number += 1
        if number == 1:
            check_encoding(line)
            line = line.removeprefix(BYTE_ORDER_MARK)
        rest = line
        while len(rest) > LINE_LIMIT and not rest.endswith(b"\n"):
            rest = stream.readline(LINE_LIMIT + 1)
        if line.strip():
            yield Line(number, line)
