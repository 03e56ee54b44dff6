"""Rate limits of API keys, with one token bucket for each key."""

import math
import time
from collections.abc import Callable

from labelwright.entities.errors import RateError
from labelwright.service.middleware.keys import Key

_ROUNDING = 1e-9


class RateLimiter:
    """Token buckets of one worker process.

    The rate and the burst of a key are divided equally among `workers` processes. In each process,
    the bucket of a key therefore gains `rate / workers` tokens a second. It holds up to
    `burst / workers` tokens, but at least one. A request takes one token.
    """

    def __init__(self, workers: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._workers = workers
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def acquire(self, key: Key) -> None:
        """Take a token for one request; raises RateError if the bucket of the key is empty."""
        if not key.rate:
            return
        rate, size = key.rate / self._workers, max(1.0, key.burst / self._workers)
        now = self._clock()
        tokens, updated_at = self._buckets.get(key.id, (size, now))
        tokens = min(size, tokens + (now - updated_at) * rate)
        if tokens < 1 - _ROUNDING:
            self._buckets[key.id] = tokens, now
            raise RateError(key.rate, math.ceil((1 - tokens) / rate))
        self._buckets[key.id] = tokens - 1, now
