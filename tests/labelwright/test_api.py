"""The Python API, where it does more than hand over what other tests cover."""

import math
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

import labelwright
from labelwright.entities.errors import RequestError
from labelwright.models.explain.reasons import REASON

if TYPE_CHECKING:
    from tests.conftest import World

pytest_plugins = ["tests.worlds"]

PIZZA = {"id": "a", "name": "Joe's Pizza", "country": "US"}
BAD = {"id": "bad", "name": "Bar", "lat": 200, "lon": 4}


def test_reasons_come_as_a_table(trained_world: "World") -> None:
    table = labelwright.load(trained_world.uri).explain([PIZZA, BAD], top_k=2)
    assert table["id"].to_pylist() == ["a", "bad"]
    assert table.schema.field("labels").type.value_type.field("reasons").type == pa.list_(REASON)
    labels, nothing = table["labels"].to_pylist()
    assert nothing is None
    for label in labels:
        weights = [reason["weight"] for reason in label["reasons"]]
        assert math.fsum(weights) == pytest.approx(label["log_odds"], abs=1e-3)


def test_a_label_is_explained_however_improbable(trained_world: "World") -> None:
    model = labelwright.load(trained_world.uri)
    for name in model.labels[::40]:
        (labels,) = model.explain([PIZZA], name)["labels"].to_pylist()
        assert [label["label"] for label in labels] == [name]
    with pytest.raises(RequestError):
        model.explain([PIZZA], "no such label")
    with pytest.raises(RequestError):
        model.explain([PIZZA], policy="reckless")
