"""Growth of the labelling time with the number of labels, of features and of candidates."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from labelwright.entities.tables import Entities
from labelwright.models.decisions import LabelQuery
from labelwright.models.features.space import FeatureRows
from labelwright.models.labeler import Labeler
from labelwright.models.stages.linear import LinearStage, padded, unpack_weights

LABELS = (100, 400, 800)
SHARES = (0.25, 0.5, 0.75)
CANDIDATES = (5, 10, 20, 30)


@dataclasses.dataclass(frozen=True)
class GrowthPoint:
    """Microseconds per entity of a task at one size: `number` of `unit`."""

    task: str
    number: float
    unit: str
    microseconds: float


def growth(
    labeler: Labeler, entities: Entities, time_of: Callable[[Callable[[], object], int], float]
) -> Iterator[GrowthPoint]:
    """Measure the labelling time at several sizes.

    `time_of` is called with a task and its number of entities, and returns microseconds per entity.
    """
    rows = labeler.features.transform(entities)
    count = len(entities)

    def scoring(stage: LinearStage, given: FeatureRows) -> float:
        return time_of(lambda: stage.scores(given), count)

    for labels in (*LABELS, len(labeler.labels)):
        stage = with_labels(labeler.linear, labels)
        yield GrowthPoint("scores", labels, "labels", scoring(stage, rows))
    for share in (*SHARES, 1.0):
        fewer = with_features(rows, share)
        features = len(fewer.indices) / count
        yield GrowthPoint("scores", features, "features an entity", scoring(labeler.linear, fewer))
    for candidates in sorted({*CANDIDATES, labeler.decisions.candidates}):
        decisions = dataclasses.replace(labeler.decisions, candidates=candidates)
        other = dataclasses.replace(labeler, decisions=decisions)
        time = time_of(lambda labeler=other: labeler.label(entities, LabelQuery()), count)  # type: ignore[misc]
        yield GrowthPoint("everything", candidates, "candidates", time)


def with_labels(stage: LinearStage, labels: int) -> LinearStage:
    """The linear stage of the first `labels` labels."""
    kept = unpack_weights(stage.sparse)[0] < labels
    dense = np.array(stage.dense[:, : padded(labels)], order="C")
    dense[:, labels:] = 0
    return stage._replace(
        dense=dense,
        bias=stage.bias[:labels],
        sparse_indptr=np.concatenate([[0], np.cumsum(kept)])[stage.sparse_indptr],
        sparse=stage.sparse[kept],
    )


def with_features(rows: FeatureRows, share: float) -> FeatureRows:
    """The first `share` of the features of each row, but at least one if the row has features."""
    lengths = np.diff(rows.indptr)
    kept = np.ceil(share * lengths).astype(np.int64)
    positions = np.arange(len(rows.indices)) - np.repeat(rows.indptr[:-1], lengths)
    selected = positions < np.repeat(kept, lengths)
    indptr = np.concatenate([[0], np.cumsum(kept)])
    return FeatureRows(indptr, rows.indices[selected], rows.values[selected], rows.names)


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    """The exponent x of cost ~ size^x, by least squares of the logarithms; 1 is linear growth.

    Sizes and costs of 0 are left out. None if fewer than two different sizes remain.
    """
    positive = [(s, c) for s, c in zip(sizes, costs, strict=True) if s > 0 and c > 0]
    if len({size for size, _ in positive}) < 2:
        return None
    logarithms = np.log(np.array(positive))
    return float(np.polyfit(logarithms[:, 0], logarithms[:, 1], 1)[0])
