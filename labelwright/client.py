"""A client of the service's streams: labels come while rows are still being sent.

It keeps rows until they are answered. Where the service is busy or the connection breaks, it waits,
as long as `Retry-After` says, and goes on with the rows that have no answer yet.
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
import threading
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa

from labelwright.entities.errors import ServiceError

Row = TypeVar("Row")
Answer = TypeVar("Answer", covariant=True)

TRIES = 6
"""How often it is tried without progress, the first time included."""
LONGEST_WAIT = 60.0
"""Seconds between two tries, whatever the service says."""
BUSY = (429, 502, 503, 504)
ROWS_AT_ONCE = 256
"""Rows that are sent in one go."""


class Client:
    """A service at an address such as `http://127.0.0.1:8000`.

    `headers` go with every request; a connection that stands still for `timeout` seconds is taken
    to be broken.
    """

    def __init__(
        self, url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 60.0
    ) -> None:
        self._url = urllib.parse.urlsplit(url)
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise ValueError("an address is http://HOST:PORT or https://HOST:PORT")
        self._headers = dict(headers or {})
        self._timeout = timeout

    def label_rows(
        self, rows: Iterable[Mapping[str, Any]], **query: Any
    ) -> Iterator[dict[str, Any]]:
        """Label entities: for each, in order, its `id`, and its `labels` or its `error`.

        `query` is what `POST /v1/labels` takes: top_k, policy, min_probability, only,
        min_precision. Raises ServiceError.
        """
        return self._stream(_Lines(rows), query)

    def label_batches(
        self, batches: Iterable[pa.RecordBatch], **query: Any
    ) -> Iterator[pa.RecordBatch]:
        """Label Arrow batches of one schema: batches of `id`, `labels` and `error`.

        There is a row for each row, in order, but the batches are cut otherwise. For `query`
        see `label_rows`. Raises ServiceError.
        """
        some = iter(batches)
        for first in some:
            yield from self._stream(_Batches(itertools.chain([first], some)), query)

    def label(self, table: pa.Table, **query: Any) -> pa.Table:
        """The same for a table, with a row for each of its rows."""
        batches = table.to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
        predictions = _Batches(batches)
        found = list(self._stream(predictions, query))
        return pa.Table.from_batches(found, predictions.schema)

    def _stream(self, rows: "_Rows[Row, Answer]", query: Mapping[str, Any]) -> Iterator[Answer]:
        path = f"{self._url.path.rstrip('/')}/v1/labels?{urllib.parse.urlencode(query, True)}"
        tries = 0
        while True:
            try:
                for answer in self._attempt(rows, path):
                    tries = 0
                    yield answer
                return
            except _BusyError as error:
                tries += 1
                if tries == TRIES:
                    raise ServiceError(f"{error}, {TRIES} times in a row") from error
                time.sleep(error.wait or random.uniform(0.1, 0.2) * 2**tries)  # noqa: S311

    def _attempt(self, rows: "_Rows[Row, Answer]", path: str) -> Iterator[Answer]:
        """Send the rows that have no answer; raises _BusyError where another try may help."""
        failed: list[Exception] = []
        try:
            with self._connected() as connection:
                _begin(connection, path, {**self._headers, "Content-Type": rows.media_type})
                with _sending(connection.sock, rows.chunks(), failed):
                    response = connection.getresponse()
                    _check(response)
                    yield from rows.predictions(response)
        except (OSError, http.client.HTTPException, pa.ArrowInvalid) as error:
            if failed:
                raise failed[0] from error
            raise _BusyError(f"the connection to the service broke ({error!r})") from error
        if rows.pending:
            raise _BusyError("the service did not answer all rows")

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
    """Something that may pass; `wait` is how many seconds the service asks for, if it does."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = min(wait, LONGEST_WAIT)


class _Rows(Protocol[Row, Answer]):
    """Rows on their way: `pending` are those that were sent and have no answer yet."""

    media_type: str
    pending: collections.deque[Row]

    def chunks(self) -> Iterator[bytes]:
        """What is to be sent, from the first row without an answer on."""
        ...

    def predictions(self, response: io.BufferedIOBase) -> Iterator[Answer]:
        """The answers; a row is pending until its answer has been asked for."""
        ...


class _Sent(Generic[Row]):
    """Rows that are kept from the moment they are taken until they are answered."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = iter(rows)
        self.pending: collections.deque[Row] = collections.deque()

    def unanswered(self) -> Iterator[Row]:
        """All rows without an answer: those that were sent before, and then new ones."""
        yield from tuple(self.pending)
        for row in self._rows:
            self.pending.append(row)
            yield row


class _Lines(_Sent[Mapping[str, Any]]):
    """Entities as JSON lines."""

    media_type = "application/x-ndjson"

    def chunks(self) -> Iterator[bytes]:
        rows = self.unanswered()
        while some := list(itertools.islice(rows, ROWS_AT_ONCE)):
            yield "".join(json.dumps(row) + "\n" for row in some).encode()

    def predictions(self, response: io.BufferedIOBase) -> Iterator[dict[str, Any]]:
        for line in response:
            answer = json.loads(line)
            if "id" not in answer:
                raise ServiceError(answer["error"]["detail"])
            self.pending.popleft()
            yield answer


class _Batches(_Sent[pa.RecordBatch]):
    """Arrow batches as an IPC stream."""

    media_type = "application/vnd.apache.arrow.stream"

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        super().__init__(batches)
        self.schema: pa.Schema | None = None

    def chunks(self) -> Iterator[bytes]:
        sink = io.BytesIO()
        writer = None
        for batch in self.unanswered():
            writer = writer or pa.ipc.new_stream(sink, batch.schema)
            writer.write_batch(batch)
            yield _emptied(sink)
        if writer:
            writer.close()
            yield _emptied(sink)

    def predictions(self, response: io.BufferedIOBase) -> Iterator[pa.RecordBatch]:
        reader = pa.ipc.open_stream(response)
        self.schema = reader.schema
        for answer in reader:
            if answer.num_rows and not answer["id"][0].is_valid:
                raise ServiceError(answer["error"][0].as_py())
            self._answered(answer.num_rows)
            yield answer
        self._answered(0)

    def _answered(self, rows: int) -> None:
        while self.pending and (rows or not self.pending[0].num_rows):
            first = self.pending.popleft()
            if rows < first.num_rows:
                self.pending.appendleft(first.slice(rows))
                return
            rows -= first.num_rows


def _emptied(sink: io.BytesIO) -> bytes:
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
    """Send a body in a thread of its own; what goes wrong with its rows is put into `failed`."""

    def send() -> None:
        try:
            for chunk in chunks:
                connected.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            connected.sendall(b"0\r\n\r\n")
        except OSError:  # also who waits for answers will notice
            pass
        except Exception as error:  # noqa: BLE001 - of the caller's rows
            failed.append(error)
            _hang_up(connected)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        _hang_up(connected)
        thread.join()


def _hang_up(connected: socket.socket) -> None:
    """End what a thread waits for on a connection."""
    with contextlib.suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _check(response: http.client.HTTPResponse) -> None:
    """Raise _BusyError or ServiceError for an answer that is no stream."""
    if response.status == http.HTTPStatus.OK:
        return
    try:
        detail = json.loads(response.read(1 << 16)).get("detail") or response.reason
    except (ValueError, AttributeError):
        detail = response.reason
    message = f"the service answered {response.status}: {detail}"
    if response.status in BUSY:
        asked = response.headers.get("Retry-After", "")
        raise _BusyError(message, float(asked) if asked.isdecimal() else 0.0)
    raise ServiceError(message)
