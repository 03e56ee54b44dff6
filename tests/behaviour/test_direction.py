"""Directional expectations: a word for a category raises the probability of its label."""

import pytest

from tests.behaviour.conftest import Predict

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
def test_a_word_for_a_category_raises_the_probability_of_its_label(
    predict: Predict, name: str, longer: str, label: str
) -> None:
    before, after = predict({"name": name}, {"name": longer})
    assert after[label] > 2 * before[label]
    assert label in predict({"name": longer}, asserted=True)[0]


def test_a_word_for_one_category_lowers_the_probabilities_of_others(predict: Predict) -> None:
    before, after = predict({"name": "Garden"}, {"name": "Garden Pharmacy"})
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
def test_words_in_many_scripts_predict_their_label(predict: Predict, word: str, label: str) -> None:
    (probabilities,) = predict({"name": word})
    assert max(probabilities, key=lambda name: probabilities[name]) == label
