"""The text of an entity that an encoder reads."""

import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.schema import load_schema
from labelwright.entities.tables import Entities, from_records
from labelwright.training.teachers.texts import texts_of

PLACES, WORDS = load_schema("places"), load_schema("words")


def test_the_text_columns_are_joined_in_the_order_of_the_schema() -> None:
    entities = from_records(
        [
            {
                "address": "1 Main St",
                "name": "Joe's Pizza",
                "phone": "555 1234",
                "lat": 1,
                "lon": 2,
            },
            {"name": "Bar"},
            {"phone": "555 1234"},
        ],
        PLACES,
    )
    assert texts_of(entities).to_pylist() == ["Joe's Pizza. 1 Main St", "Bar", ""]


def test_entities_without_any_column_have_empty_texts() -> None:
    assert texts_of(Entities.empty(PLACES, 2)).to_pylist() == ["", ""]


def test_a_schema_without_a_text_column_is_an_error() -> None:
    with pytest.raises(DataError, match="no column of the kind text"):
        texts_of(Entities.empty(WORDS, 1))
