"""Review priority: an entity has a reason exactly if the condition of the reason is true."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from labelwright.entities.tables import Entities, from_records
from labelwright.models.decisions import LabelQuery
from labelwright.models.labeler import Labeler
from labelwright.models.labels import LabelMatrix, label_matrix
from labelwright.models.monitoring.review_priority import (
    ABOUT,
    IMPROBABLE,
    JUDGED,
    MARGIN,
    UNSEEN,
    Reason,
    review_reasons,
)

QUERY = LabelQuery(top_k=JUDGED)


def given(labeler: Labeler, lists: Sequence[Sequence[str] | None]) -> LabelMatrix:
    """The given labels of each entity; None for an entity without given labels."""
    array = pa.array([names or [] for names in lists], pa.list_(pa.string()))
    partial = np.array([names is None for names in lists])
    return label_matrix(array, labeler.labels, partial=partial)


def found(
    labeler: Labeler,
    entities: Entities,
    lists: Sequence[Sequence[str] | None] | None = None,
    challenger: Sequence[set[str] | None] = (),
) -> list[list[Reason]]:
    labels = given(labeler, lists or [None] * len(entities))
    predictions = labeler.label(entities, QUERY)
    return review_reasons(labeler, entities, QUERY.policy, predictions, labels, challenger)


def asserted(labeler: Labeler, entities: Entities) -> list[list[str]]:
    """The asserted labels of each entity."""
    rows = labeler.label(entities, QUERY).to_arrow().to_pylist()
    return [[label["label"] for label in row if label["asserted"]] for row in rows]


def about(reasons: Sequence[Reason], kind: str) -> Reason | None:
    """The first reason of a kind, or None."""
    return next((reason for reason in reasons if reason.about == kind), None)


def test_an_entity_has_a_reason_exactly_if_the_condition_of_the_reason_is_true(
    labeler: Labeler, brands: Entities
) -> None:
    entities = brands.slice(0, 200)
    predictions = labeler.label(entities, QUERY)
    thresholds = labeler.decisions.thresholds(QUERY)
    kinds = set()
    for row, reasons in enumerate(found(labeler, entities)):
        part = predictions.slice(row, row + 1)
        distance = np.abs(part.probabilities - thresholds[part.ids]).min()
        assert (about(reasons, "undecided") is not None) == (distance < MARGIN)
        best = part.probabilities.max()
        assert (about(reasons, "improbable") is not None) == (best < IMPROBABLE)
        assert all(0 <= reason.rank <= 1 for reason in reasons)
        assert [r.rank for r in reasons] == sorted((r.rank for r in reasons), reverse=True)
        kinds |= {reason.about for reason in reasons}
    assert {"undecided", "improbable"} <= kinds < set(ABOUT)


def test_a_mostly_unseen_field_is_a_reason_with_its_share(labeler: Labeler) -> None:
    entities = from_records([{"name": "Bank"}, {"name": "Ωμέγα", "country": "zz"}], labeler.schema)
    known, new = found(labeler, entities)
    assert about(known, "unseen") is None
    reason = about(new, "unseen")
    assert reason is not None
    assert reason.details["field"] == "name"
    assert reason.rank == reason.details["share"] == 1.0 > UNSEEN


def test_given_labels_that_the_model_asserts_are_not_a_reason(
    labeler: Labeler, brands: Entities
) -> None:
    entities = brands.slice(0, 100)
    for reasons in found(labeler, entities, asserted(labeler, entities)):
        assert about(reasons, "given") is None


def test_the_rank_of_a_contradiction_grows_with_the_probability(
    labeler: Labeler, brands: Entities
) -> None:
    entities = brands.slice(0, 100)
    other = labeler.labels.names[0]
    best = labeler.label(entities, QUERY).to_arrow().to_pylist()
    for row, reasons in enumerate(found(labeler, entities, [[other]] * len(entities))):
        ours = [label["label"] for label in best[row] if label["asserted"]]
        reason = about(reasons, "given")
        if ours == [other]:
            assert reason is None
            continue
        assert reason is not None
        assert reason.details["surplus"] == [name for name in ours if name != other][:5]
        assert reason.details["missing"] == ([] if other in ours else [other])
        surprise = [
            label["probability"]
            for label in best[row]
            if label["label"] in reason.details["surplus"]
        ]
        assert reason.rank >= max(surprise, default=0)


def test_an_entity_without_given_labels_has_no_contradiction(
    labeler: Labeler, brands: Entities
) -> None:
    for reasons in found(labeler, brands.slice(0, 50)):
        assert about(reasons, "given") is None


def test_a_challenger_with_other_assertions_is_a_reason(labeler: Labeler, brands: Entities) -> None:
    entities = brands.slice(0, 50)
    same = labeler.label(entities, QUERY).asserted_names()
    for reasons in found(labeler, entities, challenger=same):
        assert about(reasons, "challenger") is None
    silent: list[set[str] | None] = [set(), None] * 25
    for row, reasons in enumerate(found(labeler, entities, challenger=silent)):
        reason = about(reasons, "challenger")
        assert (reason is not None) == (bool(same[row]) and silent[row] is not None)
        if reason:
            assert reason.details == {"missing": [], "surplus": sorted(same[row])[:5]}
            assert reason.rank == 1.0


def test_only_known_labels_of_an_open_world_can_contradict(
    labeler: Labeler, brands: Entities
) -> None:
    entities = brands.slice(0, 100)
    ours = asserted(labeler, entities)
    row = next(row for row, names in enumerate(ours) if names)
    group = ours[row][0].partition("=")[0]
    others = [name for name in labeler.labels.names if name.startswith(f"{group}=")]
    absent = next(name for name in others if name not in ours[row])
    one = entities.slice(row, 1)
    predictions = labeler.label(one, QUERY)
    for lists, contradicted in (([], False), ([absent], True)):
        array = pa.array([lists], pa.list_(pa.string()))
        matrix = label_matrix(array, labeler.labels, (group,))
        (reasons,) = review_reasons(labeler, one, QUERY.policy, predictions, matrix)
        surplus = reason.details["surplus"] if (reason := about(reasons, "given")) else []
        assert (ours[row][0] in surplus) == contradicted


@pytest.mark.parametrize("record", [{"name": 5}, 7])
def test_a_rejected_entity_has_no_reasons(labeler: Labeler, record: object) -> None:
    entities = from_records([record, {"name": "Ωμέγα"}], labeler.schema)
    rejected, other = found(labeler, entities, [["shop=florist"], None])
    assert rejected == []
    assert other
