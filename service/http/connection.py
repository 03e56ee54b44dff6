"""HTTP connection of one client: limits for slow clients, and fast refusals under overload.

When far more requests arrive than the service can label, a refusal must cost far less than a
labelled response. A request that cannot meet its deadline is therefore refused as soon as its head
is parsed, and the bytes of its body are dropped when they arrive. At ten times the capacity, the
service labels 3 to 7 times as many entities in time per CPU second as with uvicorn's own protocol
(95% interval, measured by `make bench-parts`).
"""

import asyncio
import functools
import math
from collections.abc import Sequence

from starlette.responses import Response

from labelwright.entities.errors import (
    HeadTooLargeError,
    LabelwrightError,
    MalformedError,
    OverloadedError,
    TransferCodingError,
)
from labelwright.service.engine.engine import Engine
from labelwright.service.engine.shares import Holding
from labelwright.service.http.body import DISCONNECTED, RESERVATION, TIMEOUT, timeout
from labelwright.service.http.error_formats import ErrorFormat, error_format_of
from labelwright.service.http.errors import encode_response, error_response
from labelwright.service.http.headers import HEADERS
from labelwright.service.http.streaming import IDLE_SECONDS
from labelwright.service.http.uvicorn_adapter import HttpConnection
from labelwright.service.telemetry.request_record import Client, network_of

HEAD_SECONDS = TIMEOUT
"""Seconds within which the head of the next request must arrive, or the rest of a request that
already has its response."""
HEAD_LIMIT = 1 << 16
"""Maximum number of bytes that may arrive without a byte of a body between them. They may belong to
a head, to trailers or to chunk extensions."""
ROW_BYTES = 100
"""Estimated size of a row in a body. It is small, so that the estimated number of rows is seldom
too low. If the number is too low, a request may be refused only after its body was read."""
ROWS_LIMIT = 1_000
"""Maximum number of rows that is estimated from the length of a body."""
RESERVATION_SECONDS = 0.1
"""Seconds after which the reservation of a request is released even if the body has not arrived, so
that slow clients do not block capacity."""


DROPPED_BYTES, DROP_SECONDS = 1 << 18, 0.05
"""When DROPPED_BYTES of refused requests or after a response were dropped, nothing is read for
DROP_SECONDS."""
REFUSAL_BYTES = 1 << 12
"""Number of dropped bytes that a refusal counts as."""
PIPELINE_LIMIT = 64
"""Maximum number of requests that wait for the response to an earlier request of the client."""


_PIPELINE_ERROR = MalformedError(
    f"more than {PIPELINE_LIMIT} requests wait for the responses to earlier requests; send fewer "
    "requests before reading the responses"
)


class Connection(HttpConnection):
    """Connection to an application whose lifespan state has the entries `engine` and `identify`.

    `identify` takes the address and the headers of a request. It returns the Client, or None if a
    key is needed and the request has no valid key.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _reader_timer: asyncio.TimerHandle
    _bytes_without_body = 0
    _unread_bytes = math.inf
    _head_error: LabelwrightError | None = None
    _unread: Holding | None = None
    _dropped_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timers for the first request."""
        super().connection_made(transport)
        self._start_head_timer()
        self._reader_timer = self.loop.call_later(IDLE_SECONDS, self._check_reader)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers, and tell the application that the client has disconnected."""
        self._stop_head_timer()
        self._reader_timer.cancel()
        self._hold_unread(0)
        self.set_response_scope(DISCONNECTED, True)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse data, and refuse a head, trailers or chunk extensions that are too long."""
        self._bytes_without_body += len(data)
        super().data_received(data)
        if self._dropped_bytes and not self.is_responding:
            self._wait_after_drop()
        if self._bytes_without_body > HEAD_LIMIT and not self.transport.is_closing():
            self._refuse_and_close(
                HeadTooLargeError(
                    f"the request line and the headers have more than {HEAD_LIMIT:,} bytes; send "
                    "fewer or shorter headers"
                )
            )

    def on_invalid_data(self) -> None:
        """Refuse a request that is not valid."""
        self._refuse_and_close(self._head_error or _INVALID)

    def pause_writing(self) -> None:
        """Count the full write buffer towards the client's share of memory.

        Forget the result of the last `_check_reader`. Disconnect a client that holds more than its
        share.
        """
        self._unread_bytes = math.inf
        super().pause_writing()
        if not self._hold_unread(self.transport.get_write_buffer_size()):
            self.abort()

    def resume_writing(self) -> None:
        """Continue the response, because the client has read most of the write buffer."""
        self._hold_unread(0)
        super().resume_writing()

    def on_message_begin(self) -> None:
        """Start the timer for the head of the request that begins."""
        self._start_head_timer()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Pass the request to the application, or refuse it if it cannot meet its deadline."""
        if self.is_upgrade:
            return
        self._bytes_without_body = 0
        if error := _head_error(self.request_headers):
            self._head_error = error
            raise error  # the parser stops and `on_invalid_data` is called
        engine: Engine = self.lifespan_state["engine"]
        # A refusal is written at once. Responses must have the order of the requests, so no request
        # is refused before the response to the previous one is complete.
        may_refuse = not self.is_responding and self.request_method == b"POST"
        if may_refuse and not self._reserve(engine):
            self._refuse(engine)
            return
        if self.waiting_requests >= PIPELINE_LIMIT:
            self._head_error = _PIPELINE_ERROR
            raise _PIPELINE_ERROR
        self._stop_head_timer()
        self._dropped_bytes = 0
        super().on_headers_complete()
        self.separate_trailers()
        if engine.stopping:
            self.close_after_response()

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body to the application, or drop it after the response."""
        self._bytes_without_body = 0
        super().on_body(body)
        if not self.is_responding:
            self._dropped_bytes += len(body)

    def on_message_complete(self) -> None:
        """End the request. After a refusal, close the connection or wait for the next request."""
        if self.is_upgrade:
            return
        if self.is_skipping:
            if self.keeps_alive:
                self.on_response_complete()
            else:
                self.transport.close()
            return
        super().on_message_complete()
        if not self.is_responding:
            self._start_head_timer()

    def on_response_complete(self) -> None:
        """Start the timer for the rest of the request or for the head of the next one."""
        super().on_response_complete()
        if not self.is_responding:
            self._start_head_timer()

    def _reserve(self, engine: Engine) -> bool:
        """Reserve capacity for the request; returns False if it cannot meet its deadline.

        Nothing is reserved for a client without a valid key; the application refuses its request.
        """
        client = self.lifespan_state["identify"](self.client_address, self.request_headers)
        if client is None:
            return True
        headers = dict(self.request_headers)
        try:
            seconds = timeout(headers.get(b"x-request-timeout"))
            rows = min(int(headers.get(b"content-length", 0)) // ROW_BYTES, ROWS_LIMIT)
        except (LabelwrightError, ValueError):
            return True  # the application parses the header again and responds with the error
        if engine.queue.cannot_finish(rows, seconds, client):
            return False
        reservation = engine.queue.reserve(rows, client)
        self.set_request_scope(RESERVATION, reservation)
        self.loop.call_later(RESERVATION_SECONDS, reservation.release)
        return True

    def _refuse(self, engine: Engine) -> None:
        """Write the refusal of a request, and drop the body of the request."""
        engine.metrics.count_shed()
        self._dropped_bytes += REFUSAL_BYTES
        if self.is_write_paused:
            self.abort()  # the client sends requests and does not read the refusals
        close = self.waits_for_continue  # it is unknown whether the client will send the body
        keep_alive = self.keeps_alive and not close
        error_format = error_format_of(self.request_path)
        self.transport.write(_refusal(engine.queue.retry_after, keep_alive, error_format))
        self.skip_request()
        if close:
            self.transport.close()

    def _refuse_and_close(self, error: LabelwrightError) -> None:
        """Refuse the request that is being parsed, and close the connection.

        The response to an earlier request is completed first.
        """
        if self.transport.is_closing():
            return
        if self.is_responding and not self.is_receiving:  # only to earlier requests
            self.close_after_response()
            self.pause_reading()
        elif self.is_responding and (self.has_begun_response or self.has_waiting_requests):
            self.abort()  # an error would be taken for a part of another response
        else:
            response = _error_response(error, error_format_of(self.request_path))
            response.headers["Connection"] = "close"
            self.transport.write(encode_response(response, HEADERS))
            self.transport.close()

    def _wait_after_drop(self) -> None:
        """Let the event loop serve other connections before more data of this one is dropped.

        Without this, a flood of refused requests would keep the event loop busy. The largest body
        is still dropped in time.
        """
        seconds = 0.0
        if self._dropped_bytes >= DROPPED_BYTES:
            seconds, self._dropped_bytes = DROP_SECONDS, 0
        self.pause_reading()
        self.loop.call_later(seconds, self.resume_reading)

    def _hold_unread(self, size: int) -> bool:
        """Count unread bytes; returns False if the client holds more than its share of memory."""
        if self._unread is None:
            if not size:
                return True
            engine: Engine = self.lifespan_state["engine"]
            self._unread = Holding(engine.memory, Client(network_of(self.peer_address)))
        return self._unread.resize(size)

    def _check_reader(self) -> None:
        """Close the connection if data waits and the client read nothing since the last check."""
        waiting = self.is_write_paused or self.transport.is_closing()
        unread_bytes = self.transport.get_write_buffer_size() if waiting else math.inf
        if waiting and unread_bytes >= self._unread_bytes:
            self.abort()
        else:
            self._unread_bytes = unread_bytes
            self._reader_timer = self.loop.call_later(IDLE_SECONDS, self._check_reader)

    def _start_head_timer(self) -> None:
        self._stop_head_timer()
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.close_when_idle)

    def _stop_head_timer(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None


_INVALID = MalformedError("the request is not valid HTTP/1.1; send it with an HTTP/1.1 client")


def _head_error(headers: Sequence[tuple[bytes, bytes]]) -> LabelwrightError | None:
    """The error of a head that another server may understand differently, None without an error."""
    names = [name for name, _ in headers]
    if names.count(b"host") > 1:
        return MalformedError("the request has more than one header Host; send exactly one")
    if b"transfer-encoding" in names:
        codings = [value for name, value in headers if name == b"transfer-encoding"]
        if [coding.strip().lower() for coding in codings] != [b"chunked"]:
            return TransferCodingError(
                "the Transfer-Encoding of the request is not supported; use chunked, or send the "
                "request with a Content-Length"
            )
    return None


@functools.lru_cache(128)
def _refusal(retry_after: int, keep_alive: bool, error_format: ErrorFormat | None) -> bytes:
    """The bytes of the response to an OverloadedError, in the format of the path."""
    response = _error_response(OverloadedError(retry_after), error_format)
    if not keep_alive:
        response.headers["Connection"] = "close"
    return encode_response(response, HEADERS)


def _error_response(error: LabelwrightError, error_format: ErrorFormat | None) -> Response:
    """The response to an error, in the format of the path."""
    problem = error_response(error)
    return problem.in_format(error_format) if error_format else problem
