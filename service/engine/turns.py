"""Turns of clients at work that is done one at a time, outside of the compute threads."""

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator

from labelwright.service.telemetry.request_record import current_record


class Turns:
    """A lock that clients get in turn: each client has at most one place in the queue for it."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._places: weakref.WeakValueDictionary[str, asyncio.Lock]
        self._places = weakref.WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the turn of the current request; the turn ends when the context ends."""
        payer = current_record().client.payer
        place = self._places.setdefault(payer, asyncio.Lock())
        async with place, self._lock:
            yield
