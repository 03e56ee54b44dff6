"""What is taken from a caller: no more than an answer can need, and no longer than it may take."""

import asyncio
import contextlib
import dataclasses
import math
import time
import zlib
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from labelwright.entities.errors import (
    EncodingError,
    MalformedError,
    OverloadedError,
    TooLargeError,
    TooSlowError,
)
from labelwright.service.engine.engine import Engine

BODY_LIMIT = 16 << 20
"""The largest body of a request, in bytes, as it is sent and as it is meant."""
HELD_LIMIT = 256 << 20
"""Bytes of all bodies that are held at a time."""
TIMEOUT = 5.0
TIMEOUT_LIMIT = 60.0
"""Seconds within which a request is answered: by default, and at most."""
INFLATED_BYTES = 1 << 12
"""Of a compressed body, at a time: where a member ends, zlib copies what is left of them."""
DISCONNECTED = "labelwright.left"
"""The entry of a request's scope that is there when its caller has gone away."""
RESERVATION = "labelwright.coming"
"""The entry of a request's scope that holds the room that is kept for it."""
IDENTITY = ("", "identity")
"""Codings of what is sent as it is."""
PROMPT = 0.05
"""Seconds after which a caller may have gone away."""
_TOO_LARGE = f"a body may have {BODY_LIMIT:,} bytes"


@dataclasses.dataclass(frozen=True)
class Body:
    """What a request says, and the monotonic time by which it must be answered.

    The `key` decides whether a challenger answers: `X-Request-Key`, or else the content.
    """

    content: bytes
    deadline: float
    key: bytes


@contextlib.asynccontextmanager
async def request_body(request: Request, engine: Engine) -> AsyncIterator[Body]:
    """The body of a request, which may be compressed, for as long as it is worked on.

    What is done within is cancelled when the caller goes away. Raises MalformedError,
    TooLargeError, TooSlowError, EncodingError, OverloadedError and ClientDisconnect.
    """
    seconds = timeout(request.headers.get("x-request-timeout"))
    deadline = time.monotonic() + seconds
    coding = _coding(request.headers.get("content-encoding", "identity"))
    content: bytes | bytearray = bytearray()
    try:
        try:
            async with asyncio.timeout(seconds):
                async for chunk in request.stream():
                    content += chunk
                    engine.queue.held += len(chunk)
                    _check(len(content), engine)
        except TimeoutError:
            raise TooSlowError("the body did not arrive in time") from None
        whole = await asyncio.to_thread(inflated, content, coding) if coding else bytes(content)
        engine.queue.held += len(whole) - len(content)
        content = whole  # so that what was sent is held no more
        _check(len(content), engine)
        release_reservation(request)
        async with _while_connected(request):
            yield Body(whole, deadline, request.headers.get("x-request-key", "").encode() or whole)
    finally:
        engine.queue.held -= len(content)


def release_reservation(request: Request) -> None:
    """Keep no room any more for a request of which it is now known what it takes."""
    if coming := request.scope.pop(RESERVATION, None):
        coming.release()


def timeout(given: str | bytes | None) -> float:
    """The seconds that a header `X-Request-Timeout` allows; raises MalformedError."""
    try:
        seconds = TIMEOUT if given is None else float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= TIMEOUT_LIMIT:
        raise MalformedError(
            f"X-Request-Timeout: must be seconds above 0 and up to {TIMEOUT_LIMIT:g}"
        )
    return seconds


def inflated(content: bytes | bytearray, coding: str) -> bytes:
    """What was compressed by `coding`; raises MalformedError and TooLargeError."""
    whole, rest = bytearray(), memoryview(content)
    try:
        while rest or not whole:  # gzip may have several members
            rest = _inflated_member(rest, coding, whole)
    except zlib.error:
        raise MalformedError(f"the body is not valid {coding}") from None
    return bytes(whole)


def _inflated_member(rest: memoryview, coding: str, whole: bytearray) -> memoryview:
    """Append what the first member of the rest says; returns what comes behind it."""
    inflate = zlib.decompressobj(_window_bits(rest, coding))
    while rest and not inflate.eof:
        piece = rest[:INFLATED_BYTES]
        whole += inflate.decompress(piece, BODY_LIMIT + 1 - len(whole))
        if len(whole) > BODY_LIMIT:
            raise TooLargeError(_TOO_LARGE)
        rest = rest[len(piece) - len(inflate.unused_data) :]
    if not inflate.eof:
        raise MalformedError(f"the body is not whole {coding}")
    return rest


def _window_bits(content: memoryview, coding: str) -> int:
    """What zlib calls the format; some senders leave out the header that `deflate` should have."""
    if coding == "deflate" and content[:1] and content[0] & 0x0F != zlib.DEFLATED:
        return -zlib.MAX_WBITS
    return zlib.MAX_WBITS + (0 if coding == "deflate" else 16)


def _coding(given: str) -> str | None:
    """The one coding of a body, None if it is sent as it is; raises EncodingError."""
    coding = given.strip().lower()
    if coding in IDENTITY:
        return None
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise EncodingError("a body may be encoded with gzip or deflate", "gzip, deflate")
    return coding


def _check(size: int, engine: Engine) -> None:
    """Raise where a body, or all of them together, are too large."""
    if size > BODY_LIMIT:
        raise TooLargeError(_TOO_LARGE)
    if engine.queue.held > HELD_LIMIT:
        engine.metrics.count_shed()
        raise OverloadedError(engine.queue.retry_after)


@contextlib.asynccontextmanager
async def _while_connected(request: Request) -> AsyncIterator[None]:
    """Cancel what is done within when the caller goes away, and raise ClientDisconnect."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    watching: list[asyncio.Task[None]] = []

    async def watch() -> None:
        await request.receive()  # after the body, there comes nothing but the end
        if task:
            task.cancel()

    timer = loop.call_later(PROMPT, lambda: watching.append(loop.create_task(watch())))
    try:
        yield
    except asyncio.CancelledError:
        if task and any(watcher.done() for watcher in watching):
            task.uncancel()
            raise ClientDisconnect from None
        raise
    finally:
        timer.cancel()
        for watcher in watching:
            watcher.cancel()
