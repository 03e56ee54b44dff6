"""Cache of embeddings by content, in the state folder.

Each encoder has a folder, and each process writes segments of its own in it. Therefore processes
never wait for each other. A segment is an Arrow stream, one batch for each chunk of texts. If a
process is killed, only the batch that it was writing is lost. Vectors with a wrong checksum are
ignored: a power failure may damage a file. Files may be deleted at any time.
"""

import contextlib
import hashlib
import os
import secrets
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.errors import reason
from labelwright.models.paths import home

Keys = npt.NDArray[np.uint8]
Halves = npt.NDArray[np.float16]
KEY = 16
"""Size of a key in bytes."""
LIMIT = 4 << 30
"""Maximum size in bytes of all segments: about five million vectors of 384 components. The segments
of the encoder that was unused for longest are deleted first, and the oldest of them first."""
SEGMENT = 256 << 20
"""Size in bytes at which the next segment begins: only whole segments can be deleted."""
SUFFIX = ".arrows"
_VECTORS_AT_ONCE = 1 << 14
"""Number of vectors that are copied from the segments at a time."""
_TEXTS_AT_ONCE = 1 << 16
"""Number of texts that are converted to Python strings at a time."""


def content_keys(texts: pa.StringArray) -> Keys:
    """BLAKE2b hashes of texts, uint8[n, KEY]."""
    digests = bytearray()
    for first in range(0, len(texts), _TEXTS_AT_ONCE):
        for text in texts.slice(first, _TEXTS_AT_ONCE).to_pylist():
            digests += hashlib.blake2b(text.encode(), digest_size=KEY).digest()
    return np.frombuffer(digests, np.uint8).reshape(len(texts), KEY)


def cache_folder() -> Path:
    """The folder of the segments of all encoders."""
    return home() / "cache" / "embeddings"


class EmbeddingCache:
    """The cached vectors of one encoder: unit length, float16 components.

    Training does not need the cache. If it cannot be written, `warnings` has a sentence.
    """

    def __init__(self, identity: str, width: int) -> None:
        self._folder = cache_folder() / identity
        self._width = width
        columns = {"key": pa.binary(KEY), "vector": pa.binary(2 * width), "crc": pa.uint32()}
        self._schema = pa.schema(columns)
        self._open: tuple[pa.OSFile, pa.RecordBatchStreamWriter] | None = None
        self.warnings: list[str] = []

    def read(self, keys: Keys) -> tuple[Halves, npt.NDArray[np.bool_]]:
        """The vectors of keys, float16[n, width], and the mask (bool[n]) of the cached keys.

        The vectors of the other keys have no meaning.
        """
        vectors = np.zeros((len(keys), self._width), np.float16)
        found = np.zeros(len(keys), np.bool_)
        stored = pa.Table.from_batches(self._batches(), self._schema)
        positions = pc.index_in(_binary(keys), value_set=stored["key"])
        hits, positions = np.flatnonzero(positions.is_valid()), positions.drop_null()
        for first in range(0, len(hits), _VECTORS_AT_ONCE):
            rows = hits[first : first + _VECTORS_AT_ONCE]
            taken = stored.take(positions.slice(first, _VECTORS_AT_ONCE))
            contents = taken["vector"].to_pylist()
            vectors[rows] = np.frombuffer(b"".join(contents), np.float16).reshape(len(rows), -1)
            found[rows] = _checksums(contents) == taken["crc"].to_numpy()
        return vectors, found

    def append(self, keys: Keys, vectors: Halves) -> None:
        """Write vectors; what was written is kept even if the process is killed."""
        if self.warnings:  # it could not be written before
            return
        try:
            if self._open and self._open[0].tell() > SEGMENT:
                self.close()
            self._open = self._open or self._new_segment()
            checksums = _checksums([vector.tobytes() for vector in vectors])
            columns = [_binary(keys), _binary(vectors.view(np.uint8)), pa.array(checksums)]
            self._open[1].write_batch(pa.record_batch(columns, self._schema))
        except OSError as error:
            self.warnings.append(
                f"embeddings cannot be cached in {self._folder}: {reason(error)}; the next "
                "training embeds the same texts again"
            )

    def close(self) -> None:
        """Close the segment of this process, and delete old segments if there are too many."""
        if self._open is None:
            return
        file, writer = self._open
        self._open = None
        with contextlib.suppress(OSError), file:
            writer.close()
        _delete_old_segments()

    def _new_segment(self) -> "tuple[pa.OSFile, pa.RecordBatchStreamWriter]":
        # The vectors tell much about the texts, so only the owner of the folder may read them.
        cache_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.mkdir(exist_ok=True)
        name = f"{time.time_ns():020}-{secrets.token_hex(4)}{SUFFIX}"
        file = pa.OSFile(str(self._folder / name), "wb")
        return file, pa.ipc.new_stream(file, self._schema)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        """The complete batches of all segments, the newest segment first.

        If a vector is damaged, there may be a copy of it in a newer segment.
        """
        for path in sorted(self._folder.glob(f"*{SUFFIX}"), reverse=True):
            # A segment has no end if its process was killed or is still writing.
            with contextlib.suppress(OSError, pa.ArrowException, StopIteration):
                now = time.time_ns()  # exact, unlike the file system's own clock
                os.utime(path, ns=(now, now))  # it is in use
                reader = pa.ipc.open_stream(pa.memory_map(str(path)))
                while reader.schema == self._schema:
                    batch = reader.read_next_batch()
                    batch.validate()
                    yield batch


def _delete_old_segments() -> None:
    """Delete segments until their size is within the limit."""
    with contextlib.suppress(OSError):  # another process may delete the same files
        segments = sorted(
            cache_folder().glob(f"*/*{SUFFIX}"),
            key=lambda path: (path.stat().st_mtime_ns, path.name),
        )
        excess = sum(path.stat().st_size for path in segments) - LIMIT
        for path in segments:
            if excess <= 0:
                break
            excess -= path.stat().st_size
            path.unlink()


def _checksums(contents: Sequence[bytes]) -> npt.NDArray[np.uint32]:
    return np.fromiter(map(zlib.crc32, contents), np.uint32, len(contents))


def _binary(rows: npt.NDArray[np.uint8]) -> pa.FixedSizeBinaryArray:
    """The rows of a matrix of bytes."""
    buffer = pa.py_buffer(np.ascontiguousarray(rows))
    return pa.Array.from_buffers(pa.binary(rows.shape[1]), len(rows), [None, buffer])
