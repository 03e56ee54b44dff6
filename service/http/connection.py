"""One connection of a client: limits on how slowly it may send and read, a quick no under overload.

Most of what comes at many times the capacity must be refused in a fraction of the time that an
answer takes, so this is done as soon as the head of a request has been read, and its body is thrown
away as it arrives.
"""

import asyncio
import functools
import math
import types
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from labelwright.entities.errors import HeadTooLargeError, LabelwrightError, OverloadedError
from labelwright.service.engine.engine import Engine
from labelwright.service.http.body import DISCONNECTED, RESERVATION, TIMEOUT, timeout
from labelwright.service.http.error_formats import ErrorFormat, error_format_of
from labelwright.service.http.errors import encode_response, error_response
from labelwright.service.http.headers import HEADERS
from labelwright.service.http.streaming import PATIENCE
from labelwright.service.http.write_coalescing import JoiningTransport

HEAD_SECONDS = TIMEOUT
"""Within which the head of a request must arrive, or the rest of one that was refused."""
HEAD_LIMIT = 1 << 16
"""Bytes in a row that are no body: of a head that is not whole yet, of trailers, between chunks."""
ROW_BYTES = 100
"""Few for a row: what has no room would else be refused only after its body was read."""
ROWS_LIMIT = 1_000
SOON = 0.1
"""Seconds for which there is room for a body that is on its way: who sends slowly blocks nobody."""
_REFUSED = cast(
    RequestResponseCycle,
    types.SimpleNamespace(response_complete=True, message_event=asyncio.Event(), keep_alive=True),
)
"""Stands for a request that needs no answer any more."""


class Connection(HttpToolsProtocol):
    """Uvicorn's, of an application whose lifespan yields the `engine`."""

    _limit: asyncio.TimerHandle | None = None
    _glance: asyncio.TimerHandle
    _joining: JoiningTransport
    _bodiless = 0
    _unread = math.inf

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        self._joining = JoiningTransport(transport, self.loop)
        super().connection_made(self._joining)
        self._await_more()
        self._glance = self.loop.call_later(PATIENCE, self._glance_at_reader)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more, and let who answers know."""
        self._stop_waiting()
        self._glance.cancel()
        if self.cycle is not None and self.cycle is not _REFUSED:
            cast(dict[str, object], self.cycle.scope)[DISCONNECTED] = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come, unless too much of it is no body."""
        self._bodiless += len(data)
        super().data_received(data)
        if self._bodiless > HEAD_LIMIT and not self.transport.is_closing():
            self._refuse_head()

    def pause_writing(self) -> None:
        """Begin to look whether the client reads."""
        self._unread = math.inf
        super().pause_writing()

    def on_message_begin(self) -> None:
        """Begin to wait for the head of a request."""
        self._await_more()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Let the application answer, if there is time for it."""
        self._bodiless = 0
        engine: Engine = self.app_state["engine"]
        busy = self.cycle is not None and not self.cycle.response_complete
        if not busy and self.parser.get_method() == b"POST" and not self._has_room(engine):
            self._refuse(engine)
            return
        self._stop_waiting()
        super().on_headers_complete()
        self.headers = []  # what trailers say is none of the request's headers
        if engine.stopping and self.cycle is not None:
            self.cycle.keep_alive = False  # that the client asks elsewhere next time

    def on_body(self, body: bytes) -> None:
        """What comes is body."""
        self._bodiless = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request that was refused is over when all of it has arrived."""
        if self.cycle is _REFUSED:
            if self.parser.should_keep_alive():
                self.on_response_complete()
            else:
                self.transport.close()
            return
        super().on_message_complete()
        if self.cycle.response_complete:
            self._await_more()

    def on_response_complete(self) -> None:
        """Begin to wait for the rest of the request, or for the next one."""
        self._joining.flush()  # before the request is reported on
        super().on_response_complete()
        if self.cycle.response_complete:
            self._await_more()

    def _has_room(self, engine: Engine) -> bool:
        """Whether the request that begins can be answered within its deadline; then it has room."""
        headers = dict(self.headers)
        try:
            seconds = timeout(headers.get(b"x-request-timeout"))
            rows = min(int(headers.get(b"content-length", 0)) // ROW_BYTES, ROWS_LIMIT)
        except (LabelwrightError, ValueError):
            return True
        if engine.queue.cannot_finish(rows, seconds):
            return False
        coming = engine.queue.expect(rows)
        cast(dict[str, object], self.scope)[RESERVATION] = coming
        self.loop.call_later(SOON, coming.release)
        return True

    def _refuse(self, engine: Engine) -> None:
        engine.metrics.count_shed()
        if self.flow.write_paused:
            self.transport.abort()  # it reads no refusals, and asks on
        unsure = self.expect_100_continue  # whether the body comes after all
        keep = self.parser.should_keep_alive() and not unsure
        error_format = error_format_of(self.url.partition(b"?")[0].decode("latin-1"))
        self.transport.write(_refusal(engine.queue.retry_after, keep, error_format))
        self.cycle = _REFUSED
        if unsure:
            self.transport.close()

    def _refuse_head(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            error = HeadTooLargeError(f"a head may have {HEAD_LIMIT:,} bytes")
            self.transport.write(encode_response(error_response(error), HEADERS))
            self.transport.close()
        else:
            self.transport.abort()

    def _glance_at_reader(self) -> None:
        """Give up a client that has read nothing since the last time, though there is something."""
        waiting = self.flow.write_paused or self.transport.is_closing()
        unread = self.transport.get_write_buffer_size() if waiting else math.inf
        if waiting and unread >= self._unread:
            self.transport.abort()
        else:
            self._unread = unread
            self._glance = self.loop.call_later(PATIENCE, self._glance_at_reader)

    def _await_more(self) -> None:
        self._stop_waiting()
        self._limit = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._limit:
            self._limit.cancel()
            self._limit = None

    def _give_up(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False


@functools.lru_cache(128)
def _refusal(retry_after: int, keep: bool, error_format: ErrorFormat | None) -> bytes:
    """What an OverloadedError is answered with, as bytes."""
    problem = error_response(OverloadedError(retry_after))
    answer = problem.in_format(error_format) if error_format else problem
    if not keep:
        answer.headers["Connection"] = "close"
    return encode_response(answer, HEADERS)
