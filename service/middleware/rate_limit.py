"""Rate limits of API keys and client addresses, with one token bucket for each of them."""

import collections
import math
import time
from collections.abc import Callable
from typing import NamedTuple

from labelwright.entities.errors import RateError

BUCKETS_LIMIT = 1 << 16
"""Maximum number of buckets; the bucket that was used the longest time ago is removed."""
_ROUNDING = 1e-9


class Rate(NamedTuple):
    """Requests a second, and requests at once; a rate of 0 means no limit."""

    rate: float = 0.0
    burst: int = 0


NO_LIMIT = Rate()


class RateLimiter:
    """Token buckets of one worker process.

    A rate and its burst are divided equally among `workers` processes. In each process, a bucket
    therefore gains `rate / workers` tokens a second. It holds up to `burst / workers` tokens, but
    at least one. A request takes one token.
    """

    def __init__(self, workers: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._workers = workers
        self._clock = clock
        self._buckets: collections.OrderedDict[tuple[str, str], tuple[float, float]]
        self._buckets = collections.OrderedDict()

    def acquire(self, kind: str, name: str, limit: Rate) -> None:
        """Take a token for one request; raises RateError if the bucket is empty.

        The bucket is that of `name`; the error message has the `kind` of the name.
        """
        if not limit.rate:
            return
        rate, size = limit.rate / self._workers, max(1.0, limit.burst / self._workers)
        now = self._clock()
        tokens, updated_at = self._buckets.pop((kind, name), (size, now))
        tokens = min(size, tokens + (now - updated_at) * rate)
        allowed = tokens >= 1 - _ROUNDING
        self._buckets[kind, name] = tokens - allowed, now
        if len(self._buckets) > BUCKETS_LIMIT:
            self._buckets.popitem(last=False)
        if not allowed:
            raise RateError(kind, limit.rate, math.ceil((1 - tokens) / rate))
