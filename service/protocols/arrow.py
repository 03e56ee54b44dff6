"""Arrow IPC streams: batches of entities one way, batches of labels the other."""

import io
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from labelwright.entities.errors import DataError
from labelwright.entities.io.writers import PREDICTIONS
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities, from_table
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.registry import Model
from labelwright.service.http.streaming import Piece, rows_per_piece
from labelwright.service.protocols.arrow_frames import (
    BATCH,
    DICTIONARY,
    MESSAGE_LIMIT,
    SCHEMA,
    Frame,
    Frames,
)

ARROW = "application/vnd.apache.arrow.stream"
ANSWERED = PREDICTIONS.append(pa.field("error", pa.string()))
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

    def __init__(self, query: LabelQuery, schema: EntitySchema) -> None:
        self._question = query
        self._known = {"id", *schema.fields}
        self._frames = Frames()
        self._source = io.BytesIO()
        self._reader: pa.RecordBatchStreamReader | None = None
        self._dictionaries = _Dictionaries()
        self._rows = 0

    def split(self, received: Sequence[bytes], last: bool) -> Iterator[Piece]:
        """Pieces of the batches that are complete; raises DataError."""
        self._frames.feed(b"".join(received))
        size = rows_per_piece(self._question)
        for table in _grouped(self._batches(last), size):
            for start in range(0, len(table), size):
                yield self._piece(table.slice(start, size))

    def failure(self, detail: str) -> bytes:
        """A row with an error and no id."""
        return _message(
            pa.array([None], pa.string()), pa.nulls(1, ANSWERED.field(1).type), [detail]
        )

    def _batches(self, last: bool) -> Iterator[pa.RecordBatch]:
        while frame := self._frames.take():
            if (batch := self._read(frame)) is not None:
                yield batch
        if last and (self._reader is None or (self._frames.rest and not self._frames.ended)):
            raise DataError("the Arrow stream is cut short")

    def _read(self, frame: Frame) -> pa.RecordBatch | None:
        """The batch that a message completes; raises DataError."""
        if frame.kind == SCHEMA and self._reader is None:
            self._feed(frame.content)
            try:
                self._reader = pa.ipc.open_stream(self._source)
                self._check_columns(self._reader.schema)
            except _UNREADABLE as error:
                raise DataError("not an Arrow IPC stream") from error
            return None
        if frame.kind == DICTIONARY and self._reader:
            self._dictionaries.keep(frame)
            return None
        if frame.kind != BATCH or self._reader is None:
            raise DataError("an Arrow stream is a schema, dictionaries and batches")
        self._feed(*self._dictionaries.taken(), frame.content)
        try:
            return _checked(self._reader.read_next_batch(), self._known)
        except _UNREADABLE as error:
            raise DataError("a batch of the Arrow stream is not valid") from error

    def _feed(self, *messages: bytes) -> None:
        """Let the reader find messages; it has read all before them."""
        self._source.seek(0)
        self._source.truncate()
        self._source.writelines(messages)
        self._source.seek(0)

    def _check_columns(self, schema: pa.Schema) -> None:
        if len(schema) > COLUMNS_LIMIT:
            raise DataError(f"a table may have {COLUMNS_LIMIT:,} columns")
        if not self._known & set(schema.names) - {"id"}:
            known = ", ".join(sorted(self._known - {"id"}))
            raise DataError(f"no column is known to the schema, which has {known}")

    def _piece(self, table: pa.Table) -> Piece:
        first_row = self._rows
        self._rows += len(table)

        def read(model: Model) -> tuple[Entities, LabelQuery]:
            return from_table(table, model.bundle.labeler.schema, first_row), self._question

        return Piece(len(table), read, _write)


class _Dictionaries:
    """Of each dictionary the latest message, until a batch comes that may need it."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._size = 0
        self._untaken: dict[int, bytes] = {}

    def keep(self, frame: Frame) -> None:
        """Put a dictionary in the place of the one before it; raises DataError."""
        size = len(frame.content)
        self._size += size - self._sizes.get(frame.dictionary, 0)
        if self._size > MESSAGE_LIMIT:
            raise DataError(f"dictionaries may have {MESSAGE_LIMIT:,} bytes")
        self._sizes[frame.dictionary] = size
        self._untaken[frame.dictionary] = frame.content

    def taken(self) -> Iterable[bytes]:
        """The messages that have come since this was last asked."""
        untaken, self._untaken = self._untaken, {}
        return untaken.values()


def _grouped(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """Neighbours that have up to so many rows together, and larger batches by themselves."""
    some: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        if some and rows + batch.num_rows > size:
            yield pa.Table.from_batches(some)
            some, rows = [], 0
        some.append(batch)
        rows += batch.num_rows
    if some:
        yield pa.Table.from_batches(some)


def _write(model: Model, entities: Entities, predictions: Predictions) -> bytes:
    labels = predictions.to_arrow(list(entities.rejected))
    return _message(entities.ids, labels, entities.reasons)


def _message(ids: pa.Array, labels: pa.Array, errors: Sequence[str | None] | pa.Array) -> bytes:
    batch = pa.record_batch([ids, labels, pa.array(errors, pa.string())], schema=ANSWERED)
    content: bytes = batch.serialize().to_pybytes()
    return content


def _checked(batch: pa.RecordBatch, known: set[str]) -> pa.RecordBatch:
    """The known columns of a batch, safe to look at; raises ArrowInvalid and DataError.

    Offsets and lengths are checked before anything follows them; text that is not UTF-8 is for
    `from_table`, which rejects its row.
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
