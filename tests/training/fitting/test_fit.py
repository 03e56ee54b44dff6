"""Configurations of a fit, and errors for too few rows or labels."""

import pyarrow as pa
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.schema import load_schema
from labelwright.entities.tables import from_records
from labelwright.training.data import LabelledEntities
from labelwright.training.fitting.fit import MIN_ROWS, Configuration, fit_labeler


def test_missing_fields_have_default_values() -> None:
    configuration = Configuration.from_mapping({"cost": 1, "trees": 7})
    assert configuration == Configuration(cost=1, trees=7)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"speed": 1}, "unknown field 'speed'.*cost, passes"),
        ({"trees": 1.5}, "'trees' .* a whole number above 0"),
        ({"trees": True}, "'trees' .* a whole number above 0"),
        ({"cost": 0}, "'cost' .* a number above 0"),
        ({"cost": "1"}, "'cost' .* a number above 0"),
        ({"folds": 1}, "'folds' .* a whole number above 1"),
        ({"leaves": 1}, "'leaves' .* between 2 and"),
        ({"leaves": 1_000}, "'leaves' .* between 2 and"),
    ],
)
def test_the_error_about_a_field_names_the_field_and_its_permitted_values(
    content: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Configuration.from_mapping(content)


@pytest.mark.parametrize(
    ("rows", "min_count", "message"),
    [(MIN_ROWS - 1, 1, "too few to train on"), (MIN_ROWS, MIN_ROWS + 1, "no label has at least")],
)
def test_too_few_rows_or_labels_are_an_error(rows: int, min_count: int, message: str) -> None:
    records = [{"id": str(n), "text": "a"} for n in range(rows)]
    labels = pa.array([["x"]] * rows, pa.list_(pa.string()))
    data = LabelledEntities(from_records(records, load_schema("text")), labels)
    with pytest.raises(DataError, match=message):
        fit_labeler(data, Configuration(min_count=min_count))
