"""Decoding of untrusted Parquet in a separate process.

A forged footer can make pyarrow's Parquet reader abort, and forged pages can make it allocate any
amount of memory. The separate process may use at most MEMORY_LIMIT bytes of memory, and SECONDS for
each file. If the process aborts, the caller gets an error, and the next call starts a new process.

This module is also the program of that process. It reads from standard input a line of JSON
(`size`, `columns`, `rows`) followed by `size` bytes of Parquet. It writes a line of JSON (`size`,
`refused`) followed by `size` bytes: an Arrow stream, or the message of an error.
"""

import atexit
import contextlib
import io
import json
import os
import resource
import select
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from labelwright.entities.errors import DataError

MEMORY_LIMIT = 2 << 30
"""The largest address space of the process in bytes, including Python and the libraries."""
SECONDS = 5.0
"""The time limit of decoding one file, in seconds."""
BYTES_LIMIT = 64 << 20
"""The largest size of a decoded table, in bytes."""
COLUMNS_LIMIT = 1_000
_PIECE = 1_024
_KEPT = ("LD_LIBRARY_PATH", "PATH", "PYTHONPATH")
_UNREADABLE = "not valid Parquet, or decoding it takes too much time or memory"


class ParquetDecoder:
    """Client of the decoding process, which the first call starts; concurrent calls are queued."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def table(self, content: bytes, columns: Sequence[str], rows: int) -> pa.Table:
        """Decode the given columns of Parquet; columns that the content does not have are left out.

        Raises DataError if the content is not valid, exceeds a limit or has more than `rows` rows.
        """
        query = {"size": len(content), "columns": list(columns), "rows": rows}
        with self._lock:
            try:
                reply, refused = self._exchange(json.dumps(query).encode() + b"\n" + content)
            except (OSError, ValueError, EOFError) as error:
                self.close()
                raise DataError(_UNREADABLE) from error
        if refused:
            raise DataError(reply.decode())
        return pa.ipc.open_stream(reply).read_all()

    def close(self) -> None:
        """Kill the process, even if it is decoding."""
        atexit.unregister(self.close)
        process, self._process = self._process, None
        if process:
            process.kill()
            process.communicate()

    def _exchange(self, query: bytes) -> tuple[bytes, bool]:
        """Send a query and return the reply; raises OSError, ValueError or EOFError without one."""
        if self._process and self._process.poll() is not None:
            self.close()
        if self._process is None:
            self._process = _start()
            atexit.register(self.close)
        stdin, stdout = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        stdin.write(query)
        stdin.flush()
        waiting = select.poll()  # unlike select.select, it allows file numbers above 1,023
        waiting.register(stdout, select.POLLIN)
        if not waiting.poll(1_000 * SECONDS):
            raise TimeoutError
        head = json.loads(stdout.readline())
        return _read_exactly(stdout, head["size"]), head["refused"]


def _start() -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "labelwright.entities.io.sandbox"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment | {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"},
    )


def _read_exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise EOFError(f"the stream ended too early: {len(content):,} of {size:,} bytes")
    return content


def _decode(content: bytes, columns: Sequence[str], rows: int) -> pa.Table:
    """Decode a table; raises DataError if it exceeds a limit.

    If the content is not valid Parquet, pyarrow can raise any exception.
    """
    source = pa.BufferReader(content)
    names = pq.read_schema(source).names
    if len(names) > COLUMNS_LIMIT:
        raise DataError(f"a table may have at most {COLUMNS_LIMIT:,} columns")
    source.seek(0)
    parquet = pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True)
    if parquet.metadata.num_rows > rows:
        raise DataError(f"a table may have at most {rows:,} rows")
    found = [name for name in names if name in columns]
    batches, size, count = [], 0, 0
    for batch in parquet.iter_batches(_PIECE, columns=found, use_threads=False):
        size += batch.nbytes
        if size > BYTES_LIMIT:
            raise DataError(f"a decoded table may have at most {BYTES_LIMIT:,} bytes")
        batches.append(batch)
        count += batch.num_rows
    if count != parquet.metadata.num_rows:  # pyarrow reads fewer rows from some damaged pages
        raise DataError(_UNREADABLE)
    return pa.Table.from_batches(batches, pa.schema([parquet.schema_arrow.field(n) for n in found]))


def _replies(stream: IO[bytes]) -> Iterator[tuple[bytes, bool]]:
    """For each query of a stream, the reply, and whether the reply is an error message."""
    for line in stream:
        query: dict[str, Any] = json.loads(line)
        content = _read_exactly(stream, query["size"])
        try:
            table = _decode(content, query["columns"], query["rows"])
            sink = io.BytesIO()
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
            yield sink.getvalue(), False
        except DataError as error:
            yield str(error).encode(), True
        except Exception:  # noqa: BLE001 - pyarrow raises errors of many types
            yield _UNREADABLE.encode(), True


def main() -> None:
    """Reply to the queries of standard input until it ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(KeyboardInterrupt):
        for reply, refused in _replies(sys.stdin.buffer):
            head = json.dumps({"size": len(reply), "refused": refused})
            sys.stdout.buffer.write(head.encode() + b"\n" + reply)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
