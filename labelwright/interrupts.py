"""Ctrl-C and SIGTERM end the work, also at moments when Python would lose or misread them."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

_AGAIN = 0.01
"""Seconds until an interrupt that came at a bad moment is tried again."""
_LOADER = "ExtensionFileLoader."
"""What imports compiled modules; how its methods are called."""


class Interrupted(KeyboardInterrupt):
    """A signal has ended the work.

    It is a kind of its own because of `exec`: once a plain KeyboardInterrupt has passed through
    one, as in the making of a dataclass, Python ends by SIGINT whatever it is told to exit with.
    """


class Interrupts:
    """What becomes of the signals that interrupt."""

    def __init__(self) -> None:
        self.number = signal.SIGINT
        """The signal that came last."""
        self.hook = sys.unraisablehook
        """What else is told of exceptions that cannot be raised."""
        self._waits = False

    def come(self, number: int, frame: FrameType | None) -> None:
        """Raise Interrupted; but while a compiled module is imported, only when that is done.

        In between, the module may make an ImportError of it, and who imports the module may do
        without. Who interrupts twice does not want to wait.
        """
        self.number = signal.Signals(number)
        if self._waits or not _compiled(frame):
            raise Interrupted
        self._later()

    def lost(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """Take up an interrupt that was raised where nothing can be, as in a finalizer.

        The import system has callbacks of that kind, and a command begins with many imports.
        """
        if isinstance(unraisable.exc_value, Interrupted):
            self._later()
        else:
            self.hook(unraisable)

    def end(self) -> None:
        """What still waits is not raised any more."""
        if self._waits:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def _later(self) -> None:
        self._waits = True
        signal.signal(signal.SIGALRM, self._again)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN)

    def _again(self, _: int, frame: FrameType | None) -> None:
        if not _compiled(frame):
            raise Interrupted
        self._later()


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Let SIGINT and SIGTERM raise Interrupted in the main thread, where they are not ignored."""
    interrupts = Interrupts()
    sys.unraisablehook = interrupts.lost
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    heard = {number: by for number, by in handlers.items() if by != signal.SIG_IGN}
    for number in heard:
        signal.signal(number, interrupts.come)
    try:
        yield interrupts
    finally:
        interrupts.end()
        for number, handler in heard.items():
            signal.signal(number, handler)
        sys.unraisablehook = interrupts.hook


def _compiled(frame: FrameType | None) -> bool:
    """Whether a compiled module is being imported by that frame or by one that waits for it."""
    while frame is not None:
        if frame.f_code.co_qualname.startswith(_LOADER):
            return True
        frame = frame.f_back
    return False
