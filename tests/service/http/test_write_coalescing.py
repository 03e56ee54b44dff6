"""Tests of the transport that joins writes, with a TCP client and server."""

import asyncio
from collections.abc import Callable

from labelwright.service.http.write_coalescing import FLUSH_BYTES, CoalescingTransport
from tests.processes import HOST

Talk = Callable[[CoalescingTransport], None]


class _Server(asyncio.Protocol):
    """Runs `talk` for each client, and records the sizes of the writes to the real transport."""

    def __init__(self, talk: Talk, writes: list[int]) -> None:
        self._talk, self._writes = talk, writes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        write = transport.write

        def recorded(data: bytes | bytearray | memoryview) -> None:
            self._writes.append(len(data))
            write(data)

        transport.write = recorded  # type: ignore[method-assign]
        self._talk(CoalescingTransport(transport, asyncio.get_running_loop()))


def received(talk: Talk) -> tuple[bytes, list[int]]:
    """The data that a client receives, and the sizes of the writes."""
    writes: list[int] = []

    async def connect() -> bytes:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Server(talk, writes), HOST, 0)
        async with server, asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            content = await reader.read()
            writer.close()
            return content

    return asyncio.run(connect()), writes


def test_writes_of_one_turn_are_joined() -> None:
    def talk(transport: CoalescingTransport) -> None:
        for part in (b"head", b"", b"body"):
            transport.write(part)
        assert transport.get_write_buffer_size() == 8
        transport.close()
        assert transport.is_closing()

    assert received(talk) == (b"headbody", [8])


def test_writes_of_different_turns_are_sent_separately() -> None:
    def talk(transport: CoalescingTransport) -> None:
        loop = asyncio.get_running_loop()
        transport.write(b"a")
        loop.call_later(0.05, transport.write, b"b")
        loop.call_later(0.1, transport.close)

    assert received(talk) == (b"ab", [1, 1])


def test_large_writes_are_sent_at_once_and_in_order() -> None:
    much = bytes(range(256)) * (FLUSH_BYTES // 256)

    def talk(transport: CoalescingTransport) -> None:
        for part in (b"few", much, b"end"):
            transport.write(part)
        transport.close()

    assert received(talk) == (b"few" + much + b"end", [3 + len(much), 3])


def test_abort_drops_data_that_is_not_sent() -> None:
    def talk(transport: CoalescingTransport) -> None:
        transport.write(b"never")
        transport.abort()

    assert received(talk) == (b"", [])
