"""Compute threads that label the requests of all protocols with the model in service."""

import asyncio
import contextlib
import dataclasses
import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, cast

from labelwright.entities.errors import OverloadedError
from labelwright.models.decisions import Predictions
from labelwright.models.registry import Model
from labelwright.service.engine.batching import Large, compute
from labelwright.service.engine.parts import parts_of, request_cost
from labelwright.service.engine.queue import JobQueue, LabelWork, QueuedJob
from labelwright.service.engine.shares import MEMORY_LIMIT, Holding, Shares
from labelwright.service.process.thread_priority import lower_priority
from labelwright.service.request import ParsedRequest
from labelwright.service.rollout.manager import ModelManager
from labelwright.service.rollout.shadow import ShadowComparison
from labelwright.service.telemetry.request_record import current_record
from labelwright.service.telemetry.traffic import Traffic

Request = TypeVar("Request", bound=ParsedRequest)
Result = TypeVar("Result")
COMPUTE_THREADS = 2
LABEL_BYTES = 96
"""Estimated size of a listed label in a response, in bytes."""
NICENESS = 5
"""Difference between the niceness of compute threads and that of the process. It lets the event
loop run first."""


@dataclasses.dataclass(frozen=True)
class Division(Generic[Request, Result]):
    """Functions that serialise the response to a large request in parts.

    `encode` returns the results of a part. `join` makes the response from the whole request, its
    predictions and the results of all parts. Both are called on compute threads.
    """

    encode: Callable[[Model, Request, Predictions], Sequence[Any]]
    join: Callable[[Model, Request, Predictions, list[Any]], Result]


class Engine:
    """Labels with the model in service on compute threads, so that the event loop never waits.

    The model for a request is chosen when its job is submitted. A later change of the model in
    service does not affect the job.

    Attributes:
        manager: the manager of the models in service.
        queue: the queue of jobs, with an estimate of the load.
        memory: the bytes that requests hold in memory.
        metrics: the metrics of this process.
        traffic: counts of a sample of the labelled entities.
        comparison: the shadow comparison of the challenger with the champion.
        stopping: whether the service has received a signal to stop.
    """

    def __init__(
        self, manager: ModelManager, threads: int = COMPUTE_THREADS, traffic: Traffic | None = None
    ) -> None:
        self.manager = manager
        self.traffic = traffic or Traffic()
        self.stopping = False
        self.queue = JobQueue()
        self.memory = Shares(MEMORY_LIMIT)
        self.metrics = manager.metrics
        self.comparison = ShadowComparison(manager.folder, lambda: self.queue.waiting > 0)
        for number in range(threads):
            name = f"compute-{number}"
            threading.Thread(target=self._run_compute_thread, name=name, daemon=True).start()

    @property
    def model(self) -> Model:
        """The model in service; raises ModelError if there is none."""
        return self.manager.model

    @property
    def ready(self) -> bool:
        """Whether a model is in service and the service is not stopping."""
        return self.manager.ready and not self.stopping

    async def label(
        self,
        parse: Callable[[Model], Request],
        serialise: Callable[[Model, Request, Predictions], Result],
        rows: int,
        deadline: float,
        key: bytes = b"",
        model: Model | None = None,
        division: Division[Request, Result] | None = None,
    ) -> Result:
        """Label the entities of the request that `parse` returns, and return the response.

        Args:
            parse: parses the request, on a compute thread. `label` raises its exceptions.
            serialise: makes the response from the predictions, also on a compute thread.
            rows: estimated number of rows of the request; small jobs are computed together.
            deadline: monotonic time by which the response is needed.
            key: the bytes that decide whether the champion or the challenger responds.
            model: the model to use, for example the same one for all pieces of a stream; `key` then
                has no effect. By default, `key` selects one of the models in service.
            division: functions that serialise a large request in parts. Without them, `serialise`
                is called for the whole request.

        Raises OverloadedError at once if the queue is too long to meet the deadline, and otherwise
        at the deadline if there is no response yet. If the caller is cancelled, its job is removed
        from the queue unless a compute thread has already started it.
        """
        pair = None if model else self.manager.pair(key)
        model = pair.responding if pair else model or self.model
        if pair:
            serialise = self.comparison.comparing(pair, parse, serialise)
        result = await self._submit(LabelWork(parse, serialise), model, rows, deadline)
        if isinstance(result, Large):
            if pair:
                self.comparison.drop()  # the request would wait in memory
            result = await self._label_parts(
                cast(Request, result.request), serialise, division, model, deadline
            )
        return cast(Result, result)

    async def _label_parts(
        self,
        request: Request,
        serialise: Callable[[Model, Request, Predictions], Result],
        division: Division[Request, Result] | None,
        model: Model,
        deadline: float,
    ) -> Result:
        """Label the entities of a large request in parts, and return the response.

        The work of other clients is done between the parts.
        """
        labeler = model.bundle.labeler

        def label(part: Request, model: Model) -> tuple[Predictions, Sequence[Any]]:
            predictions = labeler.label(part.entities, part.query)
            return predictions, division.encode(model, part, predictions) if division else ()

        def respond(model: Model) -> Result:
            predictions = Predictions.joined([done[0] for done in labelled], labeler.labels)
            self.metrics.count_predictions(predictions, len(request.entities.rejected))
            self.traffic.sample(model, request.entities)
            if division is None:
                return serialise(model, request, predictions)
            encoded = list(itertools.chain.from_iterable(done[1] for done in labelled))
            return division.join(model, request, predictions, encoded)

        with self.holding_memory() as held:
            self.hold(held, request.entities.table.nbytes)
            labelled: list[tuple[Predictions, Sequence[Any]]] = []
            for part in parts_of(request):
                work = functools.partial(label, part)
                labelled.append(await self._enqueue(work, model, request_cost(part), deadline))
                self.hold(held, held.amount + LABEL_BYTES * len(labelled[-1][0].ids))
            cost = len(request.entities) if division else request_cost(request)
            result: Result = await self._enqueue(respond, model, cost, deadline)
        return result

    async def compute_parts(
        self, parts: Iterable[tuple[Callable[[Model], Result], int]], model: Model, deadline: float
    ) -> list[Result]:
        """Run the parts of large work one after another on compute threads.

        `parts` are functions and their costs in rows. Raises OverloadedError at the deadline.
        """
        return [await self._enqueue(work, model, cost, deadline) for work, cost in parts]

    async def compute(self, work: Callable[[Model], Result], rows: int, deadline: float) -> Result:
        """Run `work` on a compute thread and return its result.

        `rows` is the cost of the work: the number of rows that could be labelled in the same time.

        Raises OverloadedError as `label` does.
        """
        result: Result = await self._submit(work, self.model, rows, deadline)
        return result

    @contextlib.contextmanager
    def holding_memory(self) -> Iterator[Holding]:
        """The memory that the current request holds; it is released when the context ends."""
        held = Holding(self.memory, current_record().client)
        try:
            yield held
        finally:
            held.resize(0)

    def hold(self, held: Holding, size: int) -> None:
        """Change the bytes that a request holds in memory.

        Raises OverloadedError if they exceed the share of the client.
        """
        if not held.resize(size):
            self.metrics.count_shed()
            raise OverloadedError(self.queue.retry_after)

    def close(self) -> None:
        """End the compute threads."""
        self.queue.close()

    async def _submit(
        self, work: LabelWork | Callable[[Model], Any], model: Model, rows: int, deadline: float
    ) -> Any:
        try:
            self.queue.admit(rows, deadline, current_record().client)
        except OverloadedError:
            self.metrics.count_shed()
            raise
        return await self._enqueue(work, model, rows, deadline)

    async def _enqueue(
        self, work: LabelWork | Callable[[Model], Any], model: Model, rows: int, deadline: float
    ) -> Any:
        loop = asyncio.get_running_loop()
        job = QueuedJob(work, model, rows, deadline, loop.create_future(), current_record())
        timer = loop.call_later(deadline - time.monotonic(), self._expire, job)
        self.queue.add(job)
        self.metrics.set_queue_rows(self.queue.cost)
        try:
            return await job.future
        except OverloadedError:
            self.metrics.count_shed()
            raise
        finally:
            timer.cancel()
            self.queue.remove(job)

    def _expire(self, job: QueuedJob) -> None:
        _set_outcome(job, OverloadedError(self.queue.retry_after))

    def _run_compute_thread(self) -> None:
        """Compute batches until the queue is closed."""
        lower_priority(NICENESS)
        while batch := self.queue.take_batch():
            try:
                compute(batch, self._deliver, self.metrics.count_predictions, self.traffic.sample)
            except Exception as error:  # noqa: BLE001 - the thread must survive
                for job in batch:
                    self._deliver(job, error)
            self.queue.finish_batch(batch)
            self.metrics.set_queue_rows(self.queue.cost)

    def _deliver(self, job: QueuedJob, outcome: Any) -> None:
        self.queue.finish_job(job)
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            job.future.get_loop().call_soon_threadsafe(_set_outcome, job, outcome)


def _set_outcome(job: QueuedJob, outcome: Any) -> None:
    """Set the result or the exception of a job's future, unless the future is done."""
    if job.future.done():
        return
    if isinstance(outcome, Exception):
        job.future.set_exception(outcome)
    else:
        job.future.set_result(outcome)
