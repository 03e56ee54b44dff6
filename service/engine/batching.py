"""What a compute thread does with requests that wait: they are labelled together, never mixed up.

A request that cannot be read, or goes wrong in any other way, costs its neighbours nothing.
"""

import collections
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

from labelwright.entities.tables import Entities
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.registry import Model
from labelwright.service.engine.queue import LabelWork, QueuedJob

Deliver = Callable[[QueuedJob, Any], object]
"""Takes the answer to a job, or the exception that it ended with."""
Labelled = Callable[[Predictions, int], object]
"""Told of the answers to some requests, and how many of their entities were rejected."""
See = Callable[[Model, Entities], object]
"""Told of the model and the entities of each request, when all have their answers."""
_Asked = tuple[QueuedJob, LabelWork, Entities]


def compute(batch: Sequence[QueuedJob], deliver: Deliver, labelled: Labelled, see: See) -> None:
    """Work off the jobs of a batch that are still wanted; each is delivered once."""
    alike: dict[tuple[int, LabelQuery], list[_Asked]] = collections.defaultdict(list)
    for job in batch:
        if not job.wanted:
            continue
        job.note.add_stage("queue", job.since, time.monotonic())
        try:
            if isinstance(job.work, LabelWork):
                with job.note.stage("read"):
                    entities, query = job.work.read(job.model)
                job.note.read(len(entities))
                alike[id(job.model), query].append((job, job.work, entities))
            else:
                with job.note.stage("work"):
                    outcome = job.work(job.model)
                deliver(job, outcome)
        except Exception as error:  # noqa: BLE001
            deliver(job, error)
    for (_, query), asked in alike.items():
        _label(asked, query, deliver, labelled)
    for job, _, entities in itertools.chain.from_iterable(alike.values()):
        see(job.model, entities)


def _label(
    asked: Sequence[_Asked], query: LabelQuery, deliver: Deliver, labelled: Labelled
) -> None:
    """Label the entities of jobs that have one model and one question."""
    began = time.monotonic()
    labeler = asked[0][0].model.bundle.labeler
    tables = [entities for _, _, entities in asked]
    try:
        predictions = labeler.label_together(tables, query)
    except Exception as error:  # noqa: BLE001
        if len(asked) == 1:
            deliver(asked[0][0], error)
        else:
            for one in asked:
                _label([one], query, deliver, labelled)
        return
    ended = time.monotonic()
    labelled(predictions, sum(len(entities.rejected) for entities in tables))
    for (job, work, entities), answer in zip(
        asked, predictions.split(map(len, tables)), strict=True
    ):
        job.note.add_stage("label", began, ended)
        try:
            with job.note.stage("write"):
                written = work.write(job.model, entities, answer)
            deliver(job, written)
        except Exception as error:  # noqa: BLE001
            deliver(job, error)
