"""The law: wherever a model answers, it answers the same."""

import pytest

from entities.tables import Entities
from models.decisions import Question
from models.labeler import Labeler


@pytest.mark.parametrize("batch", [1, 7, 1_000])
def test_answers_do_not_depend_on_the_batch(labeler: Labeler, brands: Entities, batch: int) -> None:
    question = Question()
    some = brands.slice(0, 100)
    whole = labeler.label(some, question).to_arrow().to_pylist()
    parts = [
        answer
        for start in range(0, 100, batch)
        for answer in labeler.label(some.slice(start, batch), question).to_arrow().to_pylist()
    ]
    assert parts == whole
