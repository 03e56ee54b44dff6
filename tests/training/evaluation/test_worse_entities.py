"""Corrected entities on which a new model agrees less with reviewers than the champion."""

import pyarrow as pa
import pytest

from labelwright.training.evaluation.reviewer_agreement import ABSENT, PRESENT, worse_entities


@pytest.mark.parametrize(
    ("pairs", "worse"),
    [
        ([], 0),
        ([("a", PRESENT, True, True), ("b", ABSENT, False, False)], 0),
        ([("a", PRESENT, True, False)], 1),
        ([("a", ABSENT, False, True)], 1),
        ([("a", ABSENT, True, False), ("b", PRESENT, False, True)], 0),
        ([("a", PRESENT, True, False), ("a", ABSENT, True, False)], 0),  # one lost, one gained
        ([("a", PRESENT, True, False), ("b", ABSENT, True, False)], 1),
        ([("a", PRESENT, None, False)], 0),  # without a champion
    ],
)
def test_an_entity_is_worse_if_fewer_of_its_verdicts_are_met(
    pairs: list[tuple[str, str, bool | None, bool]], worse: int
) -> None:
    names = ("entity_id", "verdict", "asserted_before", "asserted")
    types = (pa.string(), pa.string(), pa.bool_(), pa.bool_())
    columns = zip(*pairs, strict=True) if pairs else [[], [], [], []]
    arrays = [pa.array(list(column), kind) for column, kind in zip(columns, types, strict=True)]
    assert worse_entities(pa.table(arrays, names=list(names))) == worse
