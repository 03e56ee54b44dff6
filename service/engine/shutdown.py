"""Stopping: the first signal lets work come to its end, the second ends the process at once."""

import asyncio
import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from labelwright.service.engine.engine import Engine

DRAIN = 1.0
"""Seconds after SIGTERM in which requests are still taken, so that others see it is not ready."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_Handler = Callable[[int, Any], object]


@contextlib.contextmanager
def drain_on_signal(engine: Engine) -> Iterator[None]:
    """Within, in an event loop: SIGTERM turns readiness off, and lets the server end in a while.

    An interrupt does so without delay.
    """
    loop = asyncio.get_running_loop()

    def begin(number: int, before: _Handler) -> None:
        engine.stopping = True
        seconds = DRAIN if number == signal.SIGTERM else 0.0
        loop.call_soon_threadsafe(loop.call_later, seconds, before, number, None)

    with on_first_and_second_signal(begin):
        yield


@contextlib.contextmanager
def on_first_and_second_signal(
    first: Callable[[int, _Handler], object] = lambda number, before: before(number, None),
    second: Callable[[], object] = lambda: None,
) -> Iterator[None]:
    """Within, `first` is told of a signal and what handled it before, `second` of the next one.

    That one then does what a signal does by itself: it ends the process. A worker leaves that to
    its parent: who signals a whole group of processes reaches it twice.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # where no signal arrives
        return
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    seen: list[int] = []

    def handle(number: int, frame: object) -> None:
        seen.append(number)
        before = handlers[signal.Signals(number)]
        if len(seen) == 1 and callable(before):
            first(number, before)
        elif multiprocessing.parent_process() is None:
            second()
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in _SIGNALS:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, before in handlers.items():
            signal.signal(number, before)
