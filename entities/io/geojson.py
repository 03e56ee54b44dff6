"""GeoJSON as records: a FeatureCollection of any size, a Feature, or one Feature after another.

What is held in memory is one feature at a time, whatever the size of the collection (RFC 7946; of
newline-delimited features RFC 8142).
"""

import codecs
import json
from collections.abc import Iterator
from typing import Any, Protocol

from labelwright.entities.errors import DataError
from labelwright.entities.geometry import geometry_centre
from labelwright.entities.schema import EntitySchema, Kind

_CHUNK = 1 << 20
FEATURE_LIMIT = 64 << 20
"""The largest feature, in characters."""
_BETWEEN = " \t\r\n\x1e"
_ENDS = f"{_BETWEEN},]}}"
_EXPONENT = len(".0e+")
"""A number may go on after what has been read of it: as many characters tell that it does not."""


class Bytes(Protocol):
    """Anything that bytes can be read from."""

    def read(self, size: int) -> bytes: ...


def features(stream: Bytes) -> Iterator[dict[str, Any]]:
    """The features of a file in order; raises DataError where it is no GeoJSON."""
    text = _Text(stream)
    while text.peek():
        text.take("{")
        members: dict[str, Any] = {}
        while text.peek() != "}":
            name = text.value()
            text.take(":")
            if name == "features" and text.peek() == "[":
                yield from _array(text)
            else:
                members[str(name)] = text.value()
            if text.peek() == ",":
                text.take(",")
        text.take("}")
        if members.get("type") == "Feature":
            yield members


def record_of(feature: Any, schema: EntitySchema) -> Any:
    """A feature as a record: its properties, its id, and the centre of its geometry.

    The centre goes to the first point of the schema. What is no feature is left as it is.
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


def _array(text: "_Text") -> Iterator[Any]:
    text.take("[")
    while text.peek() != "]":
        yield text.value()
        if text.peek() == ",":
            text.take(",")
    text.take("]")


class _Text:
    """JSON text that is read as far as it is needed."""

    def __init__(self, stream: Bytes) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._scan = json.JSONDecoder().raw_decode
        self._text, self._at, self._ended = "", 0, False

    def peek(self) -> str:
        """The next character that is not between values; empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _BETWEEN:
                self._at += 1
            if self._at < len(self._text) or not self._more(_CHUNK):
                return self._text[self._at : self._at + 1]

    def take(self, mark: str) -> None:
        """Pass over a mark that must be there."""
        if self.peek() != mark:
            raise DataError(f"this is not GeoJSON: {mark} is missing")
        self._at += 1

    def value(self) -> Any:
        """The next value."""
        self.peek()
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except (json.JSONDecodeError, RecursionError) as error:
                left = len(self._text) - self._at
                if left > FEATURE_LIMIT or not self._more(max(_CHUNK, left)):
                    raise DataError("this is not GeoJSON: a value cannot be read") from error
                continue
            rest = self._text[end : end + _EXPONENT]
            ended = rest[:1] in _ENDS or len(rest) == _EXPONENT
            whole = rest and (ended or not isinstance(value, int | float))
            if whole or not self._more(_CHUNK):
                self._at = end
                return value

    def _more(self, size: int) -> bool:
        """Read on; False where there is nothing left."""
        if self._ended:
            return False
        data = self._stream.read(size)
        self._ended = not data
        self._text = self._text[self._at :] + self._decode(data, self._ended)
        self._at = 0
        return True
