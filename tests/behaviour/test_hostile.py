"""Unusual names get valid predictions: finite, sorted, and no assertions without evidence."""

import pytest

from labelwright.entities.arrays import FIELD_LIMIT
from tests.behaviour.conftest import Ask

HOSTILE = {
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


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_unusual_names_get_sorted_probabilities(ask: Ask, name: str) -> None:
    (answer,) = ask({"name": name})
    probabilities = list(answer.values())
    assert all(0 <= p <= 1 for p in probabilities)
    assert probabilities == sorted(probabilities, reverse=True)


@pytest.mark.parametrize("name", ["", " ", "😀", "\u200b", ";;"])
def test_names_without_letters_assert_nothing(ask: Ask, name: str) -> None:
    assert ask({"name": name}, asserted=True) == [{}]
    assert ask({"name": name}) == ask({})


def test_symbols_around_a_name_hardly_change_its_probabilities(ask: Ask) -> None:
    plain, noisy = ask({"name": "Pizzeria"}, {"name": "*** ~Pizzeria~ !!! 😀"})
    assert plain["cuisine=pizza"] == pytest.approx(noisy["cuisine=pizza"], abs=0.05)
