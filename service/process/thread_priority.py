"""Priority of compute threads relative to the event loop."""

import contextlib
import os
import threading


def lower_priority(by: int) -> None:
    """Raise the niceness of this thread to `by` above the niceness of the process.

    Otherwise the event loop would wait for a processor under overload, and refusals and responses
    would be late. Nothing happens on systems without a priority for each thread.
    """
    with contextlib.suppress(OSError):
        niceness = os.getpriority(os.PRIO_PROCESS, os.getpid())
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness + by)
