"""Invariance: a change that keeps the meaning of an entity does not change its predictions."""

import random
from typing import Any

import pytest

from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities
from labelwright.models.decisions import LabelQuery
from labelwright.models.labeler import Labeler
from tests.behaviour.conftest import Predict

PLACE: dict[str, Any] = {
    "name": "Zum Goldenen Hirschen",
    "alternative_names": "Hirschen; Gasthaus Hirsch",
    "city": "Freiburg",
    "country": "DE",
    "website": "https://www.hirschen-hotel.example/zimmer",
    "phone": "+49 761 123456",
}


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        str.lower,
        str.swapcase,
        lambda text: f"  {text}\t",
        lambda text: text.replace(" ", "   "),
        lambda text: text.replace(" ", "\u00a0"),
        lambda text: "".join(
            chr(ord(c) + 0xFEE0) if c.isascii() and c.isalpha() else c for c in text
        ),
    ],
    ids=["upper", "lower", "swapped", "around", "spaces", "no-break", "full-width"],
)
@pytest.mark.parametrize(
    "name", ["Joe's Pizza", "Zum Goldenen Hirschen", "Caffè Nero", "Аптека Три"]
)
def test_case_spacing_and_width_do_not_matter(predict: Predict, name: str, change: Any) -> None:
    one, other = predict({"name": name, "country": "DE"}, {"name": change(name), "country": "DE"})
    assert one == other


def test_unicode_composition_does_not_matter(predict: Predict) -> None:
    one, other = predict({"name": "Caf\u00e9 Gr\u00fcn"}, {"name": "Cafe\u0301 Gru\u0308n"})
    assert one == other


def test_the_order_of_fields_does_not_matter(predict: Predict) -> None:
    fields = list(PLACE.items())
    random.Random(0).shuffle(fields)
    one, other = predict(PLACE, dict(fields))
    assert one == other


def test_empty_fields_do_not_matter(predict: Predict) -> None:
    (one,) = predict(PLACE)
    (other,) = predict({**PLACE, "brand": None, "description": "", "tags": {}, "id": "x"})
    assert one == other


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_batch_size_and_other_rows_do_not_matter(
    full_labeler: Labeler, brands: Entities, places: EntitySchema, batch: int
) -> None:
    some = brands.slice(0, 192)
    query = LabelQuery(top_k=20)
    together = full_labeler.label(some, query).to_arrow().to_pylist()
    apart: list[Any] = []
    for start in range(0, len(some), batch):
        apart += full_labeler.label(some.slice(start, batch), query).to_arrow().to_pylist()
    assert apart == together


def test_the_order_of_rows_does_not_matter(predict: Predict) -> None:
    records = [{"name": name} for name in ("Hotel Post", "Sparkasse", "Pizza Hut", "", "書店")]
    forward, backward = predict(*records), predict(*reversed(records))
    assert forward == backward[::-1]
