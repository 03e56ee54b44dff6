"""Compute threads that label for every protocol, with the model in service."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from labelwright.entities.errors import OverloadedError
from labelwright.models.decisions import Predictions
from labelwright.models.registry import Model
from labelwright.service.engine.batching import compute
from labelwright.service.engine.queue import JobQueue, LabelWork, QueuedJob
from labelwright.service.process.thread_priority import lower_priority
from labelwright.service.request import ParsedRequest
from labelwright.service.rollout.manager import ModelManager
from labelwright.service.rollout.shadow import ShadowComparison
from labelwright.service.telemetry.request_record import current_record
from labelwright.service.telemetry.traffic import Traffic

Request = TypeVar("Request", bound=ParsedRequest)
Result = TypeVar("Result")
COMPUTE_THREADS = 2
NICENESS = 5
"""Added to the niceness of compute threads, so that the event loop runs first."""


class Engine:
    """Labels with the model in service on compute threads, so that the event loop never waits.

    A request keeps the model that was in service when it arrived, also if another model takes over.

    Attributes:
        serving: the models in service.
        queue: the jobs that wait, and the load.
        metrics: the metrics of this process.
        traffic: counts of the entities that were labelled.
        comparison: the differences between champion and challenger.
        stopping: whether the service was told to stop.
    """

    def __init__(
        self, manager: ModelManager, threads: int = COMPUTE_THREADS, traffic: Traffic | None = None
    ) -> None:
        self.manager = manager
        self.traffic = traffic or Traffic()
        self.stopping = False
        self.queue = JobQueue()
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
        """Whether requests should be sent here: a model is in service, and it is not stopping."""
        return self.manager.ready and not self.stopping

    async def label(
        self,
        parse: Callable[[Model], Request],
        serialise: Callable[[Model, Request, Predictions], Result],
        rows: int,
        deadline: float,
        key: bytes = b"",
        model: Model | None = None,
    ) -> Result:
        """Label the entities of the request that `parse` returns, and return the response.

        Args:
            parse: parses the request. It runs on a compute thread; its exceptions are raised here.
            serialise: returns the response. It runs on a compute thread too.
            rows: estimated number of rows; small jobs are computed together.
            deadline: monotonic time by which the result is needed.
            key: decides whether the champion or the challenger labels this request.
            model: labels with this model, as the later parts of a stream do. By default, the
                model in service is used.

        Raises OverloadedError if the deadline cannot be met: at once if that is known beforehand,
        else at the deadline. A job whose caller is cancelled is removed from the queue.
        """
        pair = None if model else self.manager.pair(key)
        model = pair.responding if pair else model or self.model
        if pair:
            serialise = self.comparison.comparing(pair, parse, serialise)
        result: Result = await self._submit(LabelWork(parse, serialise), model, rows, deadline)
        return result

    async def compute(self, work: Callable[[Model], Result], rows: int, deadline: float) -> Result:
        """Run other work on a compute thread; `rows` is its cost as a number of labelled rows.

        Raises OverloadedError as `label` does.
        """
        result: Result = await self._submit(work, self.model, rows, deadline)
        return result

    def close(self) -> None:
        """End the compute threads."""
        self.queue.close()

    async def _submit(
        self, work: LabelWork | Callable[[Model], Any], model: Model, rows: int, deadline: float
    ) -> Any:
        try:
            self.queue.admit(rows, deadline)
            return await self._enqueue(work, model, rows, deadline)
        except OverloadedError:
            self.metrics.count_shed()
            raise

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
    """Complete a job's future with a result or an exception, unless it is complete."""
    if job.future.done():
        return
    if isinstance(outcome, Exception):
        job.future.set_exception(outcome)
    else:
        job.future.set_result(outcome)
