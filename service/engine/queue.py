"""What waits for the compute threads: counted in rows, in order, and no more than time allows."""

import asyncio
import collections
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from labelwright.entities.errors import OverloadedError
from labelwright.entities.tables import Entities
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.registry import Model
from labelwright.service.telemetry.request_record import RequestRecord

BATCH_ROWS = 128
"""Requests are computed together up to so many rows: by then a batch's fixed cost is small."""
BUSY_BATCH_ROWS = 512
"""The same where much waits: what is left of that cost counts more than some milliseconds."""
QUEUE_SHARE = 4
"""Of all there is to do, a thread takes no more than one in so many, to leave some for others."""
REQUEST_ROWS = 8
"""What a request takes beside its rows, in rows."""
CAUTION = 1.5
"""Work is expected to take so many times the estimate: what is begun must not be in vain."""
HORIZON = 2.0
"""Seconds of work over which the pace is measured."""
STALLED = 60.0
"""Seconds after which a batch is taken to hang."""


@dataclasses.dataclass(frozen=True)
class LabelWork:
    """How a protocol reads entities and a question, and writes their answer; both take time."""

    read: Callable[[Model], tuple[Entities, LabelQuery]]
    write: Callable[[Model, Entities, Predictions], Any]


@dataclasses.dataclass(eq=False)
class QueuedJob:
    """A request that waits, with the model that it began with; `deadline` is a monotonic time."""

    work: LabelWork | Callable[[Model], Any]
    model: Model
    rows: int
    deadline: float
    answer: "asyncio.Future[Any]"
    note: RequestRecord
    since: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for the answer."""
        return not self.answer.done() and time.monotonic() < self.deadline

    @property
    def cost(self) -> int:
        """What it takes, in rows."""
        return self.rows + REQUEST_ROWS


class Reservation:
    """Room that is kept for a request while its body arrives, until it is a job or given up."""

    def __init__(self, queue: "JobQueue", rows: int) -> None:
        self._queue, self._cost = queue, rows + REQUEST_ROWS
        queue.coming += self._cost

    def release(self) -> None:
        """Keep it no more; more than once does no harm."""
        self._queue.coming -= self._cost
        self._cost = 0


class JobQueue:
    """Jobs in order of arrival, and how long they take.

    `cost` is that of all jobs that wait or are computed, and `coming` of those that are on their
    way; `held` is the size of all bodies that were not answered yet, in bytes, and `streams` those
    that are being answered.
    """

    def __init__(self) -> None:
        self.cost = 0
        self.coming = 0
        self.held = 0
        self.streams = 0
        self._waiting: collections.OrderedDict[QueuedJob, None] = collections.OrderedDict()
        self._computed: set[QueuedJob] = set()
        self._changed = threading.Condition()
        self._open = True
        self._begun: dict[int, float] = {}
        self._last = time.monotonic()
        self._measured = (0.05, 1_000.0)

    @property
    def waiting(self) -> int:
        """How many jobs nobody has begun."""
        return len(self._waiting)

    @property
    def pace(self) -> float:
        """Seconds a row, all threads together."""
        seconds, rows = self._measured
        return seconds / rows

    @property
    def stalled(self) -> bool:
        """Whether a batch takes so long that it may never end."""
        began = min(list(self._begun.values()), default=math.inf)
        return time.monotonic() - began > STALLED

    def seconds(self, rows: int = 0) -> float:
        """When so many rows would be done that came now."""
        return (self.cost + self.coming + rows) * self.pace * CAUTION

    def cannot_finish(self, rows: int, seconds: float) -> bool:
        """Whether so many rows would not be done in that time; an idle service always tries."""
        return self.cost + self.coming > 0 and self.seconds(rows) > seconds

    def expect(self, rows: int) -> Reservation:
        """Keep room for a request of about so many rows."""
        return Reservation(self, rows)

    def admit(self, rows: int, deadline: float) -> None:
        """Raise OverloadedError where a request of so many rows cannot meet its deadline."""
        if self.cannot_finish(rows, deadline - time.monotonic()):
            raise OverloadedError(self.retry_after)

    @property
    def retry_after(self) -> int:
        """Whole seconds after which there may be room."""
        return max(1, math.ceil(self.seconds()))

    def add(self, job: QueuedJob) -> None:
        """Let a job wait for the next thread that is free."""
        with self._changed:
            if not self._waiting and not self._begun:
                self._last = time.monotonic()
            self.cost += job.cost
            self._waiting[job] = None
            self._changed.notify()

    def drop(self, job: QueuedJob) -> None:
        """Forget a job that nobody has begun."""
        with self._changed:
            if job in self._waiting:
                del self._waiting[job]
                self.cost -= job.cost

    def take(self) -> Sequence[QueuedJob]:
        """What waits, up to BATCH_ROWS, or CROWD_ROWS of much, but at least one job.

        Nothing when all is over.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._open)
            batch: list[QueuedJob] = []
            rows, most = 0, min(max(self.cost // QUEUE_SHARE, BATCH_ROWS), BUSY_BATCH_ROWS)
            while self._waiting and self._open:
                job = next(iter(self._waiting))
                rows += job.rows
                if batch and rows > most:
                    break
                batch.append(job)
                del self._waiting[job]
            self._computed.update(batch)
            self._begun[threading.get_ident()] = time.monotonic()
            return batch

    def answered(self, job: QueuedJob) -> None:
        """Count a job no more: who has its answer may ask the next before its batch is done."""
        with self._changed:
            if job in self._computed:
                self._computed.remove(job)
                self.cost -= job.cost

    def done(self, batch: Sequence[QueuedJob]) -> None:
        """Take note of what a batch has taken."""
        for job in batch:
            self.answered(job)
        with self._changed:
            now, cost = time.monotonic(), sum(job.cost for job in batch)
            self._begun.pop(threading.get_ident())
            kept = math.exp((self._last - now) / HORIZON)
            seconds, rows = self._measured
            self._measured = (kept * seconds + now - self._last, kept * rows + cost)
            self._last = now

    def close(self) -> None:
        """Let threads end that wait for a job."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
