"""Splitter of an Arrow IPC stream into messages, safe for input from any client.

The reader of pyarrow allocates the sizes that a message declares, before the bytes have arrived.
The splitter reads these sizes itself and checks them against limits. It returns a message only
after all bytes of the message have been received. The format is described at
https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
and in Arrow's `Message.fbs`.
"""

import dataclasses
import struct

from labelwright.entities.errors import DataError
from labelwright.service.http.body import BODY_LIMIT

MESSAGE_LIMIT = BODY_LIMIT
"""Maximum bytes in the body of a message, and in the messages of all dictionaries together."""
METADATA_LIMIT = 1 << 20
"""Maximum bytes in the metadata of a message."""
SCHEMA, DICTIONARY, BATCH = 1, 2, 3
"""Kinds of messages, numbered as in `Message.fbs`."""
_PREFIX_SIZE = 8
"""Bytes before the metadata of a message: a continuation marker, and the size of the metadata."""
_CONTINUATION = 0xFFFFFFFF
_MESSAGE_KIND, _MESSAGE_HEADER, _MESSAGE_BODY = 1, 2, 3
_BATCH_COMPRESSION = 3
_DICTIONARY_ID, _DICTIONARY_DATA, _DICTIONARY_DELTA = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Frame:
    """A complete message.

    `content` has all bytes of the message, from its continuation marker to the end of its body.
    `dictionary_id` is the id of a dictionary; for messages of other kinds it is 0.
    """

    kind: int
    content: bytes
    dictionary_id: int = 0


class Frames:
    """Splits a stream into messages while it is received.

    `ended` is true after the end marker of the stream.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.ended = False

    def feed(self, received: bytes) -> None:
        """Append received bytes of the stream."""
        self._buffer += received

    def take(self) -> Frame | None:
        """The next message, None if it is incomplete or if the stream has ended.

        Raises DataError for bytes that are not a message, and for a message that is too large or
        not supported.
        """
        if self.ended or len(self._buffer) < _PREFIX_SIZE:
            return None
        marker, size = struct.unpack_from("<II", self._buffer)
        if marker != _CONTINUATION or size > METADATA_LIMIT:
            raise DataError("not an Arrow IPC stream")
        if size == 0:
            self.ended = True
            del self._buffer[:_PREFIX_SIZE]
            return None
        if len(self._buffer) < _PREFIX_SIZE + size:
            return None
        try:
            frame = self._frame(bytes(self._buffer[_PREFIX_SIZE : _PREFIX_SIZE + size]))
        except struct.error as error:
            raise DataError("not an Arrow IPC stream") from error
        if frame is not None:
            del self._buffer[: len(frame.content)]
        return frame

    @property
    def pending_bytes(self) -> int:
        """The number of received bytes that `take` has not returned yet."""
        return len(self._buffer)

    def _frame(self, metadata: bytes) -> Frame | None:
        """The first message in the buffer, given its metadata; None if its body is incomplete."""
        message = _Table(metadata, _uint32(metadata, 0))
        kind = message.number(_MESSAGE_KIND, "<B")
        body_size = message.number(_MESSAGE_BODY, "<q")
        if not 0 <= body_size <= MESSAGE_LIMIT:
            raise DataError(
                f"a message of an Arrow stream may have at most {MESSAGE_LIMIT:,} bytes: send "
                "smaller batches"
            )
        header = message.table(_MESSAGE_HEADER)
        dictionary_id = 0
        if kind == DICTIONARY:
            dictionary_id = header.number(_DICTIONARY_ID, "<q")
            if header.number(_DICTIONARY_DELTA, "<B"):
                raise DataError(
                    "a dictionary of an Arrow stream must be sent whole: deltas are not supported"
                )
            header = header.table(_DICTIONARY_DATA)
        if kind in (DICTIONARY, BATCH) and header.has(_BATCH_COMPRESSION):
            raise DataError("the buffers of an Arrow stream must not be compressed")
        end = _PREFIX_SIZE + len(metadata) + body_size
        if len(self._buffer) < end:
            return None
        return Frame(kind, bytes(self._buffer[:end]), dictionary_id)


class _Table:
    """A FlatBuffers table at a position in `content`; fields are found through its vtable.

    Every method raises struct.error or DataError for offsets outside `content`.
    """

    def __init__(self, content: bytes, start: int) -> None:
        self._content, self._start = content, start
        self._vtable = start - struct.unpack_from("<i", content, start)[0]
        if self._vtable < 0:
            raise DataError("not an Arrow IPC stream")
        self._vtable_size = struct.unpack_from("<H", content, self._vtable)[0]

    def has(self, field: int) -> bool:
        """Whether the table has a field."""
        return self._offset(field) > 0

    def number(self, field: int, number_format: str) -> int:
        """The number in a field, in a format of `struct`; 0 if the table has no such field."""
        offset = self._offset(field)
        if not offset:
            return 0
        return int(struct.unpack_from(number_format, self._content, self._start + offset)[0])

    def table(self, field: int) -> "_Table":
        """The table in a field; raises DataError if this table does not have the field."""
        if not (offset := self._offset(field)):
            raise DataError("not an Arrow IPC stream")
        position = self._start + offset
        return _Table(self._content, position + _uint32(self._content, position))

    def _offset(self, field: int) -> int:
        """The offset of a field from the start of the table, 0 if the table does not have it."""
        position = 4 + 2 * field
        if position + 2 > self._vtable_size:
            return 0
        return int(struct.unpack_from("<H", self._content, self._vtable + position)[0])


def _uint32(content: bytes, offset: int) -> int:
    return int(struct.unpack_from("<I", content, offset)[0])
