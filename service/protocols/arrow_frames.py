"""The frames of an Arrow IPC stream, found without trusting them.

Arrow would allocate what a message declares. Here its lengths are read first, by the rules of the
format (https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
and its `Message.fbs`), and a message is handed on only when all of it has come.
"""

import dataclasses
import struct

from labelwright.entities.errors import DataError
from labelwright.service.http.body import BODY_LIMIT

MESSAGE_LIMIT = BODY_LIMIT
"""The largest message, in bytes; also of all dictionaries together."""
METADATA_LIMIT = 1 << 20
SCHEMA, DICTIONARY, BATCH = 1, 2, 3
"""Kinds of messages."""
_CONTINUATION = 0xFFFFFFFF
_MESSAGE_KIND, _MESSAGE_HEADER, _MESSAGE_BODY = 1, 2, 3
_BATCH_COMPRESSION = 3
_DICTIONARY_ID, _DICTIONARY_DATA, _DICTIONARY_DELTA = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Frame:
    """A whole message: its kind, all its bytes, and of a dictionary its number."""

    kind: int
    content: bytes
    dictionary: int = 0


class Frames:
    """Cuts a stream into messages as it comes."""

    def __init__(self) -> None:
        self._held = bytearray()
        self.ended = False

    def feed(self, received: bytes) -> None:
        """Take more of the stream."""
        self._held += received

    def take(self) -> Frame | None:
        """The next message that is complete; raises DataError for what is no message, or too large.

        `ended` tells when there are no more.
        """
        if self.ended or len(self._held) < 8:
            return None
        mark, size = struct.unpack_from("<II", self._held)
        if mark != _CONTINUATION or size > METADATA_LIMIT:
            raise DataError("not an Arrow IPC stream")
        if size == 0:
            self.ended = True
            return None
        if len(self._held) < 8 + size:
            return None
        try:
            frame, end = self._framed(bytes(self._held[8 : 8 + size]))
        except struct.error as error:
            raise DataError("not an Arrow IPC stream") from error
        if frame is not None:
            del self._held[:end]
        return frame

    @property
    def rest(self) -> int:
        """How many bytes have not been taken."""
        return len(self._held)

    def _framed(self, metadata: bytes) -> tuple[Frame | None, int]:
        """The message that begins what is held, if it is whole, and where it ends."""
        message = _Table(metadata, _uint32(metadata, 0))
        kind = message.number(_MESSAGE_KIND, "<B")
        size = message.number(_MESSAGE_BODY, "<q")
        if not 0 <= size <= MESSAGE_LIMIT:
            raise DataError(f"a message of an Arrow stream may have {MESSAGE_LIMIT:,} bytes")
        header = message.table(_MESSAGE_HEADER)
        number = 0
        if kind == DICTIONARY:
            number = header.number(_DICTIONARY_ID, "<q")
            if header.number(_DICTIONARY_DELTA, "<B"):
                raise DataError("a dictionary of an Arrow stream must come whole, without deltas")
            header = header.table(_DICTIONARY_DATA)
        if kind in (DICTIONARY, BATCH) and header.has(_BATCH_COMPRESSION):
            raise DataError("the buffers of an Arrow stream must not be compressed")
        end = 8 + len(metadata) + size
        if len(self._held) < end:
            return None, end
        return Frame(kind, bytes(self._held[:end]), number), end


class _Table:
    """A table of FlatBuffers, its fields found by offsets; raises struct.error and DataError."""

    def __init__(self, content: bytes, at: int) -> None:
        self._content, self._at = content, at
        self._fields = at - struct.unpack_from("<i", content, at)[0]
        if self._fields < 0:
            raise DataError("not an Arrow IPC stream")
        self._size = struct.unpack_from("<H", content, self._fields)[0]

    def has(self, field: int) -> bool:
        """Whether a field is there."""
        return self._offset(field) > 0

    def number(self, field: int, kind: str) -> int:
        """A number; 0 where it is missing."""
        offset = self._offset(field)
        return int(struct.unpack_from(kind, self._content, self._at + offset)[0]) if offset else 0

    def table(self, field: int) -> "_Table":
        """A table within this one; raises DataError where it is missing."""
        if not (offset := self._offset(field)):
            raise DataError("not an Arrow IPC stream")
        place = self._at + offset
        return _Table(self._content, place + _uint32(self._content, place))

    def _offset(self, field: int) -> int:
        place = 4 + 2 * field
        if place + 2 > self._size:
            return 0
        return int(struct.unpack_from("<H", self._content, self._fields + place)[0])


def _uint32(content: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", content, at)[0])
