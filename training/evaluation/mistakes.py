"""What a model gets wrong: its most confident mistakes, and the labels it takes for one another."""

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from labelwright.entities.tables import Entities
from labelwright.models.decisions import TOP_K_LIMIT, LabelQuery, Predictions, Probabilities
from labelwright.models.labeler import CHUNK, Labeler
from labelwright.models.labels import LabelMatrix, LabelSet
from labelwright.training.evaluation.metrics import correctness

MAX_MISTAKES = 50
"""So many mistakes of each kind are listed."""
MAX_RESCORED = 250
"""The labeler is asked again about so many pairs at most."""
GIVEN, MISSED = "given too much", "missed"

Ids = npt.NDArray[np.int64]


class _Pairs(NamedTuple):
    """Rows, the id of a label of each, and its probability."""

    rows: Ids
    ids: Ids
    probabilities: Probabilities

    def take(self, positions: Ids) -> "_Pairs":
        return _Pairs(self.rows[positions], self.ids[positions], self.probabilities[positions])

    def followed_by(self, others: "_Pairs") -> "_Pairs":
        return _Pairs(
            np.concatenate([self.rows, others.rows]),
            np.concatenate([self.ids, others.ids]),
            np.concatenate([self.probabilities, others.probabilities]),
        )


def mistakes(
    labeler: Labeler, entities: Entities, predictions: Predictions, truth: LabelMatrix, threads: int
) -> pa.Table:
    """The MAX_MISTAKES most confident mistakes of each kind, which are likely errors in the data.

    First the labels GIVEN too much: asserted but not true, most probable first. Then those MISSED:
    true but not asserted, least probable first. Columns: id, entity (its identifying text), kind,
    label, probability. True labels outside the label set have no probability, and are left out.
    """
    given = _given(predictions, truth)
    missed = _missed(labeler, entities, predictions, truth, threads)
    both = given.followed_by(missed)
    identity = entities.schema.identity
    texts = entities.column(identity) if identity else None
    return pa.table(
        {
            "id": entities.ids.take(pa.array(both.rows)),
            "entity": pa.nulls(len(both.rows), pa.string())
            if texts is None
            else texts.take(pa.array(both.rows)),
            "kind": [GIVEN] * len(given.rows) + [MISSED] * len(missed.rows),
            "label": predictions.labels.array.take(pa.array(both.ids)),
            "probability": both.probabilities,
        }
    )


def confusions(predictions: Predictions, truth: LabelMatrix, most: int) -> pa.Table:
    """The pairs of labels of which one is asserted wrongly where the other is missed.

    Where labels are written `key=value`, a label is held against those missed that have the same
    key, and against the others only where the row misses none of that key. Columns: given, missed,
    rows (how many rows show the pair); the `most` most frequent, in order.
    """
    rows, _, correct = correctness(predictions, truth)
    wrong = predictions.asserted & ~correct
    asserted = _codes(rows, predictions.ids, truth)[predictions.asserted]
    owners = _owners(truth)
    missed = ~np.isin(_codes(owners, truth.ids, truth), asserted, assume_unique=True)
    pair, other = _meetings(rows[wrong], owners[missed], len(truth))
    given, instead = predictions.ids[wrong][pair], truth.ids[missed][other]
    keys = _keys(predictions.labels)
    same = keys[given] == keys[instead]
    kept = same | (np.bincount(pair[same], minlength=wrong.sum()) == 0)[pair]
    codes, frequency = np.unique(_codes(given, instead, truth)[kept], return_counts=True)
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


def _meetings(left: Ids, right: Ids, rows: int) -> tuple[Ids, Ids]:
    """The positions of all pairs of an element of `left` and one of `right` with the same row.

    Both hold ascending row numbers below `rows`.
    """
    counts = np.bincount(right, minlength=rows)
    lengths = counts[left]
    first = (np.cumsum(counts) - counts)[left] - (np.cumsum(lengths) - lengths)
    return np.repeat(np.arange(len(left)), lengths), np.arange(lengths.sum()) + np.repeat(
        first, lengths
    )


def _keys(labels: LabelSet) -> Ids:
    """A number for what stands before `=` in each label; one for all labels without it."""
    keys = [key if equals else "" for key, equals, _ in (n.partition("=") for n in labels.names)]
    return np.unique(keys, return_inverse=True)[1]


def _given(predictions: Predictions, truth: LabelMatrix) -> _Pairs:
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
    owners = _owners(truth)
    answered = _codes(rows, predictions.ids, truth)
    hidden = np.flatnonzero(
        ~np.isin(_codes(owners, truth.ids, truth), answered, assume_unique=True)
    )
    others = _unlisted(labeler, entities, owners[hidden], truth.ids[hidden], threads)
    both = listed.followed_by(others)
    return both.take(np.argsort(both.probabilities, kind="stable")[:MAX_MISTAKES])


def _unlisted(
    labeler: Labeler, entities: Entities, rows: Ids, ids: npt.NDArray[np.int32], threads: int
) -> _Pairs:
    """The least probable of some pairs that were not listed; `rows` ascend.

    At most MAX_RESCORED pairs are looked up: those with the lowest scores of the linear stage. The
    probability of a label that is no candidate rises with this score.
    """
    if not len(rows):
        return _Pairs(rows, ids.astype(np.int64), np.zeros(0, np.float32))
    if len(rows) > MAX_RESCORED:
        cuts = np.flatnonzero(np.diff(rows)) + 1
        parts = np.split(np.arange(len(rows)), cuts[CHUNK - 1 :: CHUNK])
        with ThreadPoolExecutor(threads) as pool:
            score = functools.partial(_scores, labeler, entities)
            scores = list(
                pool.map(score, (rows[part] for part in parts), (ids[part] for part in parts))
            )
        lowest = np.sort(np.argsort(np.concatenate(scores), kind="stable")[:MAX_RESCORED])
        rows, ids = rows[lowest], ids[lowest]
    return _asked(labeler, entities, rows, ids.astype(np.int64))


def _scores(
    labeler: Labeler, entities: Entities, rows: Ids, ids: npt.NDArray[np.int32]
) -> npt.NDArray[np.float32]:
    wanted, places = np.unique(rows, return_inverse=True)
    scores = labeler.linear.scores(labeler.features.transform(entities.take(wanted)))
    return scores[places, ids]


def _asked(labeler: Labeler, entities: Entities, rows: Ids, ids: Ids) -> _Pairs:
    """The probabilities of these pairs, from the labeler's own answer about their labels."""
    wanted, places = np.unique(rows, return_inverse=True)
    about = tuple(labeler.labels.names[i] for i in np.unique(ids))
    query = LabelQuery(top_k=min(len(labeler.labels), TOP_K_LIMIT), only=about)
    predictions = labeler.label(entities.take(wanted), query)
    owners = np.repeat(np.arange(len(wanted)), np.diff(predictions.indptr))
    codes = owners * len(labeler.labels) + predictions.ids
    order = np.argsort(codes)
    sought = places * len(labeler.labels) + ids
    found = order[np.searchsorted(codes[order], sought).clip(max=len(codes) - 1)]
    listed = np.flatnonzero(codes[found] == sought)  # all, unless a label reads as a wide pattern
    return _Pairs(rows, ids, predictions.probabilities[found]).take(listed)


def _owners(truth: LabelMatrix) -> Ids:
    return np.repeat(np.arange(len(truth)), np.diff(truth.indptr))


def _codes(rows: npt.NDArray[Any], ids: npt.NDArray[np.int32], truth: LabelMatrix) -> Ids:
    return rows.astype(np.int64) * truth.labels + ids
