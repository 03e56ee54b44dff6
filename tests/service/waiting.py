"""Waiting for a condition that another process or thread makes true."""

import time
from collections.abc import Callable

SECONDS = 240.0
INTERVAL = 0.05


def wait_until(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Check a condition until it is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not true within {seconds:g} seconds"
        time.sleep(INTERVAL)
