"""Protocol of JSON Lines streams: a request has one entity in each line, a response one result."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from labelwright.entities.errors import DataError
from labelwright.entities.json_text import parse_json
from labelwright.entities.tables import Entities, from_records
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.registry import Model
from labelwright.service.engine.parts import lengths_of, ranges
from labelwright.service.http.streaming import Piece, rows_per_piece
from labelwright.service.protocols.results import lines
from labelwright.service.request import ParsedRequest

NDJSON = "application/x-ndjson"
LINE_LIMIT = 1 << 20
"""Maximum bytes of a line that is not complete yet."""
_INVALID = object()
"""The value of a line that is not JSON; `from_records` rejects it, as it is not a dictionary."""


class JsonLines:
    """Stream format of JSON Lines. The result of a line that is not JSON is an error."""

    media_type = NDJSON
    opening = ending = b""

    def __init__(self, query: LabelQuery) -> None:
        self._query = query
        self._rest = b""
        self._rows = 0

    @property
    def held_bytes(self) -> int:
        """The size of the incomplete line."""
        return len(self._rest)

    def split(self, received: Sequence[bytes], last: bool) -> Iterator[Piece]:
        """Pieces of the lines that `received` completes; `last` marks the end of the stream.

        Raises DataError if an incomplete line is longer than LINE_LIMIT.
        """
        *complete, rest = b"".join((self._rest, *received)).split(b"\n")
        self._rest = b"" if last else rest
        if len(self._rest) > LINE_LIMIT:
            raise DataError(f"a line may have {LINE_LIMIT:,} bytes at most")
        entities = [line for line in (*complete, *([rest] if last else [])) if line.strip()]
        for start, end in ranges(lengths_of(entities), rows_per_piece(self._query)):
            yield self._piece(entities[start:end])

    def failure(self, detail: str) -> bytes:
        """A line with the error `detail` and no id."""
        return orjson.dumps({"error": {"detail": detail}}) + b"\n"

    def _piece(self, received: Sequence[bytes]) -> Piece:
        query, first_row = self._query, self._rows
        self._rows += len(received)

        def parse(model: Model) -> ParsedRequest:
            return ParsedRequest(_entities(model, received, first_row), query)

        return Piece(len(received), parse, _serialise, sum(map(len, received)))


def _entities(model: Model, received: Sequence[bytes], first_row: int) -> Entities:
    records = [_parsed_line(line) for line in received]
    entities = from_records(records, model.bundle.labeler.schema, first_row)
    invalid = {row: "not valid JSON" for row, record in enumerate(records) if record is _INVALID}
    return entities.with_rejected(invalid)


def _serialise(model: Model, request: ParsedRequest, predictions: Predictions) -> bytes:
    return b"\n".join((*lines(request.entities, predictions), b""))


def _parsed_line(line: bytes) -> Any:
    """The value of a line, `_INVALID` if it is not JSON."""
    try:
        return parse_json(line)
    except json.JSONDecodeError:
        return _INVALID
