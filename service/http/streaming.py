"""Streams: a client sends rows and receives labels at the same time, in constant memory.

The received rows are split into pieces. Pieces are labelled in parallel, and their results are
sent in order. Slow readers are throttled: while PIECES_IN_PROGRESS pieces are in progress and the
receive buffer is full, nothing more is read from the client. A stream counts towards the client's
share of memory, which limits the number of open streams.
"""

import asyncio
import contextlib
import dataclasses
import itertools
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from typing import Any, Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from labelwright.entities.errors import DataError, EncodingError, LabelwrightError, OverloadedError
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.registry import Model
from labelwright.service.engine.engine import Engine
from labelwright.service.engine.parts import PART_ROWS, cost_of
from labelwright.service.http.body import (
    BODY_LIMIT,
    DISCONNECTED,
    IDENTITY,
    TIMEOUT,
    release_reservation,
)
from labelwright.service.http.errors import public_message
from labelwright.service.http.headers import model_headers
from labelwright.service.request import ParsedRequest

STREAM_BYTES = 16 << 20
"""Estimated memory of a stream, without the data that its format keeps."""
SPARE_BYTES = BODY_LIMIT
"""Memory that must be free for the client's other requests when a stream is opened."""
RETRY_SECONDS = 10
"""Minimum value of Retry-After for a stream that is refused because of other streams."""
PIECE_ROWS = PART_ROWS
"""Maximum number of rows of a piece."""
PIECE_LABELS = 1 << 15
"""Maximum of rows times `top_k` for a piece. With a large `top_k`, pieces have fewer rows."""
PIECES_IN_PROGRESS = 3
"""Number of pieces that are labelled or wait to be sent: one more than COMPUTE_THREADS."""
BUFFER_LIMIT = 1 << 20
"""Maximum size of the received data that waits to be split, in bytes."""
SPLIT_ROWS = 64
"""Cost of one splitting job, as a number of labelled rows."""
IDLE_SECONDS = 60.0
"""Seconds without progress after which a stream or connection is closed."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """Consecutive rows of a stream, which are labelled as one job.

    Compute threads call `parse`, which parses the rows, and `serialise`, which serialises the
    results. `rows` is the number of rows, and `size` the number of bytes of their text.
    """

    rows: int
    parse: Callable[[Model], ParsedRequest]
    serialise: Callable[[Model, ParsedRequest, Predictions], bytes]
    size: int = 0


class StreamFormat(Protocol):
    """Format of a stream.

    The response has the media type `media_type`. Its body begins with `opening` and ends with
    `ending`; the results of all pieces are between them.
    """

    media_type: str
    opening: bytes
    ending: bytes

    @property
    def held_bytes(self) -> int:
        """The size of the data that the format keeps for the rest of the stream, in bytes."""
        ...

    def split(self, received: Sequence[bytes], last: bool) -> Iterator[Piece]:
        """The pieces that the received bytes complete, in order.

        `last` is whether the stream ends with these bytes. Compute threads call this method. The
        iterator makes each piece only when it is needed, because a few bytes may encode millions of
        rows. Raises DataError if the stream is not valid.
        """
        ...

    def failure(self, detail: str) -> bytes:
        """The serialised last result of a stream that ends early, with the reason `detail`."""
        ...


def rows_per_piece(query: LabelQuery) -> int:
    """Maximum number of rows of a piece that is labelled with a query."""
    return max(1, min(PIECE_ROWS, PIECE_LABELS // query.top_k))


class LabelStreamResponse(Response):
    """Results for the rows of a request, sent while the request is still arriving.

    One model labels all rows: the model that was in service at the start. The headers name this
    model. `begin` raises an error that occurs before the first result, so that it becomes an error
    response. A later error is sent as the format's `failure`. The response then has no proper end,
    so that no client takes the results for complete.
    """

    def __init__(self, request: Request, engine: Engine, form: StreamFormat) -> None:
        _check_uncompressed(request)
        model = engine.model
        super().__init__(headers=model_headers(model), media_type=form.media_type)
        del self.headers["content-length"]
        self._form = form
        release_reservation(request)
        self._results = _Pipeline(engine, model, form).results(request)
        self._first = b""

    async def begin(self) -> None:
        """Wait for the first result.

        Raises LabelwrightError if the stream is invalid or refused, and ClientDisconnect.
        """
        self._first = await anext(self._results, b"")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response with all results."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        async with contextlib.aclosing(self._results):
            with contextlib.suppress(ClientDisconnect):
                await send(start)
                try:
                    await _send(send, self._form.opening + self._first)
                    async for result in self._results:
                        await _send(send, result)
                    await _send(send, self._form.ending, more=False)
                except LabelwrightError as error:
                    await _send(send, self._form.failure(public_message(error)))


async def _send(send: Send, body: bytes, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


class _Pipeline:
    """Tasks of one stream.

    One task receives the body and one splits it into pieces. A further task labels each piece.
    """

    def __init__(self, engine: Engine, model: Model, form: StreamFormat) -> None:
        self._engine, self._model, self._form = engine, model, form
        self._buffer = _ReceiveBuffer()
        self._pieces = asyncio.Queue[asyncio.Task[bytes] | None](PIECES_IN_PROGRESS)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._errors: list[Exception] = []

    async def results(self, request: Request) -> AsyncGenerator[bytes, None]:
        """The serialised results of all pieces, in order.

        Closing the generator cancels all tasks. Raises OverloadedError if the client holds its
        share of memory. If a piece or the body is invalid, the results of the earlier pieces are
        yielded before the error is raised.
        """
        with self._engine.holding_memory() as self._held:
            self._hold_memory(SPARE_BYTES)
            self._hold_memory()
            self._start(self._buffer.fill(request))
            self._start(self._split_to_end())
            try:
                while (piece := await self._pieces.get()) and DISCONNECTED not in request.scope:
                    yield await piece
                for error in self._errors:
                    raise error
            finally:
                for task in tuple(self._tasks):
                    task.cancel()

    async def _split_to_end(self) -> None:
        """Split the whole body; an error is stored in `_errors`, and `results` raises it."""
        try:
            await self._split()
        except Exception as error:  # noqa: BLE001 - `results` raises it after the last piece
            self._errors.append(error)
        await self._pieces.put(None)

    async def _split(self) -> None:
        seconds, last = TIMEOUT, False
        while not last:
            received, last = await self._buffer.take()
            work, more = _next_pieces(self._form.split(received, last)), True
            while more:
                found = await self._engine.compute(work, SPLIT_ROWS, time.monotonic() + seconds)
                seconds, more = IDLE_SECONDS, len(found) == PIECES_IN_PROGRESS
                self._hold_memory()
                for piece in found:
                    await self._pieces.put(self._start(self._label(piece)))

    def _hold_memory(self, more: int = 0) -> None:
        try:
            self._engine.hold(self._held, STREAM_BYTES + self._form.held_bytes + more)
        except OverloadedError as error:
            raise OverloadedError(max(RETRY_SECONDS, error.retry_after)) from None

    async def _label(self, piece: Piece) -> bytes:
        deadline = time.monotonic() + IDLE_SECONDS
        return await self._engine.label(
            piece.parse,
            piece.serialise,
            cost_of(piece.rows, piece.size),
            deadline,
            model=self._model,
        )

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_end)
        return task

    def _on_end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # otherwise asyncio logs the exception of a task that is not awaited


def _check_uncompressed(request: Request) -> None:
    """Raise EncodingError if the request has a content coding."""
    if request.headers.get("content-encoding", "").strip().lower() not in IDENTITY:
        raise EncodingError(
            "a stream must not have a Content-Encoding; send it uncompressed", "identity"
        )


def _next_pieces(pieces: Iterator[Piece]) -> Callable[[Model], Sequence[Piece]]:
    """A job that returns the next PIECES_IN_PROGRESS pieces, or fewer if there are no more."""
    return lambda _: list(itertools.islice(pieces, PIECES_IN_PROGRESS))


class _ReceiveBuffer:
    """Received bytes that are not split yet."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self._error: Exception | None = None
        self._ended = False
        self._changed = asyncio.Condition()

    async def fill(self, request: Request) -> None:
        """Receive the body of a request until it ends, the connection fails or the client is idle.

        Wait while the buffer has BUFFER_LIMIT bytes or more.
        """
        try:
            chunks = request.stream()
            while chunk := await _next_chunk(chunks):
                async with self._changed:
                    self._chunks.append(chunk)
                    self._size += len(chunk)
                    self._changed.notify_all()
                    await self._changed.wait_for(lambda: self._size < BUFFER_LIMIT)
        except (ClientDisconnect, DataError) as error:
            self._error = error
        finally:
            async with self._changed:
                self._ended = True
                self._changed.notify_all()

    async def take(self) -> tuple[list[bytes], bool]:
        """Wait for bytes or the end of the body; returns all bytes, and whether the body has ended.

        Raises ClientDisconnect, or DataError if the client sent nothing for IDLE_SECONDS.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._chunks or self._ended)
            if self._error:
                raise self._error
            taken, self._chunks, self._size = self._chunks, [], 0
            self._changed.notify_all()
            return taken, self._ended


async def _next_chunk(chunks: AsyncGenerator[bytes, None]) -> bytes:
    """The next bytes of a body, or no bytes at its end.

    Raises DataError if nothing arrives within IDLE_SECONDS.
    """
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            async for chunk in chunks:
                if chunk:
                    return chunk
    except TimeoutError as error:
        raise DataError(
            f"the client sent nothing for {IDLE_SECONDS:g} seconds; send the rows without such "
            "pauses, or in several streams"
        ) from error
    return b""
