"""Mistakes of a model: the most confident mistakes, and pairs of confused labels."""

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from labelwright.entities.tables import Entities
from labelwright.models.decisions import TOP_K_LIMIT, LabelQuery, Predictions, Probabilities
from labelwright.models.kernels.csr import find_keys
from labelwright.models.labeler import CHUNK, Labeler
from labelwright.models.labels import LabelMatrix, LabelSet
from labelwright.training.evaluation.metrics import correctness

MAX_MISTAKES = 50
"""Maximum number of listed mistakes of each kind."""
MAX_RESCORED = 250
"""Maximum number of pairs that are labelled again to find their probability."""
GIVEN, MISSED = "given too much", "missed"
"""Kinds of mistakes: asserted but not true, and true but not asserted."""

Ids = npt.NDArray[np.int64]


class _Pairs(NamedTuple):
    """Pairs of a row and a label id, with their probabilities."""

    rows: Ids
    ids: Ids
    probabilities: Probabilities

    def take(self, positions: Ids) -> "_Pairs":
        return _Pairs(self.rows[positions], self.ids[positions], self.probabilities[positions])

    def concatenated(self, others: "_Pairs") -> "_Pairs":
        return _Pairs(
            np.concatenate([self.rows, others.rows]),
            np.concatenate([self.ids, others.ids]),
            np.concatenate([self.probabilities, others.probabilities]),
        )


def mistakes(
    labeler: Labeler, entities: Entities, predictions: Predictions, truth: LabelMatrix, threads: int
) -> pa.Table:
    """The MAX_MISTAKES most confident mistakes of each kind.

    Many of these mistakes are errors in the data. The wrongly asserted labels (GIVEN) come first,
    in descending order of probability. Then come the MISSED labels, in ascending order of
    probability. Columns: id, entity (the identifying text), kind, label, probability. True labels
    outside the label set are left out, because they have no probability.
    """
    wrong = _wrongly_asserted(predictions, truth)
    missed = _missed(labeler, entities, predictions, truth, threads)
    both = wrong.concatenated(missed)
    identity = entities.schema.identity
    texts = entities.column(identity) if identity else None
    return pa.table(
        {
            "id": entities.ids.take(pa.array(both.rows)),
            "entity": pa.nulls(len(both.rows), pa.string())
            if texts is None
            else texts.take(pa.array(both.rows)),
            "kind": [GIVEN] * len(wrong.rows) + [MISSED] * len(missed.rows),
            "label": predictions.labels.array.take(pa.array(both.ids)),
            "probability": both.probabilities,
        }
    )


def confusions(predictions: Predictions, truth: LabelMatrix, most: int) -> pa.Table:
    """Pairs of a wrongly asserted label and a missed label of the same row.

    A wrongly asserted label `key=value` is paired with the row's missed labels of the same key. If
    the row has no missed label of this key, it is paired with all missed labels of the row.
    Columns: given (the wrongly asserted label), missed, rows (number of rows with this pair). The
    `most` most frequent pairs are listed in descending order of frequency.
    """
    rows, _, correct = correctness(predictions, truth)
    wrong = predictions.asserted & ~correct
    asserted = predictions.keys()[predictions.asserted]
    missed = ~np.isin(truth.keys(), asserted, assume_unique=True)
    pair, other = _matching_rows(rows[wrong], truth.present.rows()[missed], len(truth))
    given, instead = predictions.ids[wrong][pair], truth.present.ids[missed][other]
    keys = _keys(predictions.labels)
    same = keys[given] == keys[instead]
    kept = same | (np.bincount(pair[same], minlength=wrong.sum()) == 0)[pair]
    codes = given.astype(np.int64) * truth.labels + instead
    codes, frequency = np.unique(codes[kept], return_counts=True)
    order = np.argsort(-frequency, kind="stable")[:most]
    first, second = np.divmod(codes[order], max(truth.labels, 1))
    names = predictions.labels.array
    return pa.table(
        {
            "given": names.take(pa.array(first)),
            "missed": names.take(pa.array(second)),
            "rows": frequency[order],
        }
    )


def _matching_rows(left: Ids, right: Ids, rows: int) -> tuple[Ids, Ids]:
    """All pairs of an element of `left` and an element of `right` that have the same row number.

    Both arrays hold ascending row numbers below `rows`. Returns the positions in `left` and the
    positions in `right`.
    """
    counts = np.bincount(right, minlength=rows)
    lengths = counts[left]
    first = (np.cumsum(counts) - counts)[left] - (np.cumsum(lengths) - lengths)
    return np.repeat(np.arange(len(left)), lengths), np.arange(lengths.sum()) + np.repeat(
        first, lengths
    )


def _keys(labels: LabelSet) -> Ids:
    """A number for the key of each label `key=value`; labels without a key have the same number."""
    keys = [key if equals else "" for key, equals, _ in (n.partition("=") for n in labels.names)]
    return np.unique(keys, return_inverse=True)[1]


def _wrongly_asserted(predictions: Predictions, truth: LabelMatrix) -> _Pairs:
    rows, _, correct = correctness(predictions, truth)
    wrong = np.flatnonzero(predictions.asserted & ~correct)
    order = np.argsort(-predictions.probabilities[wrong], kind="stable")[:MAX_MISTAKES]
    return _Pairs(rows, predictions.ids.astype(np.int64), predictions.probabilities).take(
        wrong[order]
    )


def _missed(
    labeler: Labeler, entities: Entities, predictions: Predictions, truth: LabelMatrix, threads: int
) -> _Pairs:
    rows, _, correct = correctness(predictions, truth)
    listed = _Pairs(rows, predictions.ids.astype(np.int64), predictions.probabilities).take(
        np.flatnonzero(correct & ~predictions.asserted)
    )
    hidden = np.flatnonzero(~np.isin(truth.keys(), predictions.keys(), assume_unique=True))
    owners, ids = truth.present.rows()[hidden], truth.present.ids[hidden]
    others = _unlisted(labeler, entities, owners, ids, threads)
    both = listed.concatenated(others)
    return both.take(np.argsort(both.probabilities, kind="stable")[:MAX_MISTAKES])


def _unlisted(
    labeler: Labeler, entities: Entities, rows: Ids, ids: npt.NDArray[np.int32], threads: int
) -> _Pairs:
    """The probabilities of pairs that the predictions do not list; `rows` are ascending.

    At most MAX_RESCORED pairs are labelled again: the pairs with the lowest scores of the linear
    stage. The lower this score is, the lower is the probability of a label that is not a candidate.
    """
    if not len(rows):
        return _Pairs(rows, ids.astype(np.int64), np.zeros(0, np.float32))
    if len(rows) > MAX_RESCORED:
        cuts = np.flatnonzero(np.diff(rows)) + 1
        parts = np.split(np.arange(len(rows)), cuts[CHUNK - 1 :: CHUNK])
        with ThreadPoolExecutor(threads) as pool:
            score = functools.partial(_linear_scores, labeler, entities)
            scores = list(
                pool.map(score, (rows[part] for part in parts), (ids[part] for part in parts))
            )
        lowest = np.sort(np.argsort(np.concatenate(scores), kind="stable")[:MAX_RESCORED])
        rows, ids = rows[lowest], ids[lowest]
    return _look_up(labeler, entities, rows, ids.astype(np.int64))


def _linear_scores(
    labeler: Labeler, entities: Entities, rows: Ids, ids: npt.NDArray[np.int32]
) -> npt.NDArray[np.float32]:
    wanted, places = np.unique(rows, return_inverse=True)
    scores = labeler.linear.scores(labeler.features.transform(entities.take(wanted)))
    return scores[places, ids]


def _look_up(labeler: Labeler, entities: Entities, rows: Ids, ids: Ids) -> _Pairs:
    """The probabilities of some pairs, found by labelling their entities again."""
    wanted, places = np.unique(rows, return_inverse=True)
    only = tuple(labeler.labels.names[i] for i in np.unique(ids))
    query = LabelQuery(top_k=min(len(labeler.labels), TOP_K_LIMIT), only=only)
    predictions = labeler.label(entities.take(wanted), query)
    found = find_keys(predictions.keys(), places * len(labeler.labels) + ids)
    # a label that contains wildcards can match more labels than a query can list
    listed = np.flatnonzero(found >= 0)
    return _Pairs(rows, ids, predictions.probabilities[found]).take(listed)
