"""Which threads run first where there are more than processors."""

import contextlib
import os
import threading


def lower_priority(by: int) -> None:
    """Let this thread be nicer by so much than the one that the process began with.

    Else, under overload, the event loop would wait for what is computed, and what waits for the
    loop comes too late. Where the system has no priorities for threads, all are alike.
    """
    with contextlib.suppress(OSError):
        before = os.getpriority(os.PRIO_PROCESS, os.getpid())
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), before + by)
