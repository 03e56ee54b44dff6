"""Signal handling of the command line: SIGINT (Ctrl-C) and SIGTERM raise one exception.

Python raises an exception from a signal handler in whatever code the main thread is running. At two
kinds of moment that exception is lost: while a compiled module is being imported, and in a
finalizer. Both are frequent while a command imports its libraries. There the signal is handled
again a few milliseconds later.
"""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

RETRY_SECONDS = 0.01
"""Time until a signal that came at a bad moment is handled again."""


class Interrupted(KeyboardInterrupt):
    """A signal has ended the command.

    A class of its own, because CPython ends with SIGINT instead of the exit code once a plain
    KeyboardInterrupt has left an `exec`, such as the one that makes a dataclass.
    """


class InterruptHandler:
    """Handler of SIGINT and SIGTERM, and of the timer that handles one of them again."""

    def __init__(self) -> None:
        self.number = signal.SIGINT
        """The last signal that came."""
        self._report_unraisable = sys.unraisablehook
        self._retrying = False

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Raise Interrupted, or wait for the end of the import of a compiled module.

        A second signal does not wait.
        """
        self.number = signal.Signals(number)
        if self._retrying:
            raise Interrupted
        self.on_timer(number, frame)

    def on_timer(self, _: int, frame: FrameType | None) -> None:
        """Raise Interrupted, unless a compiled module is still being imported."""
        # The module could turn the exception into an ImportError, which many libraries suppress.
        if _imports_compiled_module(frame):
            self._retry()
        else:
            raise Interrupted

    def on_unraisable(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """Try again if Interrupted was raised in a finalizer, where Python only prints it."""
        if isinstance(unraisable.exc_value, Interrupted):
            self._retry()
        else:
            self._report_unraisable(unraisable)

    def _retry(self) -> None:
        # A timer signal, and not a thread: a finalizer may run while the lock is held that
        # starting a thread needs.
        self._retrying = True
        signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS)


@contextlib.contextmanager
def interruptible() -> Iterator[InterruptHandler]:
    """Let SIGINT and SIGTERM raise Interrupted in the main thread, unless they are ignored."""
    handler = InterruptHandler()
    previous_hook = sys.unraisablehook
    sys.unraisablehook = handler.on_unraisable
    previous = {signal.SIGALRM: signal.signal(signal.SIGALRM, handler.on_timer)}
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            previous[number] = signal.signal(number, handler.on_signal)
    try:
        yield handler
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, action in previous.items():
            signal.signal(number, action)
        sys.unraisablehook = previous_hook


def _imports_compiled_module(frame: FrameType | None) -> bool:
    """Whether the frame, or one that called it, is a method of the loader of compiled modules."""
    while frame is not None:
        if frame.f_code.co_qualname.startswith("ExtensionFileLoader."):
            return True
        frame = frame.f_back
    return False
