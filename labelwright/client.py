"""HTTP client of the service, which sends rows and receives results at the same time.

The client keeps each row until its result has arrived. If the service is busy or the connection
breaks, the client waits (for the time in `Retry-After`, if the response has this header), and then
sends the rows without a result again.
"""

import collections
import contextlib
import http.client
import io
import itertools
import json
import random
import socket
import ssl
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa

from labelwright.entities.errors import ServiceError
from labelwright.entities.tables import frame_table
from labelwright.entities.values import json_value

Row = TypeVar("Row")
Result = TypeVar("Result", covariant=True)

TRIES = 6
"""Attempts without a new result before ServiceError is raised."""
LONGEST_WAIT = 60.0
"""Maximum time in seconds between two attempts, even if `Retry-After` is longer."""
BUSY = (429, 502, 503, 504)
"""HTTP statuses after which another attempt may succeed."""
ROWS_AT_ONCE = 256
"""Number of JSON rows in one chunk of the request body."""
PIECE_BYTES = 1 << 22
"""Maximum size of an Arrow batch in bytes. The service refuses batches of more than 16 MiB."""
PIECE_ROWS = 1 << 16
"""Maximum number of rows of an Arrow batch, whose results arrive together."""


class Client:
    """Client of the service at a URL such as `http://127.0.0.1:8000`.

    `headers` are sent with every request, for example `{"Authorization": "Bearer KEY"}`. A
    connection without traffic for `timeout` seconds is treated as broken.
    """

    def __init__(
        self, url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 60.0
    ) -> None:
        self._url = urllib.parse.urlsplit(url)
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise ValueError("the URL of a service must be http://HOST:PORT or https://HOST:PORT")
        self._headers = dict(headers or {})
        self._timeout = timeout

    def label_rows(
        self, rows: Iterable[Mapping[str, Any]], **query: Any
    ) -> Iterator[dict[str, Any]]:
        """Label entities given as dicts, and yield one result for each entity, in order.

        A result has the `id` of the entity, and either its `labels` and its `primary` (the most
        probable kind, None for a model without kinds) or an `error`. `query` has the
        query parameters of `POST /v1/labels`: top_k, policy, min_probability, only, min_precision.
        Raises ServiceError if the service refuses the request or fails TRIES times in a row.
        """
        return self._stream(_JsonRows(rows), query)

    def label_batches(
        self, batches: Iterable[pa.RecordBatch], **query: Any
    ) -> Iterator[pa.RecordBatch]:
        """Label Arrow batches of one schema, and yield batches of results.

        The columns are `id`, `labels`, `primary` and `error`.

        There is one output row for each input row, in order, but batches may be divided
        differently. See `label_rows` for `query` and for the errors.
        """
        remaining = iter(batches)
        for first in remaining:
            yield from self._stream(_ArrowRows(itertools.chain([first], remaining)), query)

    def label(self, table: Any, **query: Any) -> pa.Table:
        """Label an Arrow table, or a frame of pandas or Polars.

        Returns an Arrow table with one row for each input row, as `label_batches`. Raises DataError
        if a column of a frame has values of several types.
        """
        table = _arrow_table(table)
        batches = table.to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
        rows = _ArrowRows(batches)
        results = list(self._stream(rows, query))
        return pa.Table.from_batches(results, rows.schema)

    def _stream(self, rows: "_Rows[Row, Result]", query: Mapping[str, Any]) -> Iterator[Result]:
        path = f"{self._url.path.rstrip('/')}/v1/labels?{urllib.parse.urlencode(query, True)}"
        tries = 0
        while True:
            try:
                for result in self._attempt(rows, path):
                    tries = 0
                    yield result
                return
            except _BusyError as error:
                tries += 1
                if tries == TRIES:
                    raise ServiceError(f"{error}, {TRIES} times in a row") from error
                time.sleep(error.wait or random.uniform(0.1, 0.2) * 2**tries)  # noqa: S311

    def _attempt(self, rows: "_Rows[Row, Result]", path: str) -> Iterator[Result]:
        """Send all rows without a result, and yield their results.

        Raises _BusyError if another attempt may succeed, and ServiceError if not.
        """
        failed: list[Exception] = []
        try:
            with self._connected() as connection:
                _begin(connection, path, {**self._headers, "Content-Type": rows.media_type})
                with _sending(connection.sock, rows.chunks(), failed):
                    response = connection.getresponse()
                    _check(response)
                    yield from rows.results(response)
        except (OSError, http.client.HTTPException, pa.ArrowInvalid) as error:
            if failed:
                raise failed[0] from error
            raise _BusyError(f"the connection to the service broke ({error!r})") from error
        if rows.pending:
            raise _BusyError("the service sent fewer results than rows")

    @contextlib.contextmanager
    def _connected(self) -> Iterator[http.client.HTTPConnection]:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "https":
            context = ssl.create_default_context()
            secure = http.client.HTTPSConnection(host, port, timeout=self._timeout, context=context)
            connection: http.client.HTTPConnection = secure
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self._timeout)
        with contextlib.closing(connection):
            connection.connect()
            yield connection


class _BusyError(Exception):
    """A temporary failure; `wait` is the time of `Retry-After` in seconds, or 0 without it."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = min(wait, LONGEST_WAIT)


class _Rows(Protocol[Row, Result]):
    """Rows in one wire format; `pending` has the rows that were sent and have no result yet."""

    media_type: str
    pending: collections.deque[Row]

    def chunks(self) -> Iterator[bytes]:
        """Yield the chunks of a request body with all rows that have no result."""
        ...

    def results(self, response: io.BufferedIOBase) -> Iterator[Result]:
        """Read results from a response, and remove their rows from `pending`."""
        ...


class _PendingRows(Generic[Row]):
    """Rows of an iterable; each row is kept until its result has arrived."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = iter(rows)
        self.pending: collections.deque[Row] = collections.deque()

    def unfinished(self) -> Iterator[Row]:
        """Yield all rows without a result: first the pending rows, then new rows."""
        yield from tuple(self.pending)
        for row in self._rows:
            self.pending.append(row)
            yield row


class _JsonRows(_PendingRows[Mapping[str, Any]]):
    """Entities as JSON Lines."""

    media_type = "application/x-ndjson"

    def chunks(self) -> Iterator[bytes]:
        rows = self.unfinished()
        while chunk := list(itertools.islice(rows, ROWS_AT_ONCE)):
            yield "".join(json.dumps(row, default=json_value) + "\n" for row in chunk).encode()

    def results(self, response: io.BufferedIOBase) -> Iterator[dict[str, Any]]:
        for line in response:
            result = json.loads(line)
            if "id" not in result:  # the whole stream has failed
                raise ServiceError(result["error"]["detail"])
            self.pending.popleft()
            yield result


class _ArrowRows(_PendingRows[pa.RecordBatch]):
    """Arrow batches as an IPC stream; `schema` is the schema of the results."""

    media_type = "application/vnd.apache.arrow.stream"

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        super().__init__(piece for batch in batches for piece in _pieces(batch))
        self.schema: pa.Schema | None = None

    def chunks(self) -> Iterator[bytes]:
        sink = io.BytesIO()
        writer = None
        for batch in self.unfinished():
            writer = writer or pa.ipc.new_stream(sink, batch.schema)
            writer.write_batch(batch)
            yield _drain(sink)
        if writer:
            writer.close()
            yield _drain(sink)

    def results(self, response: io.BufferedIOBase) -> Iterator[pa.RecordBatch]:
        reader = pa.ipc.open_stream(response)
        self.schema = reader.schema
        for batch in reader:
            if batch.num_rows and not batch["id"][0].is_valid:  # the whole stream has failed
                raise ServiceError(batch["error"][0].as_py())
            self._remove_pending(batch.num_rows)
            yield batch
        self._remove_pending(0)

    def _remove_pending(self, rows: int) -> None:
        """Remove the first `rows` pending rows, and empty batches directly after them."""
        while self.pending and (rows or not self.pending[0].num_rows):
            first = self.pending.popleft()
            if rows < first.num_rows:
                self.pending.appendleft(first.slice(rows))
                return
            rows -= first.num_rows


def _arrow_table(rows: Any) -> pa.Table:
    if isinstance(rows, pa.Table):
        return rows
    if "pandas" in sys.modules and isinstance(rows, sys.modules["pandas"].DataFrame):
        return frame_table(rows)
    return pa.table(rows)


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Slices of a batch that the service accepts: without dictionaries, and not too large."""
    without_views = _converted(batch.schema, _without_views)  # Arrow decodes no dictionary of views
    schema = _converted(without_views, _without_dictionary)
    for start in range(0, max(batch.num_rows, 1), PIECE_ROWS):
        rows = batch.slice(start, PIECE_ROWS)
        yield from _halved(rows if rows.schema == schema else rows.cast(without_views).cast(schema))


def _converted(schema: pa.Schema, convert: Callable[[pa.DataType], pa.DataType]) -> pa.Schema:
    """A schema of the same values, in which the types of all plain values are converted."""

    def converted(field: pa.Field) -> pa.Field:
        kind = field.type
        if pa.types.is_struct(kind):
            return field.with_type(pa.struct([converted(member) for member in kind]))
        if pa.types.is_list(kind):
            return field.with_type(pa.list_(converted(kind.value_field)))
        if pa.types.is_large_list(kind):
            return field.with_type(pa.large_list(converted(kind.value_field)))
        if pa.types.is_fixed_size_list(kind):
            return field.with_type(pa.list_(converted(kind.value_field), kind.list_size))
        return field.with_type(convert(kind))

    return pa.schema([converted(field) for field in schema])


def _without_views(kind: pa.DataType) -> pa.DataType:
    """The type of the same text or binary, whose slices have only the bytes of their rows."""
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _without_views(kind.value_type), kind.ordered)
    if pa.types.is_string_view(kind):
        return pa.large_string()
    return pa.large_binary() if pa.types.is_binary_view(kind) else kind


def _without_dictionary(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _halved(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Slices of a batch that have at most PIECE_BYTES bytes, or one row."""
    if batch.num_rows <= 1 or batch.nbytes <= PIECE_BYTES:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _halved(batch.slice(0, half))
    yield from _halved(batch.slice(half))


def _drain(sink: io.BytesIO) -> bytes:
    """Return the bytes of the buffer and empty it."""
    content = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return content


def _begin(connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str]) -> None:
    connection.putrequest("POST", path, skip_accept_encoding=True)
    for name, value in {**headers, "Transfer-Encoding": "chunked"}.items():
        connection.putheader(name, value)
    connection.endheaders()


@contextlib.contextmanager
def _sending(
    connected: socket.socket, chunks: Iterator[bytes], failed: list[Exception]
) -> Iterator[None]:
    """Send a request body in a second thread.

    An exception that the iterable of the caller raises is appended to `failed`.
    """

    def send() -> None:
        try:
            for chunk in chunks:
                connected.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            connected.sendall(b"0\r\n\r\n")
        except OSError:  # the thread that reads the results gets this error too
            pass
        except Exception as error:  # noqa: BLE001 - raised by the caller's iterable
            failed.append(error)
            _shut_down(connected)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        _shut_down(connected)
        thread.join()


def _shut_down(connected: socket.socket) -> None:
    """Shut down a connection, so that threads that wait for it continue."""
    with contextlib.suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _check(response: http.client.HTTPResponse) -> None:
    """Raise _BusyError or ServiceError if the status of the response is not 200."""
    if response.status == http.HTTPStatus.OK:
        return
    try:
        detail = json.loads(response.read(1 << 16)).get("detail") or response.reason
    except (ValueError, AttributeError):
        detail = response.reason
    message = f"the service returned status {response.status}: {detail}"
    if response.status in BUSY:
        wait = response.headers.get("Retry-After", "")
        raise _BusyError(message, float(wait) if wait.isdecimal() else 0.0)
    raise ServiceError(message)
