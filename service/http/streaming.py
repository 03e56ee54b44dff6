"""Streams: rows come and labels go over one connection at the same time, in flat memory.

What has come is cut into pieces, which are labelled side by side and answered in order. While
WINDOW pieces are on their way nothing more is read, so that who reads slowly must send slowly.
Each stream takes memory, and threads that others wait for: there are STREAMS at a time.
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
from labelwright.entities.tables import Entities
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.registry import Model
from labelwright.service.engine.engine import Engine
from labelwright.service.http.body import DISCONNECTED, IDENTITY, TIMEOUT, release_reservation
from labelwright.service.http.headers import model_headers

STREAMS = 8
"""Streams that are answered at a time."""
RETRY = 10
"""Seconds after which one of them may have ended."""
PIECE_ROWS = 2_048
PIECE_LISTED = 1 << 18
"""Labels that the answer to a piece lists: of questions with a large top_k, pieces are smaller."""
WINDOW = 3
"""Pieces that are labelled or wait to be sent: one for each compute thread, and the next."""
INBOX_LIMIT = 1 << 20
"""Bytes that have been received and not yet been looked at."""
CUTTING_ROWS = 64
"""Rows that are labelled in the time that cutting takes."""
PATIENCE = 60.0
"""Seconds for which a connection may stand still."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """So many rows; how they are read, and how their answers are written, by compute threads."""

    rows: int
    read: Callable[[Model], tuple[Entities, LabelQuery]]
    write: Callable[[Model, Entities, Predictions], bytes]


class StreamFormat(Protocol):
    """How rows and answers are written. `opening` and `ending` stand around all answers."""

    media_type: str
    opening: bytes
    ending: bytes

    def split(self, received: Sequence[bytes], last: bool) -> Iterator[Piece]:
        """What is complete of all that has come; asked in order, by compute threads.

        Pieces are made as they are asked for, because a few bytes may stand for millions of rows.
        Raises DataError where the stream cannot be read on.
        """
        ...

    def failure(self, detail: str) -> bytes:
        """Says why a stream breaks off."""
        ...


def rows_per_piece(query: LabelQuery) -> int:
    """How many rows a piece has at most."""
    return max(1, min(PIECE_ROWS, PIECE_LISTED // query.top_k))


class LabelStreamResponse(Response):
    """Answers to the rows of a request, sent while it is still coming in.

    All are of the model that serves when it begins, which its headers name. Errors before the first
    answer are raised, by `begin` those of the rows. Later ones are told as the format has it,
    and the answer is left without its end, so that no client takes it for whole.
    """

    def __init__(self, request: Request, engine: Engine, form: StreamFormat) -> None:
        _check_plain(request)
        model = engine.model
        super().__init__(headers=model_headers(model), media_type=form.media_type)
        del self.headers["content-length"]
        self._form = form
        release_reservation(request)
        self._answers = _answers(request, engine, model, form)
        self._first = b""

    async def begin(self) -> None:
        """Wait for the first answer; raises LabelwrightError, ClientDisconnect."""
        self._first = await anext(self._answers, b"")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all answers."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        async with contextlib.aclosing(self._answers):
            with contextlib.suppress(ClientDisconnect):
                await send(start)
                try:
                    await _send(send, self._form.opening + self._first)
                    async for answer in self._answers:
                        await _send(send, answer)
                    await _send(send, self._form.ending, more=False)
                except LabelwrightError as error:
                    await _send(send, self._form.failure(str(error)))


async def _send(send: Send, body: bytes, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _answers(
    request: Request, engine: Engine, model: Model, form: StreamFormat
) -> AsyncGenerator[bytes, None]:
    """The answers of a model to all pieces, in order."""
    inbox, pieces = _Inbox(), asyncio.Queue[asyncio.Task[bytes] | None](WINDOW)
    failed: list[Exception] = []
    tasks: set[asyncio.Task[Any]] = set()

    def start(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(ended)
        return task

    def ended(task: asyncio.Task[Any]) -> None:
        tasks.discard(task)
        if not task.cancelled():
            task.exception()  # else asyncio would log the words of one that nobody awaits

    async def split() -> None:
        patience, last = TIMEOUT, False
        while not last:
            received, last = await inbox.take()
            work, more = _cutting(form.split(received, last)), True
            while more:
                some = await engine.compute(work, CUTTING_ROWS, time.monotonic() + patience)
                patience, more = PATIENCE, len(some) == WINDOW
                for piece in some:
                    await pieces.put(start(_answer(engine, model, piece)))

    async def until_end(work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - raised again by who reads
            failed.append(error)
        await pieces.put(None)

    with _place(engine):
        start(inbox.fill(request))
        start(until_end(split()))
        try:
            while (piece := await pieces.get()) and DISCONNECTED not in request.scope:
                yield await piece
            for error in failed:
                raise error
        finally:
            for task in tuple(tasks):
                task.cancel()


@contextlib.contextmanager
def _place(engine: Engine) -> Iterator[None]:
    """One of the places for streams; raises OverloadedError where all are taken."""
    if engine.queue.streams >= STREAMS:
        engine.metrics.count_shed()
        raise OverloadedError(max(RETRY, engine.queue.retry_after))
    engine.queue.streams += 1
    try:
        yield
    finally:
        engine.queue.streams -= 1


def _check_plain(request: Request) -> None:
    """Raise EncodingError for what would have to be decoded first."""
    if request.headers.get("content-encoding", "").strip().lower() not in IDENTITY:
        raise EncodingError("a stream is sent as it is", "identity")


async def _answer(engine: Engine, model: Model, piece: Piece) -> bytes:
    due = time.monotonic() + PATIENCE
    return await engine.label(piece.read, piece.write, piece.rows, due, model=model)


def _cutting(found: Iterator[Piece]) -> Callable[[Model], Sequence[Piece]]:
    """Work that makes the next pieces, fewer than WINDOW where there are no more."""
    return lambda _: list(itertools.islice(found, WINDOW))


class _Inbox:
    """What has been received and nobody has taken yet."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self._end: Exception | None = None
        self._ended = False
        self._changed = asyncio.Condition()

    async def fill(self, request: Request) -> None:
        """Receive until the end, or until something is wrong with the connection."""
        try:
            chunks = request.stream()
            while chunk := await _next(chunks):
                async with self._changed:
                    self._chunks.append(chunk)
                    self._size += len(chunk)
                    self._changed.notify_all()
                    await self._changed.wait_for(lambda: self._size < INBOX_LIMIT)
        except (ClientDisconnect, DataError) as error:
            self._end = error
        finally:
            async with self._changed:
                self._ended = True
                self._changed.notify_all()

    async def take(self) -> tuple[list[bytes], bool]:
        """All that is there, as soon as there is anything, and whether it is the last.

        Raises ClientDisconnect, or DataError where nothing came for too long.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._chunks or self._ended)
            if self._end:
                raise self._end
            taken, self._chunks, self._size = self._chunks, [], 0
            self._changed.notify_all()
            return taken, self._ended


async def _next(chunks: AsyncGenerator[bytes, None]) -> bytes:
    """The next bytes, empty at the end; raises DataError where none come for too long."""
    try:
        async with asyncio.timeout(PATIENCE):
            async for chunk in chunks:
                if chunk:
                    return chunk
    except TimeoutError as error:
        raise DataError(f"nothing came for {PATIENCE:g} seconds") from error
    return b""
