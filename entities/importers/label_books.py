"""Importer of label books: Overture's table of categories, and SKOS vocabularies in RDF/XML.

SKOS: https://www.w3.org/TR/skos-reference/
"""

import collections
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from labelwright.entities.errors import DataError, reason
from labelwright.entities.importers.overture import GROUP, read_categories
from labelwright.entities.io.label_books import load_book
from labelwright.entities.label_book import ENGLISH, UNDETERMINED, LabelBook

_SKOS = "{http://www.w3.org/2004/02/skos/core#}"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_OWL = "{http://www.w3.org/2002/07/owl#}"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_SYNONYMS = ("altLabel", "hiddenLabel")
_DESCRIPTIONS = ("definition", "scopeNote")


def read_book(name_or_file: str) -> LabelBook:
    """A book of `load_book`, Overture's table, or a vocabulary in RDF/XML; raises DataError."""
    path = Path(name_or_file)
    if path.suffix.lower() in (".rdf", ".xml"):
        return _skos_book(path)
    if path.suffix.lower() == ".csv" and _is_overture(path):
        return _overture_book(path)
    return load_book(name_or_file)


def _is_overture(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8-sig") as file:
            return file.readline().lower().startswith("category code;")
    except (OSError, UnicodeDecodeError):
        return False  # `load_book` reports it


def _overture_book(path: Path) -> LabelBook:
    """The categories of `overture_categories.csv`; their titles are the words of their codes."""
    hierarchy = read_categories(path)
    labels = dict.fromkeys(hierarchy.categories)
    return LabelBook.from_mapping(
        {
            f"{GROUP}={code}": {
                "title": {ENGLISH: code.replace("_", " ")},
                "group": GROUP,
                "implies": [f"{GROUP}={above}" for above in hierarchy.implies.get(code, ())],
            }
            for code in labels
        }
    )


def _skos_book(path: Path) -> LabelBook:
    """The concepts of a SKOS vocabulary. The label of a concept is the last part of its address."""
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: convert it with iconv") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason(error)}") from error
    if "<!DOCTYPE" in content or "<!ENTITY" in content:
        raise DataError(f"{path} has a document type, which is not read: write RDF/XML without it")
    try:
        root = ElementTree.fromstring(content)  # noqa: S314 - entities are refused above
    except ElementTree.ParseError as error:
        raise DataError(f"{path} is not valid XML: {error}") from error
    concepts = [node for node in root.iter() if _is_concept(node)]
    if not concepts:
        raise DataError(f"{path} has no SKOS concepts: expected RDF/XML with skos:Concept elements")
    try:
        return LabelBook.from_mapping(_joined(concepts))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _is_concept(node: ElementTree.Element) -> bool:
    if f"{_RDF}about" not in node.attrib:
        return False
    kinds = [kind.get(f"{_RDF}resource", "") for kind in node.findall(f"{_RDF}type")]
    return node.tag == f"{_SKOS}Concept" or f"{_SKOS[1:-1]}Concept" in kinds


def _joined(concepts: list[ElementTree.Element]) -> Mapping[str, Any]:
    """The entries of all concepts by label; the label is the last part of the address."""
    entries: dict[str, dict[str, Any]] = {}
    for number, node in enumerate(concepts, 1):
        label = _label(node.attrib[f"{_RDF}about"])
        if label in entries:
            raise DataError(f"concept {number}: its address ends like that of another concept")
        entries[label] = _entry(node)
    return entries


def _entry(node: ElementTree.Element) -> dict[str, Any]:
    titles = {_language(each): each.text or "" for each in node.findall(f"{_SKOS}prefLabel")}
    synonyms = collections.defaultdict(list)
    for name in _SYNONYMS:
        for each in node.findall(_SKOS + name):
            if each.text and each.text.strip():
                synonyms[_language(each)].append(each.text)
    texts = [each for name in _DESCRIPTIONS for each in node.findall(_SKOS + name)]
    texts.sort(key=lambda each: _language(each) != ENGLISH)
    broader = [each.get(f"{_RDF}resource", "") for each in node.findall(f"{_SKOS}broader")]
    deprecated = (node.findtext(f"{_OWL}deprecated") or "").strip() in ("true", "1")
    return {
        "title": titles,
        "synonyms": dict(synonyms),
        "description": (texts[0].text or "") if texts else "",
        "implies": [_label(address) for address in broader if address],
        "retired": deprecated,
    }


def _language(node: ElementTree.Element) -> str:
    return node.get(_LANGUAGE, UNDETERMINED)


def _label(address: str) -> str:
    """The part of an address after the last #, or else after the last slash."""
    return address.rstrip("/#").rpartition("#")[2].rpartition("/")[2]
