"""Directional expectations: a word for the kind of a place raises the right label."""

import pytest

from tests.behaviour.conftest import Ask

NAMES = [
    ("Joe's", "Joe's Pizzeria", "cuisine=pizza"),
    ("Miller", "Miller Pharmacy", "amenity=pharmacy"),
    ("Garden View", "Garden View Hotel", "tourism=hotel"),
    ("First National", "First National Bank", "amenity=bank"),
    ("Ruby", "Ruby Hair Salon", "shop=hairdresser"),
    ("Müller", "Bäckerei Müller", "shop=bakery"),
    ("Centrale", "Farmacia Centrale", "amenity=pharmacy"),
    ("Bob's", "Bob's Supermarket", "shop=supermarket"),
]


@pytest.mark.parametrize(("name", "longer", "label"), NAMES)
def test_a_word_for_the_kind_of_place_raises_its_label(
    ask: Ask, name: str, longer: str, label: str
) -> None:
    before, after = ask({"name": name}, {"name": longer})
    assert after[label] > 2 * before[label]
    assert label in ask({"name": longer}, asserted=True)[0]


def test_a_word_for_another_kind_lowers_labels(ask: Ask) -> None:
    before, after = ask({"name": "Garden"}, {"name": "Garden Pharmacy"})
    assert after["tourism=hotel"] <= before["tourism=hotel"]
    assert after["cuisine=chinese"] < before["cuisine=chinese"]


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("Pharmacy", "amenity=pharmacy"),  # Latin
        ("Аптека", "amenity=pharmacy"),  # Cyrillic
        ("银行", "amenity=bank"),  # Han
        ("書店", "shop=books"),
        ("ドラッグ", "shop=chemist"),  # Katakana
        ("صيدلية", "amenity=pharmacy"),  # Arabic
        ("은행", "amenity=bank"),  # Hangul
        ("ธนาคาร", "amenity=bank"),  # Thai
        ("בנק", "amenity=bank"),  # Hebrew
        ("Τράπεζα", "amenity=bank"),  # Greek
        ("ბანკი", "amenity=bank"),  # Georgian
        ("Բանկ", "amenity=bank"),  # Armenian
    ],
)
def test_words_of_every_script_are_used(ask: Ask, word: str, label: str) -> None:
    (answer,) = ask({"name": word})
    assert max(answer, key=lambda name: answer[name]) == label
