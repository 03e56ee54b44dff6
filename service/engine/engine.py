"""Compute threads that label the requests of all protocols with the model in service."""

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
"""Difference between the niceness of compute threads and that of the process. It lets the event
loop run first."""


class Engine:
    """Labels with the model in service on compute threads, so that the event loop never waits.

    The model for a request is chosen when its job is submitted. A later change of the model in
    service does not affect the job.

    Attributes:
        manager: the manager of the models in service.
        queue: the queue of jobs, with an estimate of the load.
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

        Raises OverloadedError at once if the queue is too long to meet the deadline, and otherwise
        at the deadline if there is no response yet. If the caller is cancelled, its job is removed
        from the queue unless a compute thread has already started it.
        """
        pair = None if model else self.manager.pair(key)
        model = pair.responding if pair else model or self.model
        if pair:
            serialise = self.comparison.comparing(pair, parse, serialise)
        result: Result = await self._submit(LabelWork(parse, serialise), model, rows, deadline)
        return result

    async def compute(self, work: Callable[[Model], Result], rows: int, deadline: float) -> Result:
        """Run `work` on a compute thread and return its result.

        `rows` is the cost of the work: the number of rows that could be labelled in the same time.

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
    """Set the result or the exception of a job's future, unless the future is done."""
    if job.future.done():
        return
    if isinstance(outcome, Exception):
        job.future.set_exception(outcome)
    else:
        job.future.set_result(outcome)
