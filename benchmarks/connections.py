"""HTTP client for raw requests over reused connections, at full speed or at a constant rate."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from benchmarks.over_http import HOST

IDLE_SECONDS = 2.0
"""Idle seconds after which a connection is not reused, because the server may be closing it."""
_LAST_CHUNK = b"0\r\n\r\n"


@dataclasses.dataclass(frozen=True)
class Response:
    """A response: its status, body, and head in lower case.

    The status is 0 if the connection was closed before the response was complete.
    """

    status: int
    body: bytes = b""
    head: bytes = b""


class Connection(asyncio.Protocol):
    """A connection that sends one request at a time."""

    def __init__(self) -> None:
        self.response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.last_used = 0.0
        self._reset()

    def _reset(self) -> None:
        self._head, self._body = b"", bytearray()
        self._head_complete, self._length, self._closes = False, -1, False

    @property
    def usable(self) -> bool:
        """Whether the connection can send another request."""
        idle = time.perf_counter() - self.last_used
        return not self._closes and not self.transport.is_closing() and idle < IDLE_SECONDS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes) -> "asyncio.Future[Response]":
        """Send a request; the future gets its response."""
        self.response = asyncio.get_running_loop().create_future()
        self._reset()
        if self.transport.is_closing():
            self.response.set_result(Response(0))
        self.transport.write(request)
        return self.response

    def data_received(self, data: bytes) -> None:
        if not self._head_complete:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._head = (head + end).lower()
            self._parse_head(self._head)
        self._body += data
        if self._body_complete() and not self.response.done():
            body = bytes(self._body) if self._length >= 0 else dechunked(self._body)
            self.last_used = time.perf_counter()
            self.response.set_result(Response(int(self._head[9:12]), body, self._head))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.response.done():
            self.response.set_result(Response(0))

    def _parse_head(self, head: bytes) -> None:
        """Parse the head: the length of the body, and whether the server closes the connection."""
        self._head_complete = True
        self._closes = b"\r\nconnection: close" in head
        _, name, rest = head.partition(b"\r\ncontent-length:")
        self._length = int(rest.partition(b"\r\n")[0]) if name else -1

    def _body_complete(self) -> bool:
        if self._length >= 0:
            return len(self._body) >= self._length
        return self._body == _LAST_CHUNK or self._body.endswith(b"\r\n" + _LAST_CHUNK)


def dechunked(body: bytes | bytearray) -> bytes:
    """The decoded content of a chunked body (RFC 9112, 7.1)."""
    content, start = bytearray(), 0
    while size := int(body[start : (end := body.index(b"\r\n", start))], 16):
        content += body[end + 2 : end + 2 + size]
        start = end + 2 + size + 2
    return bytes(content)


@dataclasses.dataclass
class Pool:
    """Connections to one server; if no connection is free, a new one is opened, up to a limit."""

    port: int
    limit: int = 8_000
    free: list[Connection] = dataclasses.field(default_factory=list)
    opened: int = 0
    _made: list[Connection] = dataclasses.field(default_factory=list)

    async def send(self, request: bytes) -> Response:
        """Send a request; status 0 if no connection can be opened or the connection closes."""
        while self.free and not self.free[-1].usable:
            self.free.pop().transport.close()
            self.opened -= 1
        if not self.free and self.opened >= self.limit:
            return Response(0)
        connection = self.free.pop() if self.free else await self._open()
        if connection is None:
            return Response(0)
        response = await connection.send(request)
        if response.status:
            self.free.append(connection)
        else:
            self.opened -= 1
        return response

    async def close(self) -> None:
        """Close all connections, also those whose response is still awaited."""
        for connection in self._made:
            connection.transport.abort()
        await asyncio.sleep(0.01)  # the event loop closes them in its next iteration

    async def abandon(self, request: bytes, seconds: float) -> None:
        """Send a request over a new connection, and close it after some seconds."""
        if connection := await self._open():
            connection.send(request)
            await asyncio.sleep(seconds)
            connection.transport.abort()
            self.opened -= 1

    async def _open(self) -> Connection | None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(Connection, HOST, self.port)
        except OSError:
            return None
        self.opened += 1
        self._made.append(connection)
        return connection


async def closed_loop(
    send: Callable[[int], Awaitable[bool]], clients: int, seconds: float
) -> float:
    """Successful requests a second of clients that send their next request after each response.

    `send` is called with the number of the request, and returns True if the request succeeded.
    """
    start = time.perf_counter()

    async def client(first: int) -> int:
        sent = succeeded = 0
        while time.perf_counter() < start + seconds:
            succeeded += await send(first + sent)
            sent += 1
        return succeeded

    succeeded = await asyncio.gather(*(client(1_000 * number) for number in range(clients)))
    return sum(succeeded) / (time.perf_counter() - start)


async def open_loop(
    send: Callable[[int, float], Coroutine[Any, Any, None]], rate: float, seconds: float
) -> None:
    """Send requests at a constant rate, without waiting for the responses to earlier requests.

    `send` is called with the number of the request and its due time (`time.perf_counter`).
    """
    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = start + number / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            group.create_task(send(number, due))
