"""Requests over connections that are kept: whole answers, cut ones, and a steady rate."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.connections import Answer, Pool, closed_loop, dechunked, open_loop
from benchmarks.over_http import HOST

SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole"
CHUNKED = b"HTTP/1.1 200 OK\r\nX-A: B\r\n\r\n3\r\nwho\r\n2\r\nle\r\n0\r\n\r\n"


def served(answer: bytes, scenario: Callable[[Pool], Awaitable[None]], keep: bool = True) -> int:
    """Run a scenario with a server that always answers the same; returns its connections."""
    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            while await reader.read(1_000):
                for start in range(0, len(answer), 7):
                    writer.write(answer[start : start + 7])
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
def test_answers_are_read_whole_on_one_connection(sent: bytes) -> None:
    async def scenario(pool: Pool) -> None:
        for _ in range(3):
            answer = await pool.ask(b"ask")
            assert (answer.status, answer.body) == (200, b"whole")
            assert answer.head.startswith(b"http/1.1 200 ok\r\n")

    assert served(sent, scenario) == 1


@pytest.mark.parametrize("sent", [SIZED[:-1], CHUNKED[:-2], SIZED[:20], b""])
def test_an_answer_that_is_cut_is_none(sent: bytes) -> None:
    async def scenario(pool: Pool) -> None:
        for _ in range(2):
            assert await pool.ask(b"ask") == Answer(0)
        assert pool.opened == 0

    assert served(sent, scenario, keep=False) == 2


def test_a_connection_that_the_server_ends_or_that_was_left_is_not_used_again() -> None:
    async def scenario(pool: Pool) -> None:
        assert (await pool.ask(b"ask")).status == 200
        await pool.leave(b"ask", 0.0)
        assert (await pool.ask(b"ask")).status == 200

    ending = SIZED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert served(ending, scenario) == 3


def test_nobody_there_is_no_answer() -> None:
    assert asyncio.run(Pool(1).ask(b"ask")) == Answer(0)


@given(st.lists(st.binary(min_size=1)))
def test_chunks_are_put_together(parts: list[bytes]) -> None:
    sent = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    assert dechunked(sent) == b"".join(parts)


def test_a_steady_rate_does_not_wait_for_answers() -> None:
    dues = []

    async def ask(number: int, due: float) -> None:
        dues.append(due)
        await asyncio.sleep(0.5)

    began = time.perf_counter()
    asyncio.run(open_loop(ask, 100, 0.2))
    assert time.perf_counter() - began < 20 * 0.5
    assert dues == pytest.approx([dues[0] + n / 100 for n in range(20)])


def test_a_closed_loop_counts_what_was_answered() -> None:
    async def ask(number: int) -> bool:
        await asyncio.sleep(0.01)
        return number >= 1_000

    rate = asyncio.run(closed_loop(ask, 2, 0.2))
    assert 0 < rate <= 100
