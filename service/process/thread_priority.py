"""Priority of compute threads relative to the event loop."""

import contextlib
import os
import threading


def lower_priority(by: int) -> None:
    """Raise the niceness of this thread to `by` above the niceness of the process.

    Without this, the event loop would wait for a processor under overload, and responses would be
    late. On systems where single threads have no priority, this function does nothing.
    """
    with contextlib.suppress(OSError):
        niceness = os.getpriority(os.PRIO_PROCESS, os.getpid())
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness + by)
