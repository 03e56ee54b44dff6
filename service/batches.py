"""What a compute thread does with requests that wait: they are labelled together, never mixed up.

A request that cannot be read, or goes wrong in any other way, costs its neighbours nothing.
"""

import collections
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

from entities.tables import Entities
from models.decisions import Question
from models.registry import Model
from service.backlog import Job, Labelling

Deliver = Callable[[Job, Any], object]
"""Takes the answer to a job, or the exception that it ended with."""
Observe = Callable[[str, float], object]
"""Told of each stage (queue, read, label, write, work) and the seconds that it took."""
See = Callable[[Model, Entities], object]
"""Told of the model and the entities of each request, when all have their answers."""
_Asked = tuple[Job, Labelling, Entities]


def compute(batch: Sequence[Job], deliver: Deliver, observe: Observe, see: See) -> None:
    """Work off the jobs of a batch that are still wanted; each is delivered once."""
    alike: dict[tuple[int, Question], list[_Asked]] = collections.defaultdict(list)
    for job in batch:
        if not job.wanted:
            continue
        began = time.monotonic()
        observe("queue", began - job.since)
        labelling = isinstance(job.work, Labelling)
        try:
            if isinstance(job.work, Labelling):
                entities, question = job.work.read(job.model)
                alike[id(job.model), question].append((job, job.work, entities))
            else:
                deliver(job, job.work(job.model))
        except Exception as error:  # noqa: BLE001
            deliver(job, error)
        observe("read" if labelling else "work", time.monotonic() - began)
    for (_, question), asked in alike.items():
        _label(asked, question, deliver, observe)
    for job, _, entities in itertools.chain.from_iterable(alike.values()):
        see(job.model, entities)


def _label(asked: Sequence[_Asked], question: Question, deliver: Deliver, observe: Observe) -> None:
    """Label the entities of jobs that have one model and one question."""
    began = time.monotonic()
    labeler = asked[0][0].model.bundle.labeler
    try:
        answers = labeler.label_parts([entities for _, _, entities in asked], question)
    except Exception as error:  # noqa: BLE001
        if len(asked) == 1:
            deliver(asked[0][0], error)
        else:
            for one in asked:
                _label([one], question, deliver, observe)
        return
    labelled = time.monotonic()
    observe("label", labelled - began)
    for (job, work, entities), answer in zip(asked, answers, strict=True):
        try:
            deliver(job, work.write(job.model, entities, answer))
        except Exception as error:  # noqa: BLE001
            deliver(job, error)
    observe("write", time.monotonic() - labelled)
