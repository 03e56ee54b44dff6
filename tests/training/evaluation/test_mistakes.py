"""Mistakes and confused labels, compared with a simple search."""

import collections
import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities, from_table
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.labeler import Labeler
from labelwright.models.labels import LabelMatrix, LabelSet, label_matrix
from labelwright.training.data import LabelledEntities, split
from labelwright.training.evaluation.mistakes import (
    GIVEN,
    MAX_MISTAKES,
    MISSED,
    confusions,
    mistakes,
)
from labelwright.training.fitting.fit import Configuration, fit_labeler


@dataclasses.dataclass(frozen=True)
class Case:
    """The shared model, its test rows, its predictions and the true labels."""

    labeler: Labeler
    entities: Entities
    predictions: Predictions
    truth: LabelMatrix

    def mistakes(self, threads: int = 2) -> list[dict[str, object]]:
        """The table of mistakes as a list of rows."""
        found = mistakes(self.labeler, self.entities, self.predictions, self.truth, threads)
        rows: list[dict[str, object]] = found.to_pylist()
        return rows


@pytest.fixture(scope="module")
def case(labeler: Labeler, brands: Entities, brand_labels: pa.ListArray) -> Case:
    _, rows = split(LabelledEntities(brands, brand_labels))
    predictions = labeler.label(rows.entities, LabelQuery())
    return Case(labeler, rows.entities, predictions, label_matrix(rows.labels, labeler.labels))


@pytest.fixture(scope="module")
def everything(case: Case) -> list[dict[str, tuple[float, bool]]]:
    """For each row, all labels with their probability and assertion."""
    rows = case.labeler.label(case.entities, LabelQuery(top_k=len(case.labeler.labels)))
    return [
        {pair["label"]: (pair["probability"], pair["asserted"]) for pair in row}
        for row in rows.to_arrow().to_pylist()
    ]


def true_labels(case: Case) -> list[set[str]]:
    names = case.labeler.labels.names
    spans = zip(case.truth.present.indptr[:-1], case.truth.present.indptr[1:], strict=True)
    return [{names[i] for i in case.truth.present.ids[start:end]} for start, end in spans]


def test_wrongly_asserted_labels_are_listed_most_probable_first(
    case: Case, everything: list[dict[str, tuple[float, bool]]]
) -> None:
    found = [line for line in case.mistakes() if line["kind"] == GIVEN]
    expected = sorted(
        (
            probability
            for row, true in zip(everything, true_labels(case), strict=True)
            for label, (probability, asserted) in row.items()
            if asserted and label not in true
        ),
        reverse=True,
    )[:MAX_MISTAKES]
    assert [line["probability"] for line in found] == expected
    check_each(case, everything, found, asserted=True)


def test_missed_labels_are_listed_least_probable_first(
    case: Case, everything: list[dict[str, tuple[float, bool]]]
) -> None:
    found = [line for line in case.mistakes() if line["kind"] == MISSED]
    expected = sorted(
        row[label][0]
        for row, true in zip(everything, true_labels(case), strict=True)
        for label in true
        if not row[label][1]
    )[:MAX_MISTAKES]
    assert [line["probability"] for line in found] == expected
    assert expected
    check_each(case, everything, found, asserted=False)


def check_each(
    case: Case,
    everything: list[dict[str, tuple[float, bool]]],
    found: list[dict[str, object]],
    asserted: bool,
) -> None:
    """Check that each line is a mistake of its row, is unique, and has the model's probability."""
    ids, names = case.entities.ids.to_pylist(), case.entities.column("name")
    assert names is not None
    assert found
    for line in found:
        row = ids.index(line["id"])
        label = str(line["label"])
        assert (line["probability"], asserted) == everything[row][label]
        assert (label in true_labels(case)[row]) is not asserted
        assert line["entity"] == names[row].as_py()
    assert len({(line["id"], line["label"]) for line in found}) == len(found)


def test_of_many_missed_labels_those_with_the_lowest_scores_are_looked_up(
    case: Case,
    everything: list[dict[str, tuple[float, bool]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exact = [float(str(line["probability"])) for line in case.mistakes() if line["kind"] == MISSED]
    monkeypatch.setattr("labelwright.training.evaluation.mistakes.MAX_RESCORED", MAX_MISTAKES)
    found = [line for line in case.mistakes() if line["kind"] == MISSED]
    probabilities = [float(str(line["probability"])) for line in found]
    assert len(found) == MAX_MISTAKES
    assert probabilities == sorted(probabilities)
    assert sum(probabilities) < 1.5 * sum(exact)
    check_each(case, everything, found, asserted=False)


def test_the_number_of_threads_does_not_change_the_mistakes(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labelwright.training.evaluation.mistakes.MAX_RESCORED", MAX_MISTAKES)
    assert case.mistakes(threads=1) == case.mistakes(threads=3)


def test_without_assertions_all_mistakes_are_missed_labels(case: Case) -> None:
    none_asserted = dataclasses.replace(
        case.predictions, asserted=np.zeros_like(case.predictions.asserted)
    )
    found = dataclasses.replace(case, predictions=none_asserted).mistakes()
    assert {line["kind"] for line in found} == {MISSED}
    assert len(found) == MAX_MISTAKES


def test_labels_with_wildcards_and_rows_without_names_are_listed(places: EntitySchema) -> None:
    names = ["a*", "a", "[ab]", "[!c]", "b?", "d", "e", "f=g", "f=h"]
    labels = pa.array([[names[i % 9], names[(i + 4) % 9]] for i in range(90)])
    entities = from_table(pa.table({"city": [f"{i % 9} town {i % 2}" for i in range(90)]}), places)
    labeler = fit_labeler(
        LabelledEntities(entities, labels), Configuration(candidates=3, trees=5, folds=2)
    )
    swapped = label_matrix(pa.array([[names[(i + 2) % 9]] for i in range(90)]), labeler.labels)
    predictions = labeler.label(entities, LabelQuery(top_k=1))
    found = Case(labeler, entities, predictions, swapped).mistakes()
    everything = labeler.label(entities, LabelQuery(top_k=9)).to_arrow().to_pylist()
    missed = [line for line in found if line["kind"] == MISSED]
    assert len(missed) == MAX_MISTAKES
    for line in missed:
        row = int(str(line["id"]))
        probabilities = {pair["label"]: pair["probability"] for pair in everything[row]}
        assert line["probability"] == probabilities[line["label"]]
        assert line["entity"] is None


NAMES = ("a", "b", "c", "k=1", "k=2", "k=3")
LABELS = LabelSet(NAMES)
SETS = st.lists(st.tuples(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES))))


def confused(rows: list[tuple[set[str], set[str]]], most: int = 100) -> list[tuple[str, str, int]]:
    """The confusions of rows; a row is given by its asserted labels and its true labels."""
    ids = [NAMES.index(name) for asserted, _ in rows for name in sorted(asserted)]
    predictions = Predictions(
        LABELS,
        np.cumsum([0, *(len(asserted) for asserted, _ in rows)]),
        np.array(ids, np.int32),
        np.ones(len(ids), np.float32),
        np.ones(len(ids), np.bool_),
    )
    truth = label_matrix(
        pa.array([sorted(true) for _, true in rows], pa.list_(pa.string())), LABELS
    )
    found = confusions(predictions, truth, most)
    return [(line["given"], line["missed"], line["rows"]) for line in found.to_pylist()]


def test_the_most_frequent_confusion_comes_first() -> None:
    rows = [
        ({"a"}, {"b"}),
        ({"a", "c"}, {"b", "c"}),
        ({"b"}, {"a"}),
        ({"a"}, {"a"}),
        ({"c"}, set()),
    ]
    assert confused(rows) == [("a", "b", 2), ("b", "a", 1)]
    assert confused(rows, most=1) == [("a", "b", 2)]


def test_labels_are_paired_with_labels_of_the_same_key() -> None:
    assert confused([({"k=1", "a"}, {"k=2", "b"})]) == [("a", "b", 1), ("k=1", "k=2", 1)]
    assert confused([({"k=1"}, {"b", "c"})]) == [("k=1", "b", 1), ("k=1", "c", 1)]


def test_rows_without_confusions_have_an_empty_table() -> None:
    assert confused([]) == []
    assert confused([({"a"}, {"a"}), ({"a"}, set()), (set(), {"a"})]) == []


@given(SETS)
def test_confusions_agree_with_a_simple_count(rows: list[tuple[set[str], set[str]]]) -> None:
    expected = collections.Counter[tuple[str, str]]()
    for asserted, true in rows:
        missed = true - asserted
        for label in asserted - true:
            alike = {other for other in missed if other[:-1] == label[:-1] == "k="}
            alike |= {other for other in missed if "=" not in other + label}
            expected.update((label, other) for other in alike or missed)
    found = confused(rows)
    assert {(first, second): count for first, second, count in found} == expected
    assert [count for *_, count in found] == sorted(expected.values(), reverse=True)
