"""Waiting until a condition is true, for example because of another process."""

import time
from collections.abc import Callable

SECONDS = 240.0
INTERVAL = 0.05


def wait_until(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Check a condition until it is true; fail if it is not true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not true within {seconds:g} seconds"
        time.sleep(INTERVAL)
