"""Requests sent as bytes over connections that are kept, one after another or at a steady rate."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from benchmarks.over_http import HOST

IDLE = 2.0
"""Seconds after which a connection is not used again: the server may be closing it."""
_LAST_CHUNK = b"0\r\n\r\n"


@dataclasses.dataclass(frozen=True)
class Answer:
    """A status, 0 where the connection ended too early; a body, and the head in lower case."""

    status: int
    body: bytes = b""
    head: bytes = b""


class Connection(asyncio.Protocol):
    """A connection that sends one request at a time."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.since = 0.0
        self._begin()

    def _begin(self) -> None:
        self._head, self._body = b"", bytearray()
        self._read_head, self._length, self._last = False, -1, False

    @property
    def usable(self) -> bool:
        """Whether it may be asked again."""
        idle = time.perf_counter() - self.since
        return not self._last and not self.transport.is_closing() and idle < IDLE

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes) -> "asyncio.Future[Answer]":
        """Send a request."""
        self.answer = asyncio.get_running_loop().create_future()
        self._begin()
        if self.transport.is_closing():
            self.answer.set_result(Answer(0))
        self.transport.write(request)
        return self.answer

    def data_received(self, data: bytes) -> None:
        if not self._read_head:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._head = (head + end).lower()
            self._note(self._head)
        self._body += data
        if self._whole() and not self.answer.done():
            body = bytes(self._body) if self._length >= 0 else dechunked(self._body)
            self.since = time.perf_counter()
            self.answer.set_result(Answer(int(self._head[9:12]), body, self._head))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_result(Answer(0))

    def _note(self, head: bytes) -> None:
        """What the head of an answer says about its body and its connection."""
        self._read_head = True
        self._last = b"\r\nconnection: close" in head
        _, stated, rest = head.partition(b"\r\ncontent-length:")
        self._length = int(rest.partition(b"\r\n")[0]) if stated else -1

    def _whole(self) -> bool:
        if self._length >= 0:
            return len(self._body) >= self._length
        return self._body == _LAST_CHUNK or self._body.endswith(b"\r\n" + _LAST_CHUNK)


def dechunked(body: bytes | bytearray) -> bytes:
    """What was sent in chunks (RFC 9112, 7.1), to the last one."""
    whole, start = bytearray(), 0
    while size := int(body[start : (end := body.index(b"\r\n", start))], 16):
        whole += body[end + 2 : end + 2 + size]
        start = end + 2 + size + 2
    return bytes(whole)


@dataclasses.dataclass
class Pool:
    """Connections to one server, opened where none is free, up to a limit."""

    port: int
    limit: int = 8_000
    free: list[Connection] = dataclasses.field(default_factory=list)
    opened: int = 0

    async def ask(self, request: bytes) -> Answer:
        """The answer to a request; none where there are too many connections."""
        while self.free and not self.free[-1].usable:
            self.free.pop().transport.close()
            self.opened -= 1
        if not self.free and self.opened >= self.limit:
            return Answer(0)
        connection = self.free.pop() if self.free else await self._open()
        if connection is None:
            return Answer(0)
        answer = await connection.ask(request)
        if answer.status:
            self.free.append(connection)
        else:
            self.opened -= 1
        return answer

    async def leave(self, request: bytes, seconds: float) -> None:
        """Send a request, and go away some time later without its answer."""
        if connection := await self._open():
            connection.ask(request)
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
        return connection


async def closed_loop(ask: Callable[[int], Awaitable[bool]], clients: int, seconds: float) -> float:
    """Requests a second that are answered, if each comes when an earlier one is done."""
    began = time.perf_counter()

    async def work(first: int) -> int:
        asked = answered = 0
        while time.perf_counter() < began + seconds:
            answered += await ask(first + asked)
            asked += 1
        return answered

    answered = await asyncio.gather(*(work(1_000 * client) for client in range(clients)))
    return sum(answered) / (time.perf_counter() - began)


async def open_loop(
    ask: Callable[[int, float], Coroutine[Any, Any, None]], rate: float, seconds: float
) -> None:
    """Ask so many times a second, whether or not earlier requests have been answered.

    `ask` is given the number of the request and when it was due (`time.perf_counter`).
    """
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = began + number / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            group.create_task(ask(number, due))
