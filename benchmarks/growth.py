"""How the time that labels take grows: with labels, with features of an entity, with candidates."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from labelwright.entities.tables import Entities
from labelwright.models.decisions import LabelQuery
from labelwright.models.features.space import FeatureRows
from labelwright.models.labeler import Labeler
from labelwright.models.stages.linear import LinearStage, padded, parted

LABELS = (100, 400, 800)
SHARES = (0.25, 0.5, 0.75)
CANDIDATES = (5, 10, 20, 30)


@dataclasses.dataclass(frozen=True)
class Grown:
    """Microseconds an entity of some work, where there are so many of something."""

    work: str
    number: float
    of: str
    microseconds: float


def grown(
    labeler: Labeler, entities: Entities, best: Callable[[Callable[[], object], int], float]
) -> Iterator[Grown]:
    """Measure with `best`, which tells microseconds an entity of some work."""
    rows = labeler.features.transform(entities)
    count = len(entities)

    def scoring(stage: LinearStage, given: FeatureRows) -> float:
        return best(lambda: stage.scores(given), count)

    for labels in (*LABELS, len(labeler.labels)):
        stage = with_labels(labeler.linear, labels)
        yield Grown("scores", labels, "labels", scoring(stage, rows))
    for share in (*SHARES, 1.0):
        fewer = with_features(rows, share)
        features = len(fewer.indices) / count
        yield Grown("scores", features, "features an entity", scoring(labeler.linear, fewer))
    for candidates in sorted({*CANDIDATES, labeler.decisions.candidates}):
        decisions = dataclasses.replace(labeler.decisions, candidates=candidates)
        other = dataclasses.replace(labeler, decisions=decisions)
        taken = best(lambda labeler=other: labeler.label(entities, LabelQuery()), count)  # type: ignore[misc]
        yield Grown("everything", candidates, "candidates", taken)


def with_labels(stage: LinearStage, labels: int) -> LinearStage:
    """The linear stage of the first labels alone."""
    kept = parted(stage.sparse)[0] < labels
    dense = np.array(stage.dense[:, : padded(labels)], order="C")
    dense[:, labels:] = 0
    return stage._replace(
        dense=dense,
        bias=stage.bias[:labels],
        sparse_indptr=np.concatenate([[0], np.cumsum(kept)])[stage.sparse_indptr],
        sparse=stage.sparse[kept],
    )


def with_features(rows: FeatureRows, share: float) -> FeatureRows:
    """The first features of each row, a share of them."""
    lengths = np.diff(rows.indptr)
    kept = np.ceil(share * lengths).astype(np.int64)
    places = np.arange(len(rows.indices)) - np.repeat(rows.indptr[:-1], lengths)
    inside = places < np.repeat(kept, lengths)
    indptr = np.concatenate([[0], np.cumsum(kept)])
    return FeatureRows(indptr, rows.indices[inside], rows.values[inside], rows.names)


def exponent(lines: Sequence[Grown]) -> float:
    """The slope of time over number, both as logarithms: 1 is linear."""
    numbers = np.log([line.number for line in lines])
    return float(np.polyfit(numbers, np.log([line.microseconds for line in lines]), 1)[0])
