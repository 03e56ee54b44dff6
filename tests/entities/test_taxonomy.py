"""Taxonomy: titles of labels, and the search for labels."""

import pyarrow.parquet as pq
import pytest

from labelwright.entities.importers.osm_mapping import load_mapping
from labelwright.entities.label_book import LabelBook
from labelwright.entities.taxonomy import Taxonomy, osm_taxonomy, taxonomy_of
from tests.conftest import BRANDS

LABELS = ["amenity=restaurant", "cuisine=pizza", "shop=bakery", "shop=x", "wheelchair=yes"]


def found(search: str, language: str = "en") -> list[str]:
    return [LABELS[position] for position in osm_taxonomy(language).search(LABELS, search)]


@pytest.mark.parametrize(
    ("language", "title"),
    [
        ("en", "Bakery"), ("de", "Bäckerei"), ("de-CH", "Bäckerei"), ("DE_at", "Bäckerei"),
        ("fr", "Boulangerie"), ("pt-BR", "Padaria"), ("xx", "Bakery"), ("", "Bakery"),
        ("../../etc", "Bakery"), ("be@tarask", "Bakery"),
    ],
)  # fmt: skip
def test_labels_have_titles_in_the_requested_language(language: str, title: str) -> None:
    assert osm_taxonomy(language).title("shop=bakery") == title
    assert osm_taxonomy(language).title("shop=no_such_shop") is None


def test_labels_are_found_by_name_title_and_synonym() -> None:
    assert found("") == LABELS
    assert found("SHOP=") == ["shop=bakery", "shop=x"]
    assert found("bread") == ["shop=bakery"]
    assert found("restaurant") == ["amenity=restaurant", "cuisine=pizza"]
    assert found("pizza restaurant") == ["cuisine=pizza"]
    assert found("rollstuhl", "de") == found("wheelchair access", "de") == ["wheelchair=yes"]
    assert found("bakeshop", "de-AT") == ["shop=bakery"]
    assert found("rollstuhl") == []


def test_equal_titles_come_before_matches_in_title_name_and_synonyms() -> None:
    titles = {"a=1": "Wine Bar", "b=bar": "Pub", "c=1": "Bar", "d=1": "Club"}
    taxonomy = Taxonomy("en", titles, {"d=1": "cocktail bar\nlounge"})
    labels = ["d=1", "b=bar", "a=1", "c=1", "e=1"]
    assert [labels[n] for n in taxonomy.search(labels, "Bar")] == ["c=1", "a=1", "b=bar", "d=1"]


def test_most_labels_of_the_brands_data_have_a_title() -> None:
    mapping, english = load_mapping(None), osm_taxonomy()
    given = pq.read_table(BRANDS)["labels"].combine_chunks().flatten().to_pylist()
    labels = [label for label in given if mapping.is_label(label.partition("=")[0])]
    assert sum(english.title(label) is not None for label in labels) > 0.9 * len(labels)


def test_titles_of_a_book_replace_those_of_openstreetmap() -> None:
    entry = {"title": {"de": "Brotladen", "en": "Bread shop"}, "synonyms": ["loaf"]}
    book = LabelBook.from_mapping({"shop=bakery": entry, "kind=x": {"title": "Ex"}})
    german = taxonomy_of(book, "de-AT")
    assert german.title("shop=bakery") == "Brotladen"
    assert (german.title("kind=x"), german.title("shop=butcher")) == ("Ex", "Metzgerei")
    assert taxonomy_of(book, "fr").title("shop=bakery") == "Bread shop"
    assert german.search(["shop=butcher", "shop=bakery"], "loaf") == [1]
