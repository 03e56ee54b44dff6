"""A model learns labels from the texts of a label book."""

import numpy as np
import pyarrow as pa
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.label_book import LabelBook
from labelwright.entities.schema import EntitySchema, load_schema
from labelwright.entities.tables import from_records
from labelwright.models.bundle.format import content_hash
from labelwright.models.decisions import NEVER, LabelQuery
from labelwright.models.labeler import Labeler
from labelwright.models.labels import LabelSet, label_matrix
from labelwright.training.data import LabelledEntities
from labelwright.training.fitting.book_rows import HALF, BookRows
from labelwright.training.fitting.fit import Configuration, fit_labeler

TEXT = load_schema("text")
KINDS = ("bakery", "butcher", "florist", "museum", "primary school", "music school", "law school")
PLACES = ("north", "south", "old", "new", "green", "red", "river", "hill")
HIDDEN = ("florist", "night school")
"""Labels of the book that no training row has."""


def book() -> LabelBook:
    synonyms = {"florist": ["flower shop", "roses"]}
    return LabelBook.from_mapping(
        {
            label: {"title": {"en": label}, "synonyms": synonyms.get(label, [])}
            for label in (*KINDS, "night school")
        }
    )


def rows() -> LabelledEntities:
    """Texts of a place, the words of a kind, and a number."""
    kinds = [KINDS[row % len(KINDS)] for row in range(700)]
    kept = [row for row, kind in enumerate(kinds) if kind not in HIDDEN]
    texts = [f"{PLACES[row % 8]} {kinds[row]} {row // 50}" for row in kept]
    entities = from_records([{"text": text} for text in texts], TEXT)
    labels = pa.array([[kinds[row]] for row in kept], pa.list_(pa.string()))
    return LabelledEntities(entities, labels)


@pytest.fixture(scope="module")
def taught() -> Labeler:
    return fit_labeler(rows(), Configuration(threads=1), book=book())


def best(labeler: Labeler, text: str, count: int) -> list[str]:
    found = labeler.label(from_records([{"text": text}], TEXT), LabelQuery(top_k=count))
    return [labeler.labels.names[label] for label in found.ids[:count]]


def test_labels_without_rows_are_found_by_their_titles_and_synonyms(taught: Labeler) -> None:
    assert set(HIDDEN) <= set(taught.labels.names)
    assert "florist" in best(taught, "green florist", 2)
    assert "florist" in best(taught, "roses of the hill", 2)
    assert "night school" in best(taught, "night school", 2)


def test_labels_with_rows_are_still_found(taught: Labeler) -> None:
    assert best(taught, "north museum 3", 1) == ["museum"]
    assert best(taught, "old music school 2", 1) == ["music school"]


def test_no_precision_is_guaranteed_for_a_label_without_rows(taught: Labeler) -> None:
    for label in HIDDEN:
        place = taught.labels.ids[label]
        assert all(levels[place] == NEVER for levels in taught.decisions.guarantees.values())
        assert taught.reranker.rate[place] == 0


def test_the_number_of_threads_does_not_change_the_model(taught: Labeler) -> None:
    again = fit_labeler(rows(), Configuration(threads=2), book=book())
    assert content_hash(again) == content_hash(taught)


def test_the_cost_of_a_text_falls_with_the_rows_of_its_label(taught: Labeler) -> None:
    counts = np.zeros(len(taught.labels), np.int64)
    counts[taught.labels.ids["museum"]] = HALF
    found = BookRows.of(book(), TEXT, taught.labels, counts).soft_labels(7, counts)
    cost = {
        taught.labels.names[label]: cost for label, cost in zip(found.ids, found.costs, strict=True)
    }
    assert cost["museum"] == cost["bakery"] / 2
    assert found.first == 7


def test_hidden_labels_have_rows_but_not_many() -> None:
    names = [f"kind {kind:03}" for kind in range(200)]
    many = LabelBook.from_mapping({name: {"title": name} for name in names})
    labels = LabelSet(tuple(names))
    lists = pa.array([[names[row % 150]] for row in range(900)], pa.list_(pa.string()))
    matrix = label_matrix(lists, labels)
    given = BookRows.of(many, TEXT, labels, matrix.counts())
    hidden = given.hidden_labels(matrix, np.random.default_rng(0))
    assert matrix.counts()[hidden].all()
    assert 0.05 < matrix.has_any(hidden).mean() <= 0.1


def test_a_book_about_more_than_the_data_is_limited_to_the_groups_of_the_data() -> None:
    entries = LabelBook.from_mapping({"shop=bakery": {"title": "a"}, "office=tax": {"title": "b"}})
    wide = LabelBook(entries.entries, of_any_data=True)
    assert wide.relevant(["shop=butcher"]).taught == ["shop=bakery"]
    assert entries.relevant(["shop=butcher"]).taught == ["shop=bakery", "office=tax"]


def test_a_schema_without_texts_cannot_learn_from_a_book() -> None:
    schema = EntitySchema.from_mapping({"name": "n", "columns": {"x": {"kind": "number"}}})
    data = LabelledEntities(
        from_records([{"x": row} for row in range(20)], schema),
        pa.array([["bakery"]] * 10 + [["museum"]] * 10, pa.list_(pa.string())),
    )
    with pytest.raises(DataError, match="leave out --label-book"):
        fit_labeler(data, Configuration(threads=1), book=book())
