"""Requests over reused connections: complete and incomplete responses, constant rates."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.connections import Pool, Response, closed_loop, dechunked, open_loop
from benchmarks.over_http import HOST

SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole"
CHUNKED = b"HTTP/1.1 200 OK\r\nX-A: B\r\n\r\n3\r\nwho\r\n2\r\nle\r\n0\r\n\r\n"


def connections_of(
    response: bytes, scenario: Callable[[Pool], Awaitable[None]], keep: bool = True
) -> int:
    """Run a scenario with a server that always sends one response; returns its connections."""
    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            while await reader.read(1_000):
                for start in range(0, len(response), 7):
                    writer.write(response[start : start + 7])
                    await writer.drain()
                if not keep:
                    break
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, HOST, 0)
        async with server:
            pool = Pool(server.sockets[0].getsockname()[1])
            await scenario(pool)
            for connection in pool.free:
                connection.transport.abort()
            await asyncio.gather(*filter(None, serving))
            await asyncio.sleep(0.01)

    asyncio.run(run())
    return len(serving)


@pytest.mark.parametrize("sent", [SIZED, CHUNKED])
def test_responses_are_read_completely_over_one_connection(sent: bytes) -> None:
    async def scenario(pool: Pool) -> None:
        for _ in range(3):
            response = await pool.send(b"request")
            assert (response.status, response.body) == (200, b"whole")
            assert response.head.startswith(b"http/1.1 200 ok\r\n")

    assert connections_of(sent, scenario) == 1


@pytest.mark.parametrize("sent", [SIZED[:-1], CHUNKED[:-2], SIZED[:20], b""])
def test_an_incomplete_response_has_status_0(sent: bytes) -> None:
    async def scenario(pool: Pool) -> None:
        for _ in range(2):
            assert await pool.send(b"request") == Response(0)
        assert pool.opened == 0

    assert connections_of(sent, scenario, keep=False) == 2


def test_a_closed_or_abandoned_connection_is_not_reused() -> None:
    async def scenario(pool: Pool) -> None:
        assert (await pool.send(b"request")).status == 200
        await pool.abandon(b"request", 0.0)
        assert (await pool.send(b"request")).status == 200

    ending = SIZED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert connections_of(ending, scenario) == 3


def test_without_a_server_the_status_is_0() -> None:
    assert asyncio.run(Pool(1).send(b"request")) == Response(0)


@given(st.lists(st.binary(min_size=1)))
def test_a_chunked_body_is_decoded(parts: list[bytes]) -> None:
    sent = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    assert dechunked(sent) == b"".join(parts)


def test_a_constant_rate_does_not_wait_for_responses() -> None:
    dues = []

    async def send(number: int, due: float) -> None:
        dues.append(due)
        await asyncio.sleep(0.5)

    began = time.perf_counter()
    asyncio.run(open_loop(send, 100, 0.2))
    assert time.perf_counter() - began < 20 * 0.5
    assert dues == pytest.approx([dues[0] + n / 100 for n in range(20)])


def test_a_closed_loop_counts_successful_requests() -> None:
    async def send(number: int) -> bool:
        await asyncio.sleep(0.01)
        return number >= 1_000

    rate = asyncio.run(closed_loop(send, 2, 0.2))
    assert 0 < rate <= 100
