"""The transport that joins what is written, between a real client and a real server."""

import asyncio
from collections.abc import Callable

from labelwright.service.http.write_coalescing import FLUSH_BYTES, CoalescingTransport
from tests.processes import HOST

Talk = Callable[[CoalescingTransport], None]


class _Server(asyncio.Protocol):
    """Says something to whoever connects, by a transport that notes how often it is written to."""

    def __init__(self, talk: Talk, writes: list[int]) -> None:
        self._talk, self._writes = talk, writes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        write = transport.write

        def noted(data: bytes | bytearray | memoryview) -> None:
            self._writes.append(len(data))
            write(data)

        transport.write = noted  # type: ignore[method-assign]
        self._talk(CoalescingTransport(transport, asyncio.get_running_loop()))


def heard(talk: Talk) -> tuple[bytes, list[int]]:
    """What a client of such a server reads, and the sizes of what was written."""
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


def test_what_is_written_in_one_go_is_sent_as_one() -> None:
    def talk(transport: CoalescingTransport) -> None:
        for part in (b"head", b"", b"body"):
            transport.write(part)
        assert transport.get_write_buffer_size() == 8
        transport.close()
        assert transport.is_closing()

    assert heard(talk) == (b"headbody", [8])


def test_it_is_sent_without_being_asked_to() -> None:
    def talk(transport: CoalescingTransport) -> None:
        loop = asyncio.get_running_loop()
        transport.write(b"a")
        loop.call_later(0.05, transport.write, b"b")
        loop.call_later(0.1, transport.close)

    assert heard(talk) == (b"ab", [1, 1])


def test_much_is_sent_at_once_in_order() -> None:
    much = bytes(range(256)) * (FLUSH_BYTES // 256)

    def talk(transport: CoalescingTransport) -> None:
        for part in (b"few", much, b"end"):
            transport.write(part)
        transport.close()

    assert heard(talk) == (b"few" + much + b"end", [3 + len(much), 3])


def test_what_was_not_sent_when_it_is_cut_off_is_gone() -> None:
    def talk(transport: CoalescingTransport) -> None:
        transport.write(b"never")
        transport.abort()

    assert heard(talk) == (b"", [])
