"""Adapter of uvicorn, and the only module that uses undocumented names of uvicorn.

pyproject.toml therefore limits the version of uvicorn. If the installed version lacks one of these
names, a test fails and shows which.
"""

import asyncio
import socket
import types
from collections.abc import Callable
from typing import Any, cast

import httptools
import uvicorn
from uvicorn._types import ASGI3Application
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.supervisors import Multiprocess

_SKIPPED = cast(
    RequestResponseCycle,
    types.SimpleNamespace(response_complete=True, message_event=asyncio.Event(), keep_alive=True),
)
"""Replaces the `cycle` of a request that already has its response. uvicorn then drops the body."""


class _Parser(httptools.HttpRequestParser):
    """Parser of requests that ignores the header `Upgrade`, as HTTP allows.

    httptools takes everything after a head with this header for another protocol, even a body. Such
    a request is therefore parsed a second time, without the header.
    """

    def __init__(self, connection: "HttpConnection") -> None:
        super().__init__(connection)
        self._connection = connection
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does

    def feed_data(self, data: Any) -> None:
        """Parse data.

        Raises httptools.HttpParserError for data that is not valid, and HttpParserUpgrade for
        CONNECT.
        """
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not self._connection.is_upgrade:
                raise
            self._connection.parse_without_upgrade(memoryview(data)[upgrade.args[0] :])


class HttpConnection(HttpToolsProtocol):
    """Connection of one client as uvicorn implements it, with public names for uvicorn's state.

    asyncio calls `connection_made`, `connection_lost`, `data_received` and `pause_writing`. The
    parser calls `on_message_begin`, `on_headers_complete`, `on_body` and `on_message_complete` for
    each request. While `is_upgrade` is true, the last two of these calls have no meaning. uvicorn
    calls `on_response_complete`.
    """

    _running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to parse the requests of a client."""
        super().connection_made(transport)
        self.parser = _Parser(self)
        self.url = b""

    def parse_without_upgrade(self, rest: memoryview) -> None:
        """Parse the head that was parsed last again, without `Upgrade`, and then `rest`."""
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.request_method, self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = _Parser(self)
        self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))
        self.parser.feed_data(rest)

    @property
    def is_upgrade(self) -> bool:
        """Whether the head that was parsed last has `Upgrade` and will be parsed again."""
        return self.parser.should_upgrade() and self.request_method != b"CONNECT"

    @property
    def lifespan_state(self) -> dict[str, Any]:
        """The state that the application's lifespan yields."""
        return self.app_state

    @property
    def is_responding(self) -> bool:
        """Whether the application is responding to a request."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def is_receiving(self) -> bool:
        """Whether a part of the body of the request that was parsed last has not arrived."""
        return self.is_responding and self.cycle.more_body

    @property
    def has_begun_response(self) -> bool:
        """Whether the response to the request that was parsed last has begun."""
        return self.cycle is not None and self.cycle.response_started

    @property
    def has_waiting_requests(self) -> bool:
        """Whether the application has not got the request that was parsed last."""
        return bool(self.pipeline)

    @property
    def is_write_paused(self) -> bool:
        """Whether the write buffer is full, because the client reads too slowly."""
        return bool(self.flow.write_paused)

    @property
    def request_method(self) -> bytes:
        """The method of the request whose head was parsed last."""
        return self.parser.get_method()

    @property
    def request_path(self) -> str:
        """The path of the request whose head was parsed last."""
        return self.url.partition(b"?")[0].decode("latin-1")

    @property
    def request_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the request whose head was parsed last."""
        return self.headers

    @property
    def peer_address(self) -> str:
        """The address at the other end of the connection, which may be a proxy."""
        return self.client[0] if self.client else ""

    @property
    def client_address(self) -> str:
        """The address of the client that sent the request whose head was parsed last.

        It is the address in X-Forwarded-For if a trusted proxy sent the request
        (FORWARDED_ALLOW_IPS).
        """
        proxies = self.config.loaded_app
        if (
            isinstance(proxies, ProxyHeadersMiddleware)
            and self.peer_address in proxies.trusted_hosts
        ):
            values = [value for name, value in self.headers if name == b"x-forwarded-for"]
            forwarded = b", ".join(values).decode("latin-1")
            if values and (host := proxies.trusted_hosts.get_trusted_client_address(forwarded)[0]):
                return host
        return self.peer_address

    @property
    def waiting_requests(self) -> int:
        """Number of requests that wait for the response to an earlier request."""
        return len(self.pipeline)

    @property
    def keeps_alive(self) -> bool:
        """Whether the client may send another request after this one."""
        return bool(self.parser.should_keep_alive())

    @property
    def waits_for_continue(self) -> bool:
        """Whether the request has the header `Expect: 100-continue`.

        Its client may wait for `100 Continue` before it sends the body.
        """
        return self.expect_100_continue

    def set_request_scope(self, name: str, value: object) -> None:
        """Set an entry in the ASGI scope of the request whose head was parsed last."""
        cast(dict[str, object], self.scope)[name] = value

    def abort(self) -> None:
        """Close the connection now, without the rest of the response."""
        self._disconnect_application()
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the application that the client has disconnected."""
        self._disconnect_application()
        super().connection_lost(exc)

    def _disconnect_application(self) -> None:
        # uvicorn does this only for the request that was parsed last.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def set_response_scope(self, name: str, value: object) -> None:
        """Set an entry in the ASGI scope of the request that the application got last, if any."""
        if self._running is not None:
            cast(dict[str, object], self._running.scope)[name] = value

    def separate_trailers(self) -> None:
        """Store trailers, the fields after the body, separately from the headers of the request."""
        self.headers = []

    def skip_request(self) -> None:
        """Drop the rest of the request whose head was parsed last. The caller sends a response."""
        self.cycle = _SKIPPED

    @property
    def is_skipping(self) -> bool:
        """Whether the rest of a request is being dropped."""
        return self.cycle is _SKIPPED

    def close_after_response(self) -> None:
        """Close the connection after the response; the client must open another one."""
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def pause_reading(self) -> None:
        """Parse nothing more until the application has responded to a request."""
        self.flow.pause_reading()

    def resume_reading(self) -> None:
        """Continue to parse after `pause_reading`."""
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def on_invalid_data(self) -> None:
        """Respond to data that is not a valid request, or to an exception in a parser's call."""
        raise NotImplementedError

    def send_400_response(self, msg: str) -> None:
        """uvicorn calls this method for data that is not a valid request."""
        self.on_invalid_data()

    def close_when_idle(self) -> None:
        """Close the connection: at once, or after the response if the application is responding."""
        self.shutdown()


class Supervisor(Multiprocess):
    """Starts the worker processes, and replaces those that die or hang.

    `on_replaced` is called with the process id of each worker that was replaced.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        sockets: list[socket.socket],
        on_replaced: Callable[[int], object],
    ) -> None:
        super().__init__(config, sockets)
        self._on_replaced = on_replaced

    def keep_subprocess_alive(self) -> None:
        """Check all workers, and replace those that are dead or do not reply in time."""
        for worker in self.processes:
            # The worker's end of the pipe must not stay open in this process. Otherwise, if a
            # worker died during the check, this process would notice it only after the timeout.
            worker.child_conn.close()
        before = self.processes[:]
        super().keep_subprocess_alive()
        for old, new in zip(before, self.processes, strict=True):
            if old is not new and old.pid is not None:
                self._on_replaced(old.pid)

    def kill(self) -> None:
        """Kill all workers."""
        for worker in self.processes:
            worker.process.kill()
