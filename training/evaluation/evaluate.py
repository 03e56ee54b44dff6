"""Predictions of a model for labelled entities, to be compared with their true labels."""

import dataclasses
import functools
from concurrent.futures import ThreadPoolExecutor

from labelwright.entities.tables import Entities
from labelwright.models.decisions import TOP_K_LIMIT, LabelQuery, Predictions
from labelwright.models.labeler import Labeler
from labelwright.models.labels import LabelMatrix
from labelwright.training.data import LabelledEntities
from labelwright.training.evaluation.metrics import Evaluation, evaluate

BATCH_ROWS = 8_192
"""Number of entities that a thread labels at a time."""


def evaluate_labeler(
    labeler: Labeler, data: LabelledEntities, query: LabelQuery, threads: int
) -> Evaluation:
    """Metrics of a model on labelled entities."""
    predictions, truth = label_with_truth(labeler, data, query, threads)
    return evaluate(predictions, truth, labeler.one_exclusive_group)


def label_with_truth(
    labeler: Labeler, data: LabelledEntities, query: LabelQuery, threads: int
) -> tuple[Predictions, LabelMatrix]:
    """Predictions of a model for labelled entities, and their true labels.

    All candidates are listed, even if the query's `top_k` is smaller. Pairs whose truth is unknown
    are removed from the predictions. To replace them, additional labels are listed. The prediction
    of an attribute means that it applies and holds; so it is false where the data do not state it.
    """
    truth = data.matrix(labeler.labels)
    listed = max(query.top_k, labeler.decisions.candidates) + truth.open_labels
    query = dataclasses.replace(query, top_k=min(listed, TOP_K_LIMIT))
    predictions = label_all(labeler, data.entities, query, threads)
    rows, ids = predictions.rows(), predictions.ids
    unstated = labeler.groups.memberships.open[ids] & ~truth.partial[rows]
    return predictions.where(truth.known(rows, ids) | unstated), truth


def label_all(labeler: Labeler, entities: Entities, query: LabelQuery, threads: int) -> Predictions:
    """Predictions for all entities, computed by several threads."""
    slices = [entities.slice(start, BATCH_ROWS) for start in range(0, len(entities), BATCH_ROWS)]
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(functools.partial(labeler.label, query=query), slices))
    return Predictions.joined(parts, labeler.labels)
