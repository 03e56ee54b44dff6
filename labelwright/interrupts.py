"""Signal handling of the command line: SIGINT (Ctrl-C) and SIGTERM raise one exception.

An exception of a signal handler is raised in the code that the main thread is running. Python loses
this exception in two cases: while a compiled module is being imported, and in a finalizer. Both
cases are frequent while a command imports its libraries. In these cases, the signal is handled
again RETRY_SECONDS later.
"""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

RETRY_SECONDS = 0.01
"""Time in seconds after which a signal is handled again if its exception would be lost."""


class Interrupted(KeyboardInterrupt):
    """Exception that ends the command after a signal.

    A plain KeyboardInterrupt is not enough: if it leaves an `exec` (such as the one in
    `dataclass`), CPython ends with SIGINT instead of the exit code.
    """


class InterruptHandler:
    """Handler of SIGINT and SIGTERM, with a timer that repeats the handling if it must wait."""

    def __init__(self) -> None:
        self.number = signal.SIGINT
        """The last signal that was received."""
        self._report_unraisable = sys.unraisablehook
        self._retrying = False

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Raise Interrupted, at once or after the current import of a compiled module.

        If the first signal is still waiting for an import, a second signal raises at once.
        """
        self.number = signal.Signals(number)
        if self._retrying:
            raise Interrupted
        self.on_timer(number, frame)

    def on_timer(self, _: int, frame: FrameType | None) -> None:
        """Raise Interrupted, unless a compiled module is still being imported."""
        # A compiled module may convert the exception to ImportError; many libraries suppress that.
        if _imports_compiled_module(frame):
            self._retry()
        else:
            raise Interrupted

    def on_unraisable(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """Handle the signal again if Interrupted was raised in a finalizer.

        Python would only print an exception of a finalizer.
        """
        if isinstance(unraisable.exc_value, Interrupted):
            self._retry()
        else:
            self._report_unraisable(unraisable)

    def _retry(self) -> None:
        # This is a timer signal and not a thread, because starting a thread needs a lock, which may
        # be held while a finalizer runs.
        self._retrying = True
        signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS)


@contextlib.contextmanager
def interruptible() -> Iterator[InterruptHandler]:
    """Make SIGINT and SIGTERM raise Interrupted in the main thread; ignored signals stay ignored.

    The previous signal handlers are restored at the end.
    """
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
    """Whether the frame or one of its callers is a method of the loader of compiled modules."""
    while frame is not None:
        if frame.f_code.co_qualname.startswith("ExtensionFileLoader."):
            return True
        frame = frame.f_back
    return False
