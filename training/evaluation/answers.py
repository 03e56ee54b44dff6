"""Ranked answers of a model: the most probable labels of each entity."""

import dataclasses
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from labelwright.entities.tables import Entities
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.features.fingerprints import content_fingerprints
from labelwright.models.kernels.csr import find_keys, offsets, positions_in_rows
from labelwright.models.labeler import Labeler
from labelwright.models.labels import LabelMatrix, LabelSet
from labelwright.training.data import LabelledEntities
from labelwright.training.evaluation.evaluate import label_all
from labelwright.training.evaluation.metrics import DEPTH, correctness

LISTED = 4 * DEPTH
"""Number of labels of an answer; some of them are left out if only shared labels are compared."""
NO_LABEL = -1

Rows = npt.NDArray[np.int64]
RowScores = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int32]


@dataclasses.dataclass(frozen=True)
class Answers:
    """Answers for n entities, from one model or from `repeats` models of the same recipe.

    `rows` (uint64[n]) are the content fingerprints of the entities. `ids` (repeats x n x LISTED)
    are ids in `labels`, the most probable label first, and then NO_LABEL.
    """

    rows: npt.NDArray[np.uint64]
    labels: LabelSet
    ids: Ids

    @classmethod
    def of(cls, labeler: Labeler, entities: Entities, threads: int) -> Self:
        """The answers of a model."""
        ids = ranked_ids(labeler, entities, threads)
        return cls(content_fingerprints(entities), labeler.labels, ids[None])

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read answers that `write` has written; raises OSError, ValueError, EOFError, KeyError."""
        with np.load(file, allow_pickle=False) as arrays:
            return cls(arrays["rows"], LabelSet(tuple(arrays["labels"].tolist())), arrays["ids"])

    def write(self, file: Path) -> None:
        """Write the answers to a compressed NumPy file; raises OSError."""
        labels = np.array(self.labels.names, np.str_)
        np.savez_compressed(file, rows=self.rows, labels=labels, ids=self.ids)

    def find(self, entities: Entities) -> Rows:
        """For each entity, the position of its answers; -1 if there are none."""
        keys, first = np.unique(self.rows, return_index=True)
        found = find_keys(keys, content_fingerprints(entities))
        return np.where(found < 0, -1, first[found])

    def scores(self, positions: Rows, data: LabelledEntities, shared: LabelSet) -> RowScores:
        """The nDCG of the answers at `positions` to the rows of `data`, by row.

        Only labels of `shared` count. Repeated answers have the mean of their scores.
        """
        truth = data.matrix(shared)
        numbers = np.array([*(shared.ids.get(name, NO_LABEL) for name in self.labels.names), -1])
        repeats = numbers[self.ids[:, positions]].astype(np.int32)
        scores = [_ndcg_of_ids(ids, truth, shared) for ids in repeats]
        return np.asarray(np.mean(scores, axis=0), np.float64)


def ranked_ids(labeler: Labeler, entities: Entities, threads: int) -> Ids:
    """The ids of the LISTED most probable labels of each entity (n x LISTED)."""
    predictions = label_all(labeler, entities, LabelQuery(top_k=LISTED), threads)
    position = positions_in_rows(predictions.indptr)
    kept = position < LISTED
    ids = np.full((len(entities), LISTED), NO_LABEL, np.int32)
    ids[predictions.rows()[kept], position[kept]] = predictions.ids[kept]
    return ids


def _ndcg_of_ids(ids: Ids, truth: LabelMatrix, labels: LabelSet) -> RowScores:
    listed = ids != NO_LABEL
    count = int(listed.sum())
    predictions = Predictions(
        labels,
        offsets(listed.sum(axis=1)),
        ids[listed],
        np.zeros(count, np.float32),
        np.zeros(count, np.bool_),
    )
    predictions = predictions.where(truth.known(predictions.rows(), predictions.ids))
    return ndcg_by_row(predictions, truth)


def ndcg_by_row(predictions: Predictions, truth: LabelMatrix) -> RowScores:
    """nDCG over the first DEPTH labels of each row (Järvelin & Kekäläinen 2002).

    A row without a true label scores 1.
    """
    possible = np.minimum(np.bincount(truth.present.rows(), minlength=len(truth)), DEPTH)
    discounts = 1 / np.log2(np.arange(2, DEPTH + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[possible]
    owners, position, correct = correctness(predictions, truth)
    hits = correct & (position < DEPTH)
    reached = np.bincount(owners[hits], discounts[position[hits]], minlength=len(truth))
    return np.where(possible > 0, reached / np.maximum(ideal, 1e-9), 1.0)
