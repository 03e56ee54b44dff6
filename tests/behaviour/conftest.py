"""The model of these tests, trained on all embedded brands."""

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

Probabilities = dict[str, float]
"""A map from labels to their probabilities."""
Predict = Callable[..., list[Probabilities]]


@pytest.fixture(scope="session")
def full_labeler(places: EntitySchema) -> Labeler:
    """A model of all embedded brands, with names in many scripts."""
    return fit_labeler(read_labelled([BRANDS], places), Configuration())


@pytest.fixture(scope="session")
def predict(full_labeler: Labeler) -> Predict:
    """A function that predicts the probabilities of all labels, or of the asserted labels only."""

    def run(*records: dict[str, Any], asserted: bool = False) -> list[Probabilities]:
        query = LabelQuery(top_k=len(full_labeler.labels))
        predictions = full_labeler.label(
            from_records(records, full_labeler.schema), query
        ).to_arrow()
        return [
            {
                pair["label"]: pair["probability"]
                for pair in pairs
                if pair["asserted"] or not asserted
            }
            for pairs in predictions.to_pylist()
        ]

    return run
