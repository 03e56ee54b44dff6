"""What is most worth a reviewer's glance: entities that a model knows least about, and why.

Each reason has a rank from 0 to 1, and an entity the sum of them. That a confident model which
others contradict is where mistakes are found is the idea of Northcutt et al. (Confident Learning,
JAIR 2021); that what is nearest a decision teaches most, that of Lewis & Gale (SIGIR 1994).
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
from labelwright.models.monitoring.novelty import met

ABOUT = {
    "undecided": "a label is about as probable as its threshold",
    "improbable": "no label is probable",
    "unseen": "training has met few of the letters or words that it is called by",
    "given": "the labels that are given are not those that the model asserts",
    "challenger": "the challenger does not assert the same labels",
}
"""What a reason can be about."""
JUDGED = 20
"""Labels of each entity that are looked at: the most probable ones, and all that are asserted."""
MARGIN = 0.15
"""Distance from its threshold within which a label is undecided."""
IMPROBABLE = 0.35
"""Where no label is as probable, none is probable."""
UNSEEN = 0.5
"""Share of a field that must be unseen to be told."""
NAMED = 5
"""Labels that a reason names at most, on either side."""
_PARTS = 1_000


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why an entity is worth a glance: `about` is one of ABOUT, `told` what there is to say."""

    about: str
    rank: float
    told: dict[str, Any]

    def stated(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"about": self.about, "rank": round(self.rank, 4), **self.told}


def worth(
    labeler: Labeler,
    entities: Entities,
    policy: str,
    predictions: Predictions,
    given: LabelMatrix,
    challenger: Sequence[set[str] | None] = (),
) -> list[list[Reason]]:
    """The reasons to look at each entity, the strongest first; none for rejected ones.

    `predictions` are the labeler's, JUDGED labels of each entity under the policy. A row of `given`
    that is partial and tells nothing is one without given labels. `challenger` has what another
    model asserts of each entity, None where it cannot say.
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
    """Of each row the label that is nearest to its threshold, if it is near."""
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
    """Where the labels of each entity stand; every entity has some."""
    return list(zip(predictions.indptr[:-1].tolist(), predictions.indptr[1:].tolist(), strict=True))


def _unseen(labeler: Labeler, entities: Entities) -> Found:
    """Rows whose names or words are mostly new."""
    for column in filter(_calls, entities.schema.columns):
        if entities.column(column.name) is None:
            continue
        shares = met(labeler.features, entities, column).unseen(of=_PARTS) / _PARTS
        for row in np.flatnonzero(shares >= UNSEEN).tolist():
            share = float(shares[row])
            yield row, Reason("unseen", share, {"field": column.name, "share": share})


def _calls(column: Column) -> bool:
    """Whether a column says what an entity is called, or is about; of long texts much is new."""
    return column.kind is Kind.WORDS or (column.kind is Kind.TEXT and column.grams)


def _contradicted(predictions: Predictions, given: LabelMatrix) -> Found:
    """Where the model asserts what is known to be absent, or does not what is known to be there."""
    names = predictions.labels.names
    pairs, said = predictions.keys(), given.keys()
    known = given.known(predictions.rows(), predictions.ids)
    extra = predictions.asserted & known & ~np.isin(pairs, said)
    lacking = ~np.isin(said, pairs[predictions.asserted])
    listed = dict(zip(pairs.tolist(), predictions.probabilities.tolist(), strict=True))
    surplus: dict[int, list[int]] = {}
    missing: dict[int, list[int]] = {}
    for found, those in ((surplus, pairs[extra]), (missing, said[lacking])):
        for pair in those.tolist():
            found.setdefault(pair // given.labels, []).append(pair)
    for row in sorted({*surplus, *missing}):
        ours, theirs = surplus.get(row, []), missing.get(row, [])
        surprises = [listed[pair] for pair in ours] + [1 - listed.get(pair, 0.0) for pair in theirs]
        told = {
            "missing": [names[pair % given.labels] for pair in theirs[:NAMED]],
            "surplus": [names[pair % given.labels] for pair in ours[:NAMED]],
        }
        yield row, Reason("given", max(surprises), told)


def _challenged(predictions: Predictions, challenger: Sequence[set[str] | None]) -> Found:
    both = zip(predictions.asserted_names(), challenger, strict=True) if challenger else ()
    for row, (ours, theirs) in enumerate(both):
        if theirs is not None and ours != theirs:
            share = len(ours ^ theirs) / len(ours | theirs)
            missing, surplus = sorted(theirs - ours)[:NAMED], sorted(ours - theirs)[:NAMED]
            yield row, Reason("challenger", share, {"missing": missing, "surplus": surplus})
