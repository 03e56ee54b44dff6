"""Computation of a batch of jobs: jobs with the same model and query are labelled together.

A job that fails does not affect the other jobs of the batch.
"""

import collections
import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

from labelwright.entities.tables import Entities
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.registry import Model
from labelwright.service.engine.parts import is_large
from labelwright.service.engine.queue import LabelWork, QueuedJob
from labelwright.service.request import ParsedRequest

Deliver = Callable[[QueuedJob, Any], object]
"""Called with a job and either its result or the exception that it raised."""
CountPredictions = Callable[[Predictions, int], object]
"""Called with the predictions for the entities of several jobs, and the number of rejected ones."""
SampleTraffic = Callable[[Model, Entities], object]
"""Called with the model and the entities of each job, after all results are delivered."""


@dataclasses.dataclass(frozen=True)
class Large:
    """Result of a job whose request was parsed, and is too large to be labelled as one part."""

    request: ParsedRequest


_ParsedJob = tuple[QueuedJob, LabelWork, ParsedRequest]


def compute(
    batch: Sequence[QueuedJob],
    deliver: Deliver,
    count_predictions: CountPredictions,
    sample_traffic: SampleTraffic,
) -> None:
    """Compute the jobs that are still awaited, and call `deliver` once for each of them."""
    groups: dict[tuple[int, LabelQuery], list[_ParsedJob]] = collections.defaultdict(list)
    for job in batch:
        if not job.is_awaited:
            continue
        job.record.add_stage("queue", job.queued_at, time.monotonic())
        try:
            if isinstance(job.work, LabelWork):
                with job.record.stage("read"):
                    request = job.work.parse(job.model)
                job.record.add_rows(len(request.entities))
                if is_large(request):
                    deliver(job, Large(request))
                else:
                    groups[id(job.model), request.query].append((job, job.work, request))
            else:
                with job.record.stage("work"):
                    result = job.work(job.model)
                deliver(job, result)
        except Exception as error:  # noqa: BLE001
            deliver(job, error)
    for (_, query), jobs in groups.items():
        _label(jobs, query, deliver, count_predictions)
    for job, _, request in itertools.chain.from_iterable(groups.values()):
        sample_traffic(job.model, request.entities)


def _label(
    jobs: Sequence[_ParsedJob],
    query: LabelQuery,
    deliver: Deliver,
    count_predictions: CountPredictions,
) -> None:
    """Label the entities of jobs that share a model and a query.

    If labelling them together fails, each job is labelled alone. Only the jobs that fail alone get
    an error.
    """
    start = time.monotonic()
    labeler = jobs[0][0].model.bundle.labeler
    tables = [request.entities for _, _, request in jobs]
    try:
        predictions = labeler.label_together(tables, query)
    except Exception as error:  # noqa: BLE001
        if len(jobs) == 1:
            deliver(jobs[0][0], error)
        else:
            for one in jobs:
                _label([one], query, deliver, count_predictions)
        return
    end = time.monotonic()
    count_predictions(predictions, sum(len(entities.rejected) for entities in tables))
    parts = predictions.split(map(len, tables))
    for (job, work, request), part in zip(jobs, parts, strict=True):
        job.record.add_stage("label", start, end)
        try:
            with job.record.stage("write"):
                result = work.serialise(job.model, request, part)
            deliver(job, result)
        except Exception as error:  # noqa: BLE001
            deliver(job, error)
