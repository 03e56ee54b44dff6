"""Protocol of Arrow IPC streams: requests are batches of entities, responses batches of results."""

import io
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from labelwright.entities.arrays import text_sizes
from labelwright.entities.errors import DataError
from labelwright.entities.io.writers import PREDICTIONS
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import from_table
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.registry import Model
from labelwright.service.engine.parts import ranges
from labelwright.service.http.streaming import Piece, rows_per_piece
from labelwright.service.protocols.arrow_frames import (
    BATCH,
    DICTIONARY,
    MESSAGE_LIMIT,
    SCHEMA,
    Frame,
    Frames,
)
from labelwright.service.request import ParsedRequest

ARROW = "application/vnd.apache.arrow.stream"
RESULTS = PREDICTIONS.append(pa.field("error", pa.string()))
"""The schema of a response. It has one row for each entity; either `labels` or `error` is null.
`primary` is null where `labels` is, and for a model without kinds."""
BATCH_ROWS_LIMIT = 1 << 20
"""Maximum rows in a batch. MESSAGE_LIMIT is not enough: a column of type null has no bytes."""
COLUMNS_LIMIT = 1_000
"""Maximum columns of a table."""
_UNREADABLE = (pa.ArrowException, OSError, StopIteration, UnicodeDecodeError)
_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class ArrowStream:
    """Stream format of Arrow IPC streams. Columns that are not in the schema are ignored."""

    media_type = ARROW
    opening = RESULTS.serialize().to_pybytes()
    ending = _END

    def __init__(self, query: LabelQuery, schema: EntitySchema) -> None:
        self._query = query
        self._known = {"id", *schema.fields}
        self._frames = Frames()
        self._buffer = io.BytesIO()
        self._reader: pa.RecordBatchStreamReader | None = None
        self._dictionaries = _Dictionaries()
        self._rows = 0

    @property
    def held_bytes(self) -> int:
        """The size of the incomplete message, the last batch and all dictionaries.

        pyarrow keeps the dictionaries, and the buffer that it read the batch from.
        """
        read = self._buffer.getbuffer().nbytes
        return self._frames.pending_bytes + 2 * read + 2 * self._dictionaries.size

    def split(self, received: Sequence[bytes], last: bool) -> Iterator[Piece]:
        """Pieces of the batches that `received` completes; `last` marks the end of the stream.

        Raises DataError for a stream that is not valid, too large or incomplete at its end.
        """
        self._frames.feed(b"".join(received))
        size = rows_per_piece(self._query)
        for table in _grouped(self._batches(last), size):
            sizes = np.zeros(len(table), np.int64)
            for column in table.columns:
                sizes += text_sizes(column)
            for start, end in ranges(sizes, size):
                yield self._piece(table.slice(start, end - start), int(sizes[start:end].sum()))

    def failure(self, detail: str) -> bytes:
        """A batch of one row, which has the error `detail` and no id."""
        nulls = [pa.nulls(1, field.type) for field in PREDICTIONS]
        return _message(nulls, pa.array([detail], pa.string()))

    def _batches(self, last: bool) -> Iterator[pa.RecordBatch]:
        while frame := self._frames.take():
            if (batch := self._read(frame)) is not None:
                yield batch
        if self._frames.ended and self._frames.pending_bytes:
            raise DataError("there is data after the end of the Arrow stream; send it separately")
        if last and (self._reader is None or self._frames.pending_bytes):
            raise DataError("the Arrow stream is incomplete: it ends within a message")

    def _read(self, frame: Frame) -> pa.RecordBatch | None:
        """The batch in a message, None for a message with a schema or a dictionary.

        Raises DataError for a message that is not valid or not in this order.
        """
        if frame.kind == SCHEMA and self._reader is None:
            self._feed(frame.content)
            try:
                self._reader = pa.ipc.open_stream(self._buffer)
                self._check_columns(self._reader.schema)
            except _UNREADABLE as error:
                raise DataError("not an Arrow IPC stream: its schema cannot be read") from error
            return None
        if frame.kind == DICTIONARY and self._reader:
            self._dictionaries.keep(frame)
            return None
        if frame.kind != BATCH or self._reader is None:
            raise DataError("an Arrow stream must be a schema, then dictionaries and batches")
        self._feed(*self._dictionaries.take(), frame.content)
        try:
            return _checked(self._reader.read_next_batch(), self._known)
        except _UNREADABLE as error:
            raise DataError("a batch of the Arrow stream is not valid") from error

    def _feed(self, *messages: bytes) -> None:
        """Make messages the next input of the reader, which has read all earlier messages."""
        self._buffer.seek(0)
        self._buffer.truncate()
        self._buffer.writelines(messages)
        self._buffer.seek(0)

    def _check_columns(self, schema: pa.Schema) -> None:
        if len(schema) > COLUMNS_LIMIT:
            raise DataError(f"a table may have at most {COLUMNS_LIMIT:,} columns")
        if not self._known & set(schema.names) - {"id"}:
            known = ", ".join(sorted(self._known - {"id"}))
            raise DataError(f"no column is known to the schema, which has {known}")

    def _piece(self, table: pa.Table, size: int) -> Piece:
        first_row = self._rows
        self._rows += len(table)

        def parse(model: Model) -> ParsedRequest:
            entities = from_table(table, model.bundle.labeler.schema, first_row)
            return ParsedRequest(entities, self._query)

        return Piece(len(table), parse, _serialise, size)


class _Dictionaries:
    """Dictionary messages for the next batch: the latest unread message of each dictionary.

    `size` is the size of the latest messages of all dictionaries.
    """

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self.size = 0
        self._unread: dict[int, bytes] = {}

    def keep(self, frame: Frame) -> None:
        """Keep a message in place of the previous message with the same dictionary id.

        Raises DataError if all dictionaries together are larger than MESSAGE_LIMIT.
        """
        size = len(frame.content)
        self.size += size - self._sizes.get(frame.dictionary_id, 0)
        if self.size > MESSAGE_LIMIT:
            raise DataError(f"all dictionaries together may have at most {MESSAGE_LIMIT:,} bytes")
        self._sizes[frame.dictionary_id] = size
        self._unread[frame.dictionary_id] = frame.content

    def take(self) -> Iterable[bytes]:
        """The messages that were kept since the last call."""
        unread, self._unread = self._unread, {}
        return unread.values()


def _grouped(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """Tables of consecutive batches with up to `size` rows; a larger batch is a separate table."""
    group: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        if group and rows + batch.num_rows > size:
            yield pa.Table.from_batches(group)
            group, rows = [], 0
        group.append(batch)
        rows += batch.num_rows
    if group:
        yield pa.Table.from_batches(group)


def _serialise(model: Model, request: ParsedRequest, predictions: Predictions) -> bytes:
    entities = request.entities
    predicted = predictions.columns(list(entities.rejected))
    return _message([entities.ids, *predicted.values()], entities.rejection_reasons)


def _message(columns: Sequence[pa.Array], errors: pa.Array) -> bytes:
    batch = pa.record_batch([*columns, errors], schema=RESULTS)
    content: bytes = batch.serialize().to_pybytes()
    return content


def _checked(batch: pa.RecordBatch, known: set[str]) -> pa.RecordBatch:
    """The known columns of a batch after validation; raises ArrowInvalid and DataError.

    Offsets and lengths are validated before any other code uses them. Text is validated as bytes
    only, because `from_table` rejects the rows whose text is not UTF-8.
    """
    if batch.num_rows > BATCH_ROWS_LIMIT:
        raise DataError(f"a batch may have {BATCH_ROWS_LIMIT:,} rows at most: send smaller batches")
    columns = [number for number, name in enumerate(batch.schema.names) if name in known]
    batch = batch.select(columns)
    for column in batch.columns:
        column.validate()
        text = column.type == pa.string() or column.type == pa.large_string()
        plain = pa.binary() if column.type == pa.string() else pa.large_binary()
        (column.view(plain) if text else column).validate(full=True)
    return batch
