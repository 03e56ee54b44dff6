"""Review priority: reasons why a reviewer should look at an entity first.

Each reason has a rank from 0 to 1. The rank of an entity is the sum of the ranks of its reasons.
Labels that contradict a confident model are often mistakes (Northcutt et al., JAIR 2021).
Examples near a decision boundary teach a model most (Lewis & Gale, SIGIR 1994).
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from labelwright.entities.schema import Column, Kind
from labelwright.entities.tables import Entities
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.labeler import Labeler
from labelwright.models.labels import LabelMatrix
from labelwright.models.monitoring.novelty import count_known_tokens

ABOUT = {
    "undecided": "a label is about as probable as its threshold",
    "improbable": "no label is probable",
    "unseen": "few letters or words of the name occur in the training data",
    "given": "the given labels are not those that the model asserts",
    "challenger": "the challenger does not assert the same labels",
}
"""The kinds of reasons, with their descriptions."""
JUDGED = 20
"""The number of most probable labels of an entity that are examined; asserted labels are added."""
MARGIN = 0.15
"""A label is undecided if its probability differs from its threshold by less than this."""
IMPROBABLE = 0.35
"""An entity has no probable label if all probabilities are below this."""
UNSEEN = 0.5
"""A field is a reason if at least this share of its tokens is unknown."""
NAMED = 5
"""A reason names at most so many missing labels, and at most so many surplus labels."""
_PARTS = 1_000


@dataclasses.dataclass(frozen=True)
class Reason:
    """A reason to review an entity. `about` is a key of ABOUT, on which the `details` depend."""

    about: str
    rank: float
    details: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The reason as a JSON object."""
        return {"about": self.about, "rank": round(self.rank, 4), **self.details}


def review_reasons(
    labeler: Labeler,
    entities: Entities,
    policy: str,
    predictions: Predictions,
    given: LabelMatrix,
    challenger: Sequence[set[str] | None] = (),
) -> list[list[Reason]]:
    """The reasons to review each entity, the highest rank first; rejected rows have no reasons.

    `predictions` are the labeler's predictions with `top_k` JUDGED and the policy. `given` are the
    labels that the entities already have. The row of an entity without such labels must be partial
    and have no listed labels. `challenger` contains the labels that another model asserts for each
    entity, or None for an entity without a prediction.
    """
    found: list[list[Reason]] = [[] for _ in range(len(entities))]
    for reasons in (
        _undecided(labeler, policy, predictions),
        _improbable(predictions),
        _unseen(labeler, entities),
        _contradicted(predictions, given),
        _challenged(predictions, challenger),
    ):
        for row, reason in reasons:
            found[row].append(reason)
    return [
        [] if row in entities.rejected else sorted(reasons, key=lambda reason: -reason.rank)
        for row, reasons in enumerate(found)
    ]


Found = Iterator[tuple[int, Reason]]


def _undecided(labeler: Labeler, policy: str, predictions: Predictions) -> Found:
    """For each row, the label that is nearest to its threshold, if it is near enough."""
    thresholds = labeler.decisions.thresholds(LabelQuery(policy=policy))
    distances = np.abs(predictions.probabilities - thresholds[predictions.ids])
    for row, (first, end) in enumerate(_bounds(predictions)):
        nearest = first + int(distances[first:end].argmin())
        if distances[nearest] < MARGIN:
            label = predictions.labels.names[predictions.ids[nearest]]
            yield row, Reason("undecided", 1 - float(distances[nearest]) / MARGIN, {"label": label})


def _improbable(predictions: Predictions) -> Found:
    for row, (first, _) in enumerate(_bounds(predictions)):
        best = float(predictions.probabilities[first])
        if best < IMPROBABLE:
            yield row, Reason("improbable", 1 - best, {"probability": round(best, 4)})


def _bounds(predictions: Predictions) -> list[tuple[int, int]]:
    """The items of `predictions` of each entity, as (first, end); every entity must have some."""
    return list(zip(predictions.indptr[:-1].tolist(), predictions.indptr[1:].tolist(), strict=True))


def _unseen(labeler: Labeler, entities: Entities) -> Found:
    """Rows where at least the share UNSEEN of a column's tokens is unknown."""
    for column in filter(_has_names_or_words, entities.schema.columns):
        if entities.column(column.name) is None:
            continue
        shares = (
            count_known_tokens(labeler.features, entities, column).unseen_share(of=_PARTS) / _PARTS
        )
        for row in np.flatnonzero(shares >= UNSEEN).tolist():
            share = float(shares[row])
            yield row, Reason("unseen", share, {"field": column.name, "share": share})


def _has_names_or_words(column: Column) -> bool:
    """Whether a column has names or words. In a long text, many tokens are always unknown."""
    return column.kind is Kind.WORDS or (column.kind is Kind.TEXT and column.grams)


def _contradicted(predictions: Predictions, given: LabelMatrix) -> Found:
    """Rows where an asserted label is known to be absent, or a given label is not asserted."""
    names = predictions.labels.names
    pairs, given_pairs = predictions.keys(), given.keys()
    known = given.known(predictions.rows(), predictions.ids)
    extra = predictions.asserted & known & ~np.isin(pairs, given_pairs)
    lacking = ~np.isin(given_pairs, pairs[predictions.asserted])
    listed = dict(zip(pairs.tolist(), predictions.probabilities.tolist(), strict=True))
    surplus: dict[int, list[int]] = {}
    missing: dict[int, list[int]] = {}
    for found, selected in ((surplus, pairs[extra]), (missing, given_pairs[lacking])):
        for pair in selected.tolist():
            found.setdefault(pair // given.labels, []).append(pair)
    for row in sorted({*surplus, *missing}):
        extra_pairs, lacking_pairs = surplus.get(row, []), missing.get(row, [])
        surprises = [listed[pair] for pair in extra_pairs] + [
            1 - listed.get(pair, 0.0) for pair in lacking_pairs
        ]
        details = {
            "missing": [names[pair % given.labels] for pair in lacking_pairs[:NAMED]],
            "surplus": [names[pair % given.labels] for pair in extra_pairs[:NAMED]],
        }
        yield row, Reason("given", max(surprises), details)


def _challenged(predictions: Predictions, challenger: Sequence[set[str] | None]) -> Found:
    both = zip(predictions.asserted_names(), challenger, strict=True) if challenger else ()
    for row, (asserted, others) in enumerate(both):
        if others is not None and asserted != others:
            share = len(asserted ^ others) / len(asserted | others)
            missing, surplus = sorted(others - asserted)[:NAMED], sorted(asserted - others)[:NAMED]
            yield row, Reason("challenger", share, {"missing": missing, "surplus": surplus})
