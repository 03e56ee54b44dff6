"""Unusual names get valid predictions: finite, sorted, and not asserted without evidence."""

import pytest

from labelwright.entities.values import FIELD_LIMIT
from tests.behaviour.conftest import Predict

UNUSUAL_NAMES = {
    "empty": "",
    "blank": " \t\n\u2003\u200b",
    "emoji": "😀🍕👩‍🍳",
    "long": "x" * FIELD_LIMIT,
    "long words": "pizza " * (FIELD_LIMIT // 6),
    "marks": "a" + "\u0301" * 2_000,
    "controls": "Pizza\x00\x01\x1b[31m\x7f",
    "directions": "\u202ePizza\u202c\u2066\u2069",
    "markup": "<script>alert(1)</script>",
    "database": "'; DROP TABLE places; --",
    "formula": '=HYPERLINK("x")',
    "private": "\ue000\uf8ff\U000f0000",
    "noncharacters": "\ufdd0\uffff\U0010ffff",
    "separators": ";;;||,,,===",
    "zero": "0",
    "nan": "nan",
}


@pytest.mark.parametrize("name", UNUSUAL_NAMES.values(), ids=UNUSUAL_NAMES)
def test_unusual_names_get_sorted_probabilities(predict: Predict, name: str) -> None:
    (by_label,) = predict({"name": name})
    probabilities = list(by_label.values())
    assert all(0 <= p <= 1 for p in probabilities)
    assert probabilities == sorted(probabilities, reverse=True)


@pytest.mark.parametrize("name", ["", " ", "😀", "\u200b", ";;"])
def test_no_label_is_asserted_for_a_name_without_letters(predict: Predict, name: str) -> None:
    assert predict({"name": name}, asserted=True) == [{}]
    assert predict({"name": name}) == predict({})


def test_symbols_around_a_name_hardly_change_its_probabilities(predict: Predict) -> None:
    plain, noisy = predict({"name": "Pizzeria"}, {"name": "*** ~Pizzeria~ !!! 😀"})
    assert plain["cuisine=pizza"] == pytest.approx(noisy["cuisine=pizza"], abs=0.05)
