"""Import of label books: Overture's table of categories, and SKOS in RDF/XML."""

from pathlib import Path

import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.importers.label_books import read_book

OVERTURE = "Category code; Overture Taxonomy\neat; [eat]\npizza_place; [eat,pizza_place]\n"
HEAD = """<?xml version="1.0"?>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
  xmlns:skos="http://www.w3.org/2004/02/skos/core#" xmlns:owl="http://www.w3.org/2002/07/owl#">
"""
SKOS = f"""{HEAD}
<skos:Concept rdf:about="https://example.org/v#bakery">
  <skos:prefLabel xml:lang="en">Bakery</skos:prefLabel>
  <skos:prefLabel xml:lang="de">Bäckerei</skos:prefLabel>
  <skos:altLabel xml:lang="de">Backstube</skos:altLabel>
  <skos:definition>Sells bread.</skos:definition>
  <skos:broader rdf:resource="https://example.org/v#shop"/>
</skos:Concept>
<rdf:Description rdf:about="https://example.org/v#shop">
  <rdf:type rdf:resource="http://www.w3.org/2004/02/skos/core#Concept"/>
</rdf:Description>
<skos:Concept rdf:about="https://example.org/v#kiosk"><owl:deprecated>true</owl:deprecated>
</skos:Concept>
</rdf:RDF>"""


def test_overtures_categories_imply_their_parents(tmp_path: Path) -> None:
    (tmp_path / "overture_categories.csv").write_text(OVERTURE)
    book = read_book(str(tmp_path / "overture_categories.csv"))
    assert book.implies == {"category=pizza_place": ("category=eat",)}
    assert book.titles() == {"category=eat": "eat", "category=pizza_place": "pizza place"}


def test_skos_concepts_become_entries(tmp_path: Path) -> None:
    (tmp_path / "v.rdf").write_text(SKOS, "utf-8")
    book = read_book(str(tmp_path / "v.rdf"))
    bakery = book.entries["bakery"]
    assert bakery.titles == {"en": "Bakery", "de": "Bäckerei"}
    assert (bakery.synonyms, bakery.description) == ({"de": ("Backstube",)}, "Sells bread.")
    assert (bakery.implies, book.entries["kiosk"].retired) == (("shop",), True)


def test_a_vocabulary_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    hidden = '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'
    (tmp_path / "v.rdf").write_text(hidden, "utf-16")
    with pytest.raises(DataError, match="not UTF-8"):
        read_book(str(tmp_path / "v.rdf"))
    declared = SKOS.replace('version="1.0"', 'version="1.0" encoding="x-unknown"')
    (tmp_path / "v.rdf").write_text(declared, "utf-8")
    assert len(read_book(str(tmp_path / "v.rdf"))) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<a", "not valid XML"),
        (f"{HEAD}</rdf:RDF>", "no SKOS concepts"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type"),
        (SKOS.replace("v#kiosk", "w#shop"), "concept 3: its address ends like that of another"),
        (SKOS.replace('"de"', '"xx"', 1), "entry 1: 'title' has an unknown language code"),
    ],
)
def test_bad_vocabularies_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "v.xml").write_text(content, "utf-8")
    with pytest.raises(DataError, match=message):
        read_book(str(tmp_path / "v.xml"))
