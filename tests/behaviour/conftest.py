"""The model under test: trained on all embedded brands."""

from collections.abc import Callable
from typing import Any

import pytest

from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import from_records
from labelwright.models.decisions import LabelQuery
from labelwright.models.labeler import Labeler
from labelwright.training.data import read_labelled
from labelwright.training.fitting.fit import Configuration, fit_labeler
from tests.conftest import BRANDS

Answer = dict[str, float]
"""Probability by label."""
Ask = Callable[..., list[Answer]]


@pytest.fixture(scope="session")
def whole(places: EntitySchema) -> Labeler:
    """A model of all scripts and labels of the embedded data."""
    return fit_labeler(read_labelled([BRANDS], places), Configuration())


@pytest.fixture(scope="session")
def ask(whole: Labeler) -> Ask:
    """Gives the probabilities of all labels for some records, or of the asserted labels only."""

    def answer(*records: dict[str, Any], asserted: bool = False) -> list[Answer]:
        query = LabelQuery(top_k=len(whole.labels))
        predictions = whole.label(from_records(records, whole.schema), query).to_arrow()
        return [
            {
                pair["label"]: pair["probability"]
                for pair in pairs
                if pair["asserted"] or not asserted
            }
            for pairs in predictions.to_pylist()
        ]

    return answer
