"""Arrow IPC streams: batches of entities one way, batches of labels the other."""

import io
from collections.abc import Sequence

import pyarrow as pa

from entities.errors import DataError
from entities.schema import EntitySchema
from entities.tables import Entities, conform
from entities.writers import ANSWERS
from models.decisions import Answers, Question
from models.registry import Model
from service.protocols.messages import (
    BATCH,
    DICTIONARY,
    MESSAGE_LIMIT,
    SCHEMA,
    Frame,
    Frames,
)
from service.streams import Piece, piece_rows

ARROW = "application/vnd.apache.arrow.stream"
ANSWERED = ANSWERS.append(pa.field("error", pa.string()))
"""What is answered for each row: `labels` is null where there is an `error`."""
BATCH_ROWS_LIMIT = 1 << 20
"""Rows of a batch: columns that are all null take no bytes at all."""
COLUMNS_LIMIT = 1_000
_UNREADABLE = (pa.ArrowException, OSError, StopIteration, UnicodeDecodeError)
_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class ArrowStream:
    """The format of an Arrow IPC stream; columns that the schema does not know are passed over."""

    media_type = ARROW
    opening = ANSWERED.serialize().to_pybytes()
    ending = _END

    def __init__(self, question: Question, schema: EntitySchema) -> None:
        self._question = question
        self._known = {"id", *schema.fields}
        self._frames = Frames()
        self._source = io.BytesIO()
        self._reader: pa.RecordBatchStreamReader | None = None
        self._dictionaries: dict[int, int] = {}
        self._rows = 0

    def cut(self, received: Sequence[bytes], last: bool) -> list[Piece]:
        """Pieces of the batches that are complete; raises DataError."""
        self._frames.feed(b"".join(received))
        batches = []
        while frame := self._frames.take():
            if (batch := self._read(frame)) is not None:
                batches.append(batch)
        if last and (self._reader is None or (self._frames.rest and not self._frames.ended)):
            raise DataError("the Arrow stream is cut short")
        return self._pieces(pa.Table.from_batches(batches)) if batches else []

    def failure(self, detail: str) -> bytes:
        """A row with an error and no id."""
        return _message(
            pa.array([None], pa.string()), pa.nulls(1, ANSWERED.field(1).type), [detail]
        )

    def _read(self, frame: Frame) -> pa.RecordBatch | None:
        """The batch that a message completes; raises DataError."""
        if frame.kind == SCHEMA and self._reader is None:
            self._feed(frame)
            try:
                self._reader = pa.ipc.open_stream(self._source)
                self._check_columns(self._reader.schema)
            except _UNREADABLE as error:
                raise DataError("not an Arrow IPC stream") from error
            return None
        if frame.kind == DICTIONARY and self._reader:
            self._dictionaries[frame.dictionary] = len(frame.content)
            if sum(self._dictionaries.values()) > MESSAGE_LIMIT:
                raise DataError(f"dictionaries may have {MESSAGE_LIMIT:,} bytes")
            self._feed(frame)
            return None
        if frame.kind != BATCH or self._reader is None:
            raise DataError("an Arrow stream is a schema, dictionaries and batches")
        self._feed(frame)
        try:
            return _checked(self._reader.read_next_batch(), self._known)
        except _UNREADABLE as error:
            raise DataError("a batch of the Arrow stream is not valid") from error

    def _feed(self, frame: Frame) -> None:
        """Let the reader find a message, behind what it has not read yet."""
        rest = self._source.read()
        self._source.seek(0)
        self._source.truncate()
        self._source.write(rest + frame.content)
        self._source.seek(0)

    def _check_columns(self, schema: pa.Schema) -> None:
        if len(schema) > COLUMNS_LIMIT:
            raise DataError(f"a table may have {COLUMNS_LIMIT:,} columns")
        if not self._known & set(schema.names) - {"id"}:
            known = ", ".join(sorted(self._known - {"id"}))
            raise DataError(f"no column is known to the schema, which has {known}")

    def _pieces(self, table: pa.Table) -> list[Piece]:
        size = piece_rows(self._question)
        pieces = [
            self._piece(table.slice(start, size), self._rows + start)
            for start in range(0, len(table), size)
        ]
        self._rows += len(table)
        return pieces

    def _piece(self, table: pa.Table, first_row: int) -> Piece:
        def read(model: Model) -> tuple[Entities, Question]:
            return conform(table, model.bundle.labeler.schema, first_row), self._question

        return Piece(len(table), read, _write)


def _write(model: Model, entities: Entities, answers: Answers) -> bytes:
    labels = answers.to_arrow(list(entities.rejected))
    return _message(entities.ids, labels, entities.reasons)


def _message(ids: pa.Array, labels: pa.Array, errors: Sequence[str | None] | pa.Array) -> bytes:
    batch = pa.record_batch([ids, labels, pa.array(errors, pa.string())], schema=ANSWERED)
    content: bytes = batch.serialize().to_pybytes()
    return content


def _checked(batch: pa.RecordBatch, known: set[str]) -> pa.RecordBatch:
    """The known columns of a batch, safe to look at; raises ArrowInvalid and DataError.

    Offsets and lengths are checked before anything follows them; text that is not UTF-8 is for
    `conform`, which rejects its row.
    """
    if batch.num_rows > BATCH_ROWS_LIMIT:
        raise DataError(f"a batch may have {BATCH_ROWS_LIMIT:,} rows")
    wanted = [number for number, name in enumerate(batch.schema.names) if name in known]
    batch = batch.select(wanted)
    for column in batch.columns:
        column.validate()
        text = column.type == pa.string() or column.type == pa.large_string()
        plain = pa.binary() if column.type == pa.string() else pa.large_binary()
        (column.view(plain) if text else column).validate(full=True)
    return batch
