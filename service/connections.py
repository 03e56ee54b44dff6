"""One connection of a client: a limit on how slowly it may send, and a quick no under overload.

Most of what comes at many times the capacity must be refused in a fraction of the time that an
answer takes, so this is done as soon as the head of a request has been read, and its body is thrown
away as it arrives.
"""

import asyncio
import functools
import types
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from entities.errors import LabelwrightError, OverloadedError
from service.bodies import TIMEOUT, timeout
from service.engine import Engine
from service.problems import answer_to, as_sent

HEAD_SECONDS = TIMEOUT
"""Within which the head of a request must arrive, or the rest of one that was refused."""
ROW_BYTES = 100
"""Few for a row: what has no room would else be refused only after its body was read."""
ROWS_LIMIT = 1_000
_REFUSED = cast(
    RequestResponseCycle,
    types.SimpleNamespace(response_complete=True, message_event=asyncio.Event(), keep_alive=True),
)
"""Stands for a request that needs no answer any more."""


class Connection(HttpToolsProtocol):
    """Uvicorn's, of an application whose lifespan yields the `engine`."""

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._await_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin to wait for the head of a request."""
        self._await_more()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Let the application answer, if there is time for it."""
        engine: Engine = self.app_state["engine"]
        busy = self.cycle is not None and not self.cycle.response_complete
        if not busy and self.parser.get_method() == b"POST" and self._too_much(engine):
            self._refuse(engine)
            return
        self._stop_waiting()
        super().on_headers_complete()
        if engine.stopping and self.cycle is not None:
            self.cycle.keep_alive = False  # that the client asks elsewhere next time

    def on_message_complete(self) -> None:
        """A request that was refused is over when all of it has arrived."""
        if self.cycle is not _REFUSED:
            super().on_message_complete()
            return
        self._stop_waiting()
        if self.parser.should_keep_alive():
            self.on_response_complete()
        else:
            self.transport.close()

    def _too_much(self, engine: Engine) -> bool:
        """Whether the request that begins cannot be answered within its deadline."""
        headers = dict(self.headers)
        try:
            seconds = timeout(headers.get(b"x-request-timeout"))
            rows = min(int(headers.get(b"content-length", 0)) // ROW_BYTES, ROWS_LIMIT)
        except (LabelwrightError, ValueError):
            return False
        return engine.backlog.hopeless(rows, seconds)

    def _refuse(self, engine: Engine) -> None:
        engine.metrics.shed()
        unsure = self.expect_100_continue  # whether the body comes after all
        keep = self.parser.should_keep_alive() and not unsure
        self.transport.write(_refusal(engine.backlog.retry_after, keep))
        self.cycle = _REFUSED
        if unsure:
            self.transport.close()

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
def _refusal(retry_after: int, keep: bool) -> bytes:
    """What an OverloadedError is answered with, as bytes."""
    answer = answer_to(OverloadedError(retry_after))
    if not keep:
        answer.headers["Connection"] = "close"
    return as_sent(answer)
