"""Queue of labelling jobs, divided fairly among clients, and bounded by the deadlines of jobs."""

import asyncio
import collections
import dataclasses
import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from labelwright.entities.errors import OverloadedError
from labelwright.models.decisions import Predictions
from labelwright.models.registry import Model
from labelwright.service.request import ParsedRequest
from labelwright.service.telemetry.request_record import Client, RequestRecord

BATCH_ROWS = 128
"""Maximum number of rows in a batch of several jobs. At this size, the fixed cost of a batch is
small in comparison."""
BUSY_BATCH_ROWS = 512
"""Maximum number of rows in a batch of several jobs if the queue is long. Throughput is then more
important than latency."""
QUEUE_SHARE = 4
"""A batch has at most 1 / QUEUE_SHARE of the rows of a long queue, so that other threads get work
too."""
REQUEST_ROWS = 8
"""Fixed cost of a request, in rows."""
SAFETY_FACTOR = 1.5
"""The expected time is the estimated time multiplied by this factor. It is greater than 1, because
the work on a job that misses its deadline is wasted."""
PACE_SECONDS = 2.0
"""Time constant of the exponential moving average of the pace, in seconds."""
STALLED_SECONDS = 60.0
"""A batch that takes longer than this counts as stalled."""


@dataclasses.dataclass(frozen=True)
class LabelWork:
    """A protocol's functions to parse a request and to serialise its response, which compute
    threads call."""

    parse: Callable[[Model], ParsedRequest]
    serialise: Callable[[Model, Any, Predictions], Any]


@dataclasses.dataclass(eq=False)
class QueuedJob:
    """The work of one request, and the model that serves it. Times are monotonic."""

    work: LabelWork | Callable[[Model], Any]
    model: Model
    rows: int
    deadline: float
    future: "asyncio.Future[Any]"
    record: RequestRecord
    queued_at: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def is_awaited(self) -> bool:
        """Whether the request still waits for a response and its deadline has not passed."""
        return not self.future.done() and time.monotonic() < self.deadline

    @property
    def cost(self) -> int:
        """Cost in rows: the rows of the job and the fixed cost of a request."""
        return self.rows + REQUEST_ROWS

    @property
    def client(self) -> Client:
        """The client that sent the request."""
        return self.record.client


class Reservation:
    """Capacity of a queue that is reserved for a request while the request's body arrives."""

    def __init__(self, queue: "JobQueue", rows: int, client: Client) -> None:
        self._queue, self._cost, self._client = queue, rows + REQUEST_ROWS, client
        queue.change_reserved(client, self._cost)

    def release(self) -> None:
        """Release the capacity; a second call has no effect."""
        if self._cost:
            self._queue.change_reserved(self._client, -self._cost)
            self._cost = 0


@dataclasses.dataclass
class _Flow:
    """The work of one client: its `cost` in rows, and the `turn` of its last job."""

    cost: int = 0
    turn: int = 0


class JobQueue:
    """Jobs in a fair order, and an estimate of the time to compute them.

    Clients that have jobs in the queue get the same number of rows a second. The addresses that use
    one API key are divided in the same way, and together are one client. Jobs of one client keep
    their order. The order is that of self-clocked fair queueing (S. J. Golestani, "A Self-Clocked
    Fair Queueing Scheme for Broadband Applications", INFOCOM 1994).

    Attributes:
        cost: cost in rows of all jobs that wait or are being computed.
        reserved: cost in rows of all reservations that are not released.
    """

    def __init__(self) -> None:
        self.cost = 0
        self.reserved = 0
        self._waiting: set[QueuedJob] = set()
        self._turns: list[tuple[int, int, QueuedJob]] = []
        self._turn = 0
        self._numbers = itertools.count()
        self._flows: dict[Client, _Flow] = {}
        self._addresses: collections.Counter[str] = collections.Counter()
        self._computing: set[QueuedJob] = set()
        self._changed = threading.Condition()
        self._open = True
        self._batch_started: dict[int, float] = {}
        self._last_finished = time.monotonic()
        self._measured = (0.05, 1_000.0)

    @property
    def waiting(self) -> int:
        """Number of jobs that no thread has started."""
        return len(self._waiting)

    @property
    def pace(self) -> float:
        """Recent average of the seconds per row, for all compute threads together."""
        seconds, rows = self._measured
        return seconds / rows

    @property
    def stalled(self) -> bool:
        """Whether a batch has been computing for more than STALLED_SECONDS."""
        oldest = min(list(self._batch_started.values()), default=math.inf)
        return time.monotonic() - oldest > STALLED_SECONDS

    @property
    def retry_after(self) -> int:
        """Expected time until all present work is finished, in whole seconds; at least 1."""
        return max(1, math.ceil(self.expected_seconds()))

    def expected_seconds(self, rows: int = 0, client: Client | None = None) -> float:
        """Expected seconds until `rows` further rows are finished, if they arrive now.

        If the client is given, the other clients get as many rows as the client until then, if they
        have so many.
        """
        ahead = self.cost + self.reserved
        if client is not None:
            flow = self._flows.get(client)
            own = flow.cost if flow else 0
            others = len(self._flows) - bool(flow)
            ahead = own + min(ahead - own, others * (own + rows + REQUEST_ROWS))
        return (ahead + rows) * self.pace * SAFETY_FACTOR

    def cannot_finish(self, rows: int, seconds: float, client: Client) -> bool:
        """Whether `rows` further rows are expected to be finished later than in `seconds`.

        Returns False if there is no other work: an idle service tries every request.
        """
        return self.cost + self.reserved > 0 and self.expected_seconds(rows, client) > seconds

    def reserve(self, rows: int, client: Client) -> Reservation:
        """Reserve capacity for a request of about `rows` rows."""
        return Reservation(self, rows, client)

    def change_reserved(self, client: Client, cost: int) -> None:
        """Add to the reserved capacity of a client; `Reservation` calls this."""
        with self._changed:
            self.reserved += cost
            self._change_flow(client, cost)

    def admit(self, rows: int, deadline: float, client: Client) -> None:
        """Raise OverloadedError if a request of `rows` rows cannot meet its monotonic deadline."""
        if self.cannot_finish(rows, deadline - time.monotonic(), client):
            raise OverloadedError(self.retry_after)

    def add(self, job: QueuedJob) -> None:
        """Add a job. Its turn comes after the jobs of its client, and after as many rows of each
        other client."""
        with self._changed:
            if not self._waiting and not self._batch_started:
                self._last_finished = time.monotonic()
            self._change_cost(job, job.cost)
            flow = self._flows[job.client]
            flow.turn = max(self._turn, flow.turn) + job.cost * self._addresses[job.client.payer]
            self._waiting.add(job)
            heapq.heappush(self._turns, (flow.turn, next(self._numbers), job))
            self._changed.notify()

    def remove(self, job: QueuedJob) -> None:
        """Remove a job if no thread has started it; otherwise do nothing."""
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                self._change_cost(job, -job.cost)

    def _change_cost(self, job: QueuedJob, cost: int) -> None:
        self.cost += cost
        self._change_flow(job.client, cost)

    def _change_flow(self, client: Client, cost: int) -> None:
        """Add to the work of a client; a client without work is forgotten."""
        flow = self._flows.get(client)
        if flow is None:
            flow = self._flows[client] = _Flow()
            self._addresses[client.payer] += 1
        flow.cost += cost
        if not flow.cost:
            del self._flows[client]
            self._addresses[client.payer] -= 1
            if not self._addresses[client.payer]:
                del self._addresses[client.payer]

    def _next_job(self) -> QueuedJob:
        """The waiting job whose turn comes first. Removed jobs are dropped."""
        while self._turns[0][2] not in self._waiting:
            heapq.heappop(self._turns)
        return self._turns[0][2]

    def take_batch(self) -> Sequence[QueuedJob]:
        """Wait for jobs and take the next ones; after `close`, return an empty batch.

        A batch of several jobs has at most BATCH_ROWS rows, or up to BUSY_BATCH_ROWS rows if the
        queue is long. A larger job is a batch of its own.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._open)
            batch: list[QueuedJob] = []
            rows, limit = 0, min(max(self.cost // QUEUE_SHARE, BATCH_ROWS), BUSY_BATCH_ROWS)
            while self._waiting and self._open:
                job = self._next_job()
                rows += job.rows
                if batch and rows > limit:
                    break
                batch.append(job)
                self._turn = heapq.heappop(self._turns)[0]
                self._waiting.remove(job)
            self._computing.update(batch)
            self._batch_started[threading.get_ident()] = time.monotonic()
            return batch

    def finish_job(self, job: QueuedJob) -> None:
        """Subtract the cost of a job that has its result.

        The cost is not kept until the whole batch is finished, because the client may send its next
        request before that.
        """
        with self._changed:
            if job in self._computing:
                self._computing.remove(job)
                self._change_cost(job, -job.cost)

    def finish_batch(self, batch: Sequence[QueuedJob]) -> None:
        """Finish the remaining jobs of this thread's batch, and update the pace."""
        for job in batch:
            self.finish_job(job)
        with self._changed:
            now, cost = time.monotonic(), sum(job.cost for job in batch)
            self._batch_started.pop(threading.get_ident())
            kept = math.exp((self._last_finished - now) / PACE_SECONDS)
            seconds, rows = self._measured
            self._measured = (kept * seconds + now - self._last_finished, kept * rows + cost)
            self._last_finished = now

    def close(self) -> None:
        """Let `take_batch` return no more jobs, so that the compute threads end."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
