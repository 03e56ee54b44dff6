"""The engine behind every protocol: threads that compute what waits with the model that serves."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from labelwright.entities.errors import OverloadedError
from labelwright.entities.tables import Entities
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.registry import Model
from labelwright.service.engine.batching import compute
from labelwright.service.engine.queue import JobQueue, LabelWork, QueuedJob
from labelwright.service.process.thread_priority import lower_priority
from labelwright.service.rollout.manager import Serving
from labelwright.service.rollout.shadow import Comparison
from labelwright.service.telemetry.request_record import current_record
from labelwright.service.telemetry.traffic import Traffic

Result = TypeVar("Result")
COMPUTE_THREADS = 2
NICE = 5
"""By how much compute threads give way to the event loop."""


class Engine:
    """The model that serves, answering from compute threads: the event loop never waits for it.

    `stopping` turns true when the service was told to come to its end. A request keeps the `model`
    that it began with, and notes how long each stage took. `queue` has figures of the load,
    `traffic` what was labelled, and `comparison` where champion and challenger differ.
    """

    def __init__(
        self, serving: Serving, threads: int = COMPUTE_THREADS, traffic: Traffic | None = None
    ) -> None:
        self.serving = serving
        self.traffic = traffic or Traffic()
        self.stopping = False
        self.queue = JobQueue()
        self.metrics = serving.metrics
        self.comparison = Comparison(serving.folder, lambda: self.queue.waiting > 0)
        for number in range(threads):
            name = f"compute-{number}"
            threading.Thread(target=self._work_off, name=name, daemon=True).start()

    @property
    def model(self) -> Model:
        """The model that serves at this moment; raises ModelError while none does."""
        return self.serving.model

    @property
    def ready(self) -> bool:
        """Whether it should be asked: a model serves, and the service was not told to stop."""
        return self.serving.ready and not self.stopping

    async def label(
        self,
        read: Callable[[Model], tuple[Entities, LabelQuery]],
        write: Callable[[Model, Entities, Predictions], Result],
        rows: int,
        deadline: float,
        key: bytes = b"",
        model: Model | None = None,
    ) -> Result:
        """Label what `read` makes of a request, and give what `write` makes of the answers.

        Both run on a compute thread, and what they raise is raised here. `rows` is an estimate by
        which requests queue and small ones are computed together; `deadline` a monotonic time.
        Raises OverloadedError, at once where it can be known, if the deadline cannot be met; a
        caller that is cancelled leaves the queue. The `key` decides whether a challenger answers; a
        part of an answer that has begun names the `model` that it began with.
        """
        pair = None if model else self.serving.pair(key)
        model = pair.answering if pair else model or self.model
        if pair:
            write = self.comparison.compared(pair, read, write)
        answer: Result = await self._answer(LabelWork(read, write), model, rows, deadline)
        return answer

    async def compute(self, work: Callable[[Model], Result], rows: int, deadline: float) -> Result:
        """The same for work that is not labelling; `rows` says how many labellings it is worth."""
        answer: Result = await self._answer(work, self.model, rows, deadline)
        return answer

    def close(self) -> None:
        """Let the compute threads end."""
        self.queue.close()

    async def _answer(
        self, work: LabelWork | Callable[[Model], Any], model: Model, rows: int, deadline: float
    ) -> Any:
        try:
            self.queue.admit(rows, deadline)
            return await self._queued(work, model, rows, deadline)
        except OverloadedError:
            self.metrics.count_shed()
            raise

    async def _queued(
        self, work: LabelWork | Callable[[Model], Any], model: Model, rows: int, deadline: float
    ) -> Any:
        loop = asyncio.get_running_loop()
        job = QueuedJob(work, model, rows, deadline, loop.create_future(), current_record())
        timer = loop.call_later(deadline - time.monotonic(), self._expire, job)
        self.queue.add(job)
        self.metrics.set_queue_rows(self.queue.cost)
        try:
            return await job.answer
        finally:
            timer.cancel()
            self.queue.drop(job)

    def _expire(self, job: QueuedJob) -> None:
        _settle(job, OverloadedError(self.queue.retry_after))

    def _work_off(self) -> None:
        """What a compute thread does until the end."""
        lower_priority(NICE)
        while batch := self.queue.take():
            try:
                compute(batch, self._deliver, self.metrics.count_predictions, self.traffic.sample)
            except Exception as error:  # noqa: BLE001 - a thread that ends would be missed
                for job in batch:
                    self._deliver(job, error)
            self.queue.done(batch)
            self.metrics.set_queue_rows(self.queue.cost)

    def _deliver(self, job: QueuedJob, outcome: Any) -> None:
        self.queue.answered(job)
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
            job.answer.get_loop().call_soon_threadsafe(_settle, job, outcome)


def _settle(job: QueuedJob, outcome: Any) -> None:
    if job.answer.done():
        return
    if isinstance(outcome, Exception):
        job.answer.set_exception(outcome)
    else:
        job.answer.set_result(outcome)
