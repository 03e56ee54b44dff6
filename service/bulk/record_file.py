"""Files of records that can be read up to the first damaged or incomplete record.

A record is a table of labelled rows. In a file it is an Arrow stream after a head with the length
of the stream, the number of the record's first row, and a checksum. The checksum covers the head,
the stream and the key of the file, so records with another key are damaged records.
"""

import os
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from labelwright.entities.io.files import flush_to_disk

FLUSH_SECONDS = 5.0
"""A file is flushed to the disk at most once in this time, because a flush can be slow."""
_PLACE = struct.Struct("<QQ")
"""The length of the Arrow stream and the number of the first row."""
_CHECKSUM = struct.Struct("<I")
_PACKED = pa.ipc.IpcWriteOptions(compression="lz4")


class RecordWriter:
    """A new file of records; raises OSError.

    A record in the file survives the end of the process. It also survives a power failure if it is
    older than `FLUSH_SECONDS`, or if the file was closed with `flush`.
    """

    def __init__(self, path: Path, key: int) -> None:
        self._key = key
        self._file = path.open("wb")
        flush_to_disk(path.parent)
        self._flushed = time.monotonic()

    def add(self, record: pa.Table, first: int) -> None:
        """Append a record; `first` is the number of its first row."""
        content = to_stream(record, _PACKED)
        place = _PLACE.pack(len(content), first)
        self._file.write(place + _CHECKSUM.pack(_checksum(self._key, place, content)))
        self._file.write(content)
        self._file.flush()
        if time.monotonic() >= self._flushed + FLUSH_SECONDS:
            os.fsync(self._file.fileno())
            self._flushed = time.monotonic()

    def close(self, flush: bool) -> None:
        """Close the file, and flush it to the disk if `flush` is true."""
        with self._file:
            if flush:
                os.fsync(self._file.fileno())


def read_records(path: Path, key: int, first: int) -> Iterator[pa.Table]:
    """Read the records of a file, up to the first one that is damaged or incomplete.

    `first` is the number of the file's first row. Raises OSError.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while len(head := file.read(_PLACE.size + _CHECKSUM.size)) == _PLACE.size + _CHECKSUM.size:
            place = head[: _PLACE.size]
            length, row = _PLACE.unpack(place)
            if row != first or length > size - file.tell():
                return
            content = pa.py_buffer(file.read(length))
            if _CHECKSUM.unpack(head[_PLACE.size :]) != (_checksum(key, place, content),):
                return
            record = from_stream(content)
            first += len(record)
            yield record


def to_stream(records: pa.Table, options: pa.ipc.IpcWriteOptions | None = None) -> pa.Buffer:
    """Records as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, records.schema, options=options) as stream:
        stream.write_table(records)
    return sink.getvalue()


def from_stream(stream: pa.Buffer) -> pa.Table:
    """The records of an Arrow stream, without copying."""
    with pa.ipc.open_stream(stream) as reader:
        return reader.read_all()


def _checksum(key: int, place: bytes, content: pa.Buffer) -> int:
    return zlib.crc32(content, zlib.crc32(place, key))
