"""Profiles: histograms of the columns of some rows, and of a model's scores and labels for them.

Training makes the profile of the test rows. The service makes the profile of a sample of queries.
`models.monitoring.drift` compares the two. A profile contains only counts and no value of any row.
"""

import dataclasses
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from labelwright.entities.schema import NUMERIC, Column, Kind
from labelwright.entities.tables import POINT_LIMITS, Entities
from labelwright.models.decisions import LabelQuery
from labelwright.models.features.space import FeatureSpace, number_columns
from labelwright.models.labeler import CHUNK, Labeler
from labelwright.models.monitoring.novelty import count_known_tokens

BINS = 16
"""The number of bins of each column and score. Bin 0 of a column counts rows without a value."""
UNSEEN = 1
"""The bin of rows none of whose categories is a feature of the model."""
MOSTLY_UNSEEN = 8
"""The first of the bins of rows in which at least half of the column's tokens are unknown."""
_ROWS_LIMIT = 1 << 40
SCORES = ("best probability", "labels asserted")

Counts = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Profile:
    """Numbers of rows, in the array `counts` (int64). The counts of different rows may be added.

    The array contains the bins of each column of the schema (there are `columns` columns), then the
    bins of each of SCORES, then for each label the number of rows where it is asserted. The bin of
    a row in a column depends on the kind of the column: a category has a hash of its values, a
    number the model's own bins, a point its longitude, and all other kinds the share of unknown
    tokens.
    """

    counts: Counts
    columns: int

    @classmethod
    def empty(cls, labeler: Labeler) -> Self:
        """The profile of no rows."""
        columns = len(labeler.schema.columns)
        return cls(np.zeros(profile_size(columns, len(labeler.labels)), np.int64), columns)

    @classmethod
    def from_counts(cls, labeler: Labeler, counts: npt.NDArray[Any]) -> Self:
        """A profile from its counts; raises ValueError if the counts do not fit the model."""
        empty = cls.empty(labeler)
        if counts.dtype != empty.counts.dtype or counts.shape != empty.counts.shape:
            raise ValueError("the profile does not fit the schema and the labels")
        profile = cls(counts, empty.columns)
        if not (0 <= counts.min() <= counts.max() <= _ROWS_LIMIT):
            raise ValueError("the profile contains numbers that are not counts of rows")
        histograms = np.concatenate([profile.fields, profile.scores]).sum(axis=1)
        if (histograms != profile.rows).any() or profile.labels.max() > profile.rows:
            raise ValueError("the histograms of the profile do not count the same rows")
        return profile

    @classmethod
    def of(cls, labeler: Labeler, entities: Entities) -> Self:
        """The profile of all entities whose rows are not rejected."""
        profile = cls.empty(labeler)
        rejected = np.fromiter(entities.rejected, np.int64, len(entities.rejected))
        kept = np.delete(np.arange(len(entities)), rejected)
        for start in range(0, len(kept), CHUNK):
            _add(labeler, entities.take(kept[start : start + CHUNK]), profile)
        return profile

    @property
    def fields(self) -> Counts:
        """The number of rows by column and bin, int64[columns, BINS]."""
        return self.counts[: self.columns * BINS].reshape(self.columns, BINS)

    @property
    def scores(self) -> Counts:
        """The number of rows by score and bin, int64[scores, BINS]."""
        first = self.columns * BINS
        return self.counts[first : first + len(SCORES) * BINS].reshape(len(SCORES), BINS)

    @property
    def labels(self) -> Counts:
        """For each label, the number of rows where it is asserted, int64[labels]."""
        return self.counts[(self.columns + len(SCORES)) * BINS :]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.scores[0].sum())


def profile_size(columns: int, labels: int) -> int:
    """The number of counts in a profile."""
    return (columns + len(SCORES)) * BINS + labels


def _add(labeler: Labeler, entities: Entities, profile: Profile) -> None:
    for counts, column in zip(profile.fields, entities.schema.columns, strict=True):
        counts += np.bincount(_bins(labeler.features, entities, column), minlength=BINS)
    predictions = labeler.label(entities, LabelQuery(top_k=1))
    best = predictions.probabilities[predictions.indptr[:-1]]
    asserted = np.add.reduceat(predictions.asserted, predictions.indptr[:-1], dtype=np.int64)
    bins = (best * BINS).astype(np.int64), asserted
    for counts, at in zip(profile.scores, bins, strict=True):
        counts += np.bincount(np.minimum(at, BINS - 1), minlength=BINS)
    ids = predictions.ids[predictions.asserted]
    profile.labels[:] += np.bincount(ids, minlength=len(profile.labels))


def _bins(space: FeatureSpace, entities: Entities, column: Column) -> Counts:
    """The bin of each row in a column."""
    array = entities.column(column.fields[-1])
    if array is None:
        return np.zeros(len(entities), np.int64)
    if column.kind not in NUMERIC:
        return _text_bins(space, entities, column)
    numbers = array.to_numpy(zero_copy_only=False)
    filled = ~np.isnan(numbers)
    if column.kind is Kind.POINT:
        limit = POINT_LIMITS[1]
        shares = (numbers[filled] + limit) / (2 * limit)
    else:
        edges = space.edges[number_columns(space.schema).index(column)]
        shares = np.searchsorted(edges, numbers[filled]) / (len(edges) + 1)
    bins = np.zeros(len(entities), np.int64)
    bins[filled] = 1 + np.minimum(shares * (BINS - 1), BINS - 2).astype(np.int64)
    return bins


def _text_bins(space: FeatureSpace, entities: Entities, column: Column) -> Counts:
    found = count_known_tokens(space, entities, column)
    if column.kind is Kind.CATEGORY:
        values = UNSEEN + 1 + (found.digest % np.uint64(BINS - 2)).astype(np.int64)
        bins = np.where(found.known == 0, UNSEEN, values)
    else:
        bins = 1 + found.unseen_share(of=BINS - 2)
    return np.where(found.tokens == 0, 0, bins)
