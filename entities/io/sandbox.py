"""Parquet of strangers, decoded in a process of its own.

pyarrow's reader of Parquet can be made to abort by a forged footer, and to take any memory by pages
that say more than they hold. Here it takes no more than MEMORY_LIMIT and SECONDS, and where it
aborts, a caller gets an error and the next one a new process.

Run as a program, this is that process: for each line of JSON on its standard input (`size`,
`columns`, `rows`) and so many bytes it writes a line (`size`, `refused`) and behind it an Arrow
stream, or the words of a refusal.
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
"""Bytes of addresses, the interpreter and its libraries included."""
SECONDS = 5.0
BYTES_LIMIT = 64 << 20
"""Bytes of a table after it has been decoded."""
COLUMNS_LIMIT = 1_000
_PIECE = 1_024
_KEPT = ("LD_LIBRARY_PATH", "PATH", "PYTHONPATH")
_UNREADABLE = "not valid Parquet"


class ParquetDecoder:
    """The process, started when it is first needed; threads wait for each other."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def table(self, content: bytes, columns: Sequence[str], rows: int) -> pa.Table:
        """The given columns of at most so many rows, as far as there are any; raises DataError."""
        query = {"size": len(content), "columns": list(columns), "rows": rows}
        with self._lock:
            try:
                answer, refused = self._ask(json.dumps(query).encode() + b"\n" + content)
            except (OSError, ValueError) as error:
                self.close()
                raise DataError(_UNREADABLE) from error
        if refused:
            raise DataError(answer.decode())
        return pa.ipc.open_stream(answer).read_all()

    def close(self) -> None:
        """End the process, whatever it does."""
        atexit.unregister(self.close)
        process, self._process = self._process, None
        if process:
            process.kill()
            process.communicate()

    def _ask(self, query: bytes) -> tuple[bytes, bool]:
        """What the process answers; raises OSError or ValueError where it does not."""
        if self._process and self._process.poll() is not None:
            self.close()
        if self._process is None:
            self._process = _started()
            atexit.register(self.close)
        to, back = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        to.write(query)
        to.flush()
        if not select.select([back], [], [], SECONDS)[0]:
            raise TimeoutError
        head = json.loads(back.readline())
        return _exactly(back, head["size"]), head["refused"]


def _started() -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "labelwright.entities.io.sandbox"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment | {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"},
    )


def _exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise EOFError("a process ended in the middle of its answer")
    return content


def _decoded(content: bytes, columns: Sequence[str], rows: int) -> pa.Table:
    """A table of no more than was agreed; raises DataError, and anything for what is no Parquet."""
    source = pa.BufferReader(content)
    names = pq.read_schema(source).names
    if len(names) > COLUMNS_LIMIT:
        raise DataError(f"a table may have {COLUMNS_LIMIT:,} columns")
    source.seek(0)
    parquet = pq.ParquetFile(source, pre_buffer=False)
    if parquet.metadata.num_rows > rows:
        raise DataError(f"a table may have {rows:,} rows")
    found = [name for name in names if name in columns]
    batches, size = [], 0
    for batch in parquet.iter_batches(_PIECE, columns=found, use_threads=False):
        size += batch.nbytes
        if size > BYTES_LIMIT:
            raise DataError("the columns of a table are too large")
        batches.append(batch)
    return pa.Table.from_batches(batches, pa.schema([parquet.schema_arrow.field(n) for n in found]))


def _answers(stream: IO[bytes]) -> Iterator[tuple[bytes, bool]]:
    for line in stream:
        asked: dict[str, Any] = json.loads(line)
        content = _exactly(stream, asked["size"])
        try:
            table = _decoded(content, asked["columns"], asked["rows"])
            sink = io.BytesIO()
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
            yield sink.getvalue(), False
        except DataError as error:
            yield str(error).encode(), True
        except Exception:  # noqa: BLE001 - whatever pyarrow says of it, it is not valid
            yield _UNREADABLE.encode(), True


def main() -> None:
    """Answer until standard input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(KeyboardInterrupt):
        for answer, refused in _answers(sys.stdin.buffer):
            head = json.dumps({"size": len(answer), "refused": refused})
            sys.stdout.buffer.write(head.encode() + b"\n" + answer)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
