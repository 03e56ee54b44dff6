"""Request bodies: reading within limits of size and time, decompression, and disconnections."""

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
    TooLargeError,
    TooSlowError,
)
from labelwright.service.engine.engine import Engine

BODY_LIMIT = 16 << 20
"""Maximum size of a request body in bytes, before and after decompression."""
TIMEOUT = 5.0
TIMEOUT_LIMIT = 60.0
"""Seconds from the head of a request to its deadline: the default and the maximum."""
INFLATE_BYTES = 1 << 12
"""Number of compressed bytes that zlib gets at a time. At the end of a gzip member, zlib copies the
rest of these bytes. The small number limits the cost of a body with many small members."""
DISCONNECTED = "labelwright.disconnected"
"""Key in the ASGI scope of a request, which is set when the client has disconnected."""
RESERVATION = "labelwright.reservation"
"""Key in the ASGI scope of a request. The value is the request's Reservation in the queue."""
IDENTITY = ("", "identity")
"""Values of Content-Encoding for a body that is not encoded."""
DISCONNECT_CHECK_SECONDS = 0.05
"""Seconds after which the service begins to watch for a disconnection, to cancel the request. Most
requests have their response before that."""


@dataclasses.dataclass(frozen=True)
class Body:
    """The body of a request and its deadline.

    Attributes:
        content: the decompressed body.
        deadline: monotonic time by which the response is needed.
        key: bytes that decide whether the champion or the challenger responds. They are the value
            of the header `X-Request-Key`, or the content if there is no such header.
    """

    content: bytes
    deadline: float
    key: bytes


@contextlib.asynccontextmanager
async def request_body(request: Request, engine: Engine) -> AsyncIterator[Body]:
    """Read and decompress the body of a request; the context gets the Body.

    Until the context ends, the body counts towards the client's share of memory, and a
    disconnection of the client cancels the code in the context. Raises MalformedError,
    TooLargeError, TooSlowError, EncodingError, OverloadedError and ClientDisconnect.
    """
    seconds = timeout(request.headers.get("x-request-timeout"))
    deadline = time.monotonic() + seconds
    coding = _content_coding(request.headers.get("content-encoding", "identity"))
    with engine.holding_memory() as held:
        content = bytearray()
        try:
            async with asyncio.timeout(seconds):
                async for chunk in request.stream():
                    content += chunk
                    if len(content) > BODY_LIMIT:
                        raise _too_large()
                    engine.hold(held, len(content))
        except TimeoutError:
            raise TooSlowError(
                f"the body did not arrive within {seconds:g} seconds; send it faster, or set "
                f"X-Request-Timeout to up to {TIMEOUT_LIMIT:g} seconds"
            ) from None
        whole = await asyncio.to_thread(inflate, content, coding) if coding else bytes(content)
        del content
        engine.hold(held, len(whole))
        release_reservation(request)
        async with _while_connected(request):
            yield Body(whole, deadline, request.headers.get("x-request-key", "").encode() or whole)


def release_reservation(request: Request) -> None:
    """Release the capacity that is reserved for a request, if any.

    Call this when the real cost of the request is known.
    """
    if reservation := request.scope.pop(RESERVATION, None):
        reservation.release()


def timeout(header: str | bytes | None) -> float:
    """The seconds in an `X-Request-Timeout` header, or TIMEOUT without a header.

    Raises MalformedError for a header that is not a number above 0 and up to TIMEOUT_LIMIT.
    """
    try:
        seconds = TIMEOUT if header is None else float(header)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= TIMEOUT_LIMIT:
        raise MalformedError(
            f"X-Request-Timeout must be a number of seconds above 0 and up to {TIMEOUT_LIMIT:g}, "
            "for example 2.5"
        )
    return seconds


def inflate(content: bytes | bytearray, coding: str) -> bytes:
    """Decompress a body; `coding` is a result of `_content_coding` and not None.

    Raises MalformedError if the data is invalid or incomplete, and TooLargeError if the result has
    more than BODY_LIMIT bytes.
    """
    whole, rest = bytearray(), memoryview(content)
    try:
        while rest or not whole:  # gzip may have several members
            rest = _inflate_member(rest, coding, whole)
    except zlib.error:
        raise MalformedError(
            f"the body is not valid {coding} data, which its Content-Encoding announces; compress "
            "it, or leave the header out"
        ) from None
    return bytes(whole)


def _inflate_member(rest: memoryview, coding: str, whole: bytearray) -> memoryview:
    """Decompress the first member of `rest` and append it to `whole`; returns the data after it."""
    decompress = zlib.decompressobj(_window_bits(rest, coding))
    while rest and not decompress.eof:
        piece = rest[:INFLATE_BYTES]
        whole += decompress.decompress(piece, BODY_LIMIT + 1 - len(whole))
        if len(whole) > BODY_LIMIT:
            raise _too_large()
        rest = rest[len(piece) - len(decompress.unused_data) :]
    if not decompress.eof:
        raise MalformedError(f"the {coding} data of the body is incomplete; send all of it")
    return rest


def _window_bits(content: memoryview, coding: str) -> int:
    """The `wbits` argument of zlib for a coding.

    Some clients send `deflate` data without the zlib header, for which the argument is negative.
    """
    if coding == "deflate" and content[:1] and content[0] & 0x0F != zlib.DEFLATED:
        return -zlib.MAX_WBITS
    return zlib.MAX_WBITS + (0 if coding == "deflate" else 16)


def _content_coding(header: str) -> str | None:
    """The coding in a Content-Encoding header, or None if the body is not encoded.

    Raises EncodingError for a coding that is not supported.
    """
    coding = header.strip().lower()
    if coding in IDENTITY:
        return None
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise EncodingError(
            "the Content-Encoding of the body is not supported; use gzip or deflate, or send it "
            "uncompressed",
            "gzip, deflate",
        )
    return coding


def _too_large() -> TooLargeError:
    return TooLargeError(
        f"the body has more than {BODY_LIMIT:,} bytes; split it into several requests, or send the "
        "entities as a stream"
    )


@contextlib.asynccontextmanager
async def _while_connected(request: Request) -> AsyncIterator[None]:
    """Cancel the code in the context and raise ClientDisconnect if the client disconnects."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    watchers: list[asyncio.Task[None]] = []

    async def watch() -> None:
        await request.receive()  # after the body, the next message is the disconnection
        if task:
            task.cancel()

    timer = loop.call_later(
        DISCONNECT_CHECK_SECONDS, lambda: watchers.append(loop.create_task(watch()))
    )
    try:
        yield
    except asyncio.CancelledError:
        if task and any(watcher.done() for watcher in watchers):
            task.uncancel()
            raise ClientDisconnect from None
        raise
    finally:
        timer.cancel()
        for watcher in watchers:
            watcher.cancel()
