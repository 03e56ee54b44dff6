"""Shutdown on signals: the first one finishes the running requests, the second ends the process."""

import asyncio
import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from labelwright.service.engine.engine import Engine

DRAIN_SECONDS = 1.0
"""Seconds between SIGTERM and the shutdown. During this time, the service still accepts requests,
but reports that it is not ready, so that load balancers send further requests elsewhere."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_Handler = Callable[[int, Any], object]


@contextlib.contextmanager
def drain_on_signal(engine: Engine) -> Iterator[None]:
    """In the context, SIGTERM makes the engine not ready, and stops the server DRAIN_SECONDS later.

    SIGINT makes the engine not ready and stops the server at once. Enter the context in a running
    event loop.
    """
    loop = asyncio.get_running_loop()

    def drain(number: int, previous: _Handler) -> None:
        engine.stopping = True
        seconds = DRAIN_SECONDS if number == signal.SIGTERM else 0.0
        loop.call_soon_threadsafe(loop.call_later, seconds, previous, number, None)

    with on_first_and_second_signal(drain):
        yield


@contextlib.contextmanager
def on_first_and_second_signal(
    first: Callable[[int, _Handler], object] = lambda number, previous: previous(number, None),
    second: Callable[[], object] = lambda: None,
) -> Iterator[None]:
    """In the context, the first SIGTERM or SIGINT calls `first`, the second one calls `second`.

    `first` gets the number of the signal and the previous handler. After the call of `second`, the
    signal ends the process. A worker process ignores the second signal, because a signal to the
    whole process group reaches a worker twice: directly and through the supervisor. The supervisor
    ends the workers itself.

    Outside the main thread, the context has no effect, because Python handles no signals there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous_handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    received: list[int] = []

    def handle(number: int, frame: object) -> None:
        received.append(number)
        previous = previous_handlers[signal.Signals(number)]
        if len(received) == 1 and callable(previous):
            first(number, previous)
        elif multiprocessing.parent_process() is None:
            second()
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in _SIGNALS:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, previous in previous_handlers.items():
            signal.signal(number, previous)
