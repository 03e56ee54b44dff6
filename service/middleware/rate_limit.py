"""How often a key may ask: a bucket of tokens for each, which fills as time goes by."""

import math
import time
from collections.abc import Callable

from labelwright.entities.errors import RateError
from labelwright.service.middleware.keys import Key

_ROUNDING = 1e-9


class RateLimiter:
    """The buckets of one of `workers` processes, each of which grants its part of a key's rate."""

    def __init__(self, workers: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._workers = workers
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: Key) -> None:
        """Count one request of a key; raises RateError if that is one too many."""
        if not key.rate:
            return
        rate, size = key.rate / self._workers, max(1.0, key.burst / self._workers)
        now = self._clock()
        tokens, then = self._buckets.get(key.id, (size, now))
        tokens = min(size, tokens + (now - then) * rate)
        if tokens < 1 - _ROUNDING:
            self._buckets[key.id] = tokens, now
            raise RateError(key.rate, math.ceil((1 - tokens) / rate))
        self._buckets[key.id] = tokens - 1, now
