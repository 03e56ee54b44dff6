"""Streaming reader of GeoJSON: a FeatureCollection, a Feature, or a sequence of Features.

The reader keeps only one feature in memory at a time. RFC 7946 defines GeoJSON, and RFC 8142
defines sequences of features.
"""

import codecs
import json
from collections.abc import Iterator
from typing import Any

from labelwright.entities.errors import DataError
from labelwright.entities.geometry import geometry_centre
from labelwright.entities.io.text_files import ByteStream, check_encoding
from labelwright.entities.json_text import CONSTANTS
from labelwright.entities.schema import EntitySchema, Kind

_CHUNK = 1 << 20
FEATURE_LIMIT = 64 << 20
"""The largest number of characters of a feature."""
_SEPARATORS = " \t\r\n\x1e"
_VALUE_ENDS = f"{_SEPARATORS},]}}"
_NUMBER_TAIL = len(".0e+")
"""The number of following characters that show whether a number is complete.

A shorter rest of the text does not suffice, because `1` may be the start of `1.0e+2`.
"""


def features(stream: ByteStream) -> Iterator[dict[str, Any]]:
    """Read the features of a stream in order; raises DataError if it is not valid GeoJSON."""
    parser = _Parser(stream)
    while parser.peek():
        parser.expect("{")
        members: dict[str, Any] = {}
        while parser.peek() != "}":
            name = parser.value()
            parser.expect(":")
            if name == "features" and parser.peek() == "[":
                yield from _array(parser)
            else:
                members[str(name)] = parser.value()
            if parser.peek() == ",":
                parser.expect(",")
        parser.expect("}")
        if members.get("type") == "Feature":
            yield members


def record_of(feature: Any, schema: EntitySchema) -> Any:
    """Convert a feature to a record of its properties, its id and the centre of its geometry.

    The centre becomes the value of the first point column of the schema. A value that is not an
    object is returned unchanged.
    """
    if not isinstance(feature, dict):
        return feature
    record = dict(feature.get("properties") or {})
    if "id" in feature:
        record["id"] = feature["id"]
    point = next((column for column in schema.columns if column.kind is Kind.POINT), None)
    if point and (found := geometry_centre(feature.get("geometry"))):
        lat, lon = point.fields
        record[lon], record[lat] = found
    return record


def _array(parser: "_Parser") -> Iterator[Any]:
    parser.expect("[")
    while parser.peek() != "]":
        yield parser.value()
        if parser.peek() == ",":
            parser.expect(",")
    parser.expect("]")


class _Parser:
    """A parser of JSON that reads no more of a stream than it needs."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._scan = json.JSONDecoder(parse_constant=CONSTANTS.get).raw_decode
        self._text, self._at, self._first, self._ended = "", 0, True, False

    def peek(self) -> str:
        """The next character that is not a separator; empty at the end of the stream."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SEPARATORS:
                self._at += 1
            if self._at < len(self._text) or not self._more(_CHUNK):
                return self._text[self._at : self._at + 1]

    def expect(self, mark: str) -> None:
        """Consume a character; raises DataError if it is not the next one."""
        if self.peek() != mark:
            raise DataError(f"not valid GeoJSON: {mark!r} is missing")
        self._at += 1

    def value(self) -> Any:
        """Parse and consume the next value; raises DataError if it is not valid or too large."""
        self.peek()
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except (json.JSONDecodeError, RecursionError) as error:
                left = len(self._text) - self._at
                if left > FEATURE_LIMIT or not self._more(max(_CHUNK, left)):
                    raise DataError(
                        "not valid GeoJSON: a value is not JSON, or has more than "
                        f"{FEATURE_LIMIT:,} characters"
                    ) from error
                continue
            rest = self._text[end : end + _NUMBER_TAIL]
            ended = rest[:1] in _VALUE_ENDS or len(rest) == _NUMBER_TAIL
            complete = rest and (ended or not isinstance(value, int | float))
            if complete or not self._more(_CHUNK):
                self._at = end
                return value

    def _more(self, size: int) -> bool:
        """Read another chunk of the stream; returns false at the end of the stream."""
        if self._ended:
            return False
        data = self._stream.read(size)
        if self._first:
            check_encoding(data)
        self._first, self._ended = False, not data
        self._text = self._text[self._at :] + self._decode(data, self._ended)
        self._at = 0
        return True
