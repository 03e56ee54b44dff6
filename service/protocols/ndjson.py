"""Streams of JSON lines: an entity in each, and for each a line with its labels or its error."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from labelwright.entities.errors import DataError
from labelwright.entities.tables import Entities, from_records
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.registry import Model
from labelwright.service.http.streaming import Piece, rows_per_piece
from labelwright.service.protocols.label_messages import lines

NDJSON = "application/x-ndjson"
LINE_LIMIT = 1 << 20
"""The largest line, in bytes."""
_BROKEN = object()


class JsonLines:
    """The format of a stream of JSON lines; a line that is not JSON has an error of its own."""

    media_type = NDJSON
    opening = ending = b""

    def __init__(self, query: LabelQuery) -> None:
        self._question = query
        self._rest = b""
        self._rows = 0

    def split(self, received: Sequence[bytes], last: bool) -> Iterator[Piece]:
        """Pieces of whole lines; raises DataError for a line that is too long."""
        *whole, rest = b"".join((self._rest, *received)).split(b"\n")
        self._rest = b"" if last else rest
        if len(self._rest) > LINE_LIMIT:
            raise DataError(f"a line may have {LINE_LIMIT:,} bytes")
        found = [line for line in (*whole, *([rest] if last else [])) if line.strip()]
        size = rows_per_piece(self._question)
        for start in range(0, len(found), size):
            yield self._piece(found[start : start + size])

    def failure(self, detail: str) -> bytes:
        """A line with an error and no id."""
        return orjson.dumps({"error": {"detail": detail}}) + b"\n"

    def _piece(self, some: Sequence[bytes]) -> Piece:
        query, first_row = self._question, self._rows
        self._rows += len(some)
        return Piece(len(some), lambda model: (_read(model, some, first_row), query), _write)


def _read(model: Model, some: Sequence[bytes], first_row: int) -> Entities:
    records = [_parsed(line) for line in some]
    entities = from_records(records, model.bundle.labeler.schema, first_row)
    broken = {row: "not valid JSON" for row, each in enumerate(records) if each is _BROKEN}
    return dataclasses.replace(entities, rejected={**entities.rejected, **broken})


def _write(model: Model, entities: Entities, predictions: Predictions) -> bytes:
    return b"\n".join((*lines(entities, predictions), b""))


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return _BROKEN
