"""Differences between two models, compared with a simple count."""

import collections
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.entities.errors import RequestError
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities, from_table
from labelwright.models.bundle.format import read_bundle
from labelwright.models.decisions import LabelQuery
from labelwright.models.labeler import Labeler
from labelwright.training.data import LabelledEntities, read_labelled
from labelwright.training.evaluation.diff import (
    ADDED,
    CHANGED,
    KINDS,
    MIN_CHANGE,
    REMOVED,
    label_changes,
    model_changes,
    prediction_changes,
    schema_changes,
)
from labelwright.training.fitting.fit import Configuration, fit_labeler

if TYPE_CHECKING:
    from tests.conftest import World

ROWS = 400
QUICK = Configuration(threads=1, trees=10, passes=1, min_count=4)


@pytest.fixture(scope="module")
def file(world: "World", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some rows of the shared data, without labels."""
    path = tmp_path_factory.mktemp("difference") / "rows.parquet"
    pq.write_table(pq.read_table(world.data).slice(0, ROWS).drop_columns(["labels"]), path)
    return path


@pytest.fixture(scope="module")
def rows(world: "World", places: EntitySchema) -> LabelledEntities:
    """The rows of the file with their labels; the shared model does not know one of the labels."""
    data = read_labelled([world.data], places).take(np.arange(ROWS))
    lists = [
        [*labels, *(["new"] if i % 5 == 0 else [])]
        for i, labels in enumerate(data.labels.to_pylist())
    ]
    return LabelledEntities(data.entities, pa.array(lists, pa.list_(pa.string())))


@pytest.fixture(scope="module")
def other(rows: LabelledEntities) -> Labeler:
    """A model that knows fewer labels, and one label that the shared model does not know."""
    return fit_labeler(rows, QUICK)


def with_threshold(labeler: Labeler, threshold: float) -> Labeler:
    """A copy of a model with one threshold for all labels."""
    thresholds = {"balanced": np.full(len(labeler.labels), threshold, np.float32)}
    return dataclasses.replace(
        labeler, decisions=dataclasses.replace(labeler.decisions, policies=thresholds)
    )


def everything(labeler: Labeler, entities: Entities) -> list[dict[str, tuple[float, bool]]]:
    """For each entity, all labels with their probability and assertion."""
    predictions = (
        labeler.label(entities, LabelQuery(top_k=len(labeler.labels))).to_arrow().to_pylist()
    )
    return [{a["label"]: (a["probability"], a["asserted"]) for a in row} for row in predictions]


def counted(
    old: Labeler, new: Labeler, entities: Entities
) -> Mapping[str, collections.Counter[str]]:
    """A simple count of the three kinds of change, pair by pair."""
    counts: dict[str, collections.Counter[str]] = {kind: collections.Counter() for kind in KINDS}
    for before, after in zip(everything(old, entities), everything(new, entities), strict=True):
        for label in before.keys() | after.keys():
            p, was_asserted = before.get(label, (None, False))
            q, is_asserted = after.get(label, (None, False))
            if was_asserted != is_asserted:
                counts[ADDED if is_asserted else REMOVED][label] += 1
            elif p is not None and q is not None and abs(p - q) > MIN_CHANGE:
                counts[CHANGED][label] += 1
    return counts


def test_a_model_has_no_changes_compared_with_itself(labeler: Labeler, file: Path) -> None:
    found = prediction_changes(labeler, labeler, [file, file], 3, 1)
    assert (found.rows, found.rejected, found.differing) == (2 * ROWS, 0, 0)
    assert len(found.per_label) == 0
    assert all(found.examples[kind] == [] for kind in KINDS)


def test_changes_agree_with_a_simple_count(
    labeler: Labeler, other: Labeler, file: Path, brands: Entities
) -> None:
    expected = counted(labeler, other, brands.slice(0, ROWS))
    assert all(expected[kind] for kind in KINDS), "the two models are too similar for this test"
    found = prediction_changes(labeler, other, [file], 3, 2)
    table = found.per_label.to_pylist()
    for kind in KINDS:
        assert {row["label"]: row[kind] for row in table if row[kind]} == dict(expected[kind])
        assert found.total(kind) == expected[kind].total()
    flips = [row[ADDED] + row[REMOVED] for row in table]
    assert flips == sorted(flips, reverse=True)
    assert expected[ADDED]["new"] > 0


def test_examples_are_the_largest_changes_with_the_probabilities_of_both_models(
    labeler: Labeler, other: Labeler, file: Path, brands: Entities
) -> None:
    found = prediction_changes(labeler, other, [file], 4, 1)
    ids = brands.ids.to_pylist()
    before, after = (
        everything(labeler, brands.slice(0, ROWS)),
        everything(other, brands.slice(0, ROWS)),
    )
    for kind in KINDS:
        examples = found.examples[kind]
        assert len(examples) == min(4, found.total(kind))
        differences = [abs((e.new or 0.0) - (e.old or 0.0)) for e in examples]
        assert differences == sorted(differences, reverse=True)
        for example in examples:
            row = ids.index(example.id)
            assert example.name == brands.table["name"][row].as_py()
            for probability, predictions in ((example.old, before[row]), (example.new, after[row])):
                if example.label in predictions:
                    assert probability == pytest.approx(predictions[example.label][0], abs=1e-3)
                else:
                    assert probability is None
    all_examples = prediction_changes(labeler, other, [file], ROWS * len(other.labels), 1).examples
    for kind in KINDS:
        assert len(all_examples[kind]) == found.total(kind)
        assert all_examples[kind][:4] == found.examples[kind]
    assert {example.label for example in all_examples[ADDED] if example.old is None} == {"new"}


def test_an_unlisted_label_has_the_lowest_listed_probability(
    labeler: Labeler,
    other: Labeler,
    file: Path,
    brands: Entities,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("labelwright.training.evaluation.diff.LISTED", 2)
    found = prediction_changes(labeler, other, [file], 1_000, 1)
    expected = counted(labeler, other, brands.slice(0, ROWS))
    ids = brands.ids.to_pylist()
    before = everything(labeler, brands.slice(0, ROWS))
    unlisted = 0
    assert found.total(ADDED) == expected[ADDED].total()
    for example in found.examples[ADDED]:
        predictions = before[ids.index(example.id)]
        if example.label in predictions:
            listed = [p for i, (p, holds) in enumerate(predictions.values()) if i < 2 or holds]
            assert example.old == pytest.approx(
                max(predictions[example.label][0], listed[-1]), abs=1e-3
            )
            unlisted += predictions[example.label][0] < listed[-1]
    assert unlisted > 5


def test_a_threshold_above_one_removes_all_assertions(
    labeler: Labeler, file: Path, brands: Entities
) -> None:
    asserts_nothing = with_threshold(labeler, 2.0)
    asserted = collections.Counter(
        label
        for row in everything(labeler, brands.slice(0, ROWS))
        for label, (_, holds) in row.items()
        if holds
    )
    found = prediction_changes(labeler, asserts_nothing, [file], 1, 1)
    assert {row["label"]: row[REMOVED] for row in found.per_label.to_pylist()} == dict(asserted)
    assert found.total(ADDED) == found.total(CHANGED) == 0
    back = prediction_changes(asserts_nothing, labeler, [file], 1, 1)
    assert back.per_label[ADDED].equals(found.per_label[REMOVED])


def test_each_model_reads_the_rows_by_its_own_schema(
    labeler: Labeler, rows: LabelledEntities, tmp_path: Path
) -> None:
    schema = EntitySchema.from_mapping(
        {"name": "shops", "columns": {"name": {"kind": "words"}, "size": {"kind": "number"}}}
    )
    sizes = pa.array(np.arange(len(rows)), pa.float64())
    table = pa.table({"name": rows.entities.table["name"], "size": sizes})
    shops = fit_labeler(LabelledEntities(from_table(table, schema), rows.labels), QUICK)
    differences = schema_changes(labeler.schema, shops.schema)
    assert "only NEW reads column 'size'" in differences
    assert "only OLD reads column 'country'" in differences
    assert "column 'name' is read in another way" in differences

    file = tmp_path / "rows.csv"
    file.write_text("id,name,country,size\n1,Aldi,DE,10\n2,Lidl,DE,large\n3,Shell,GB,\n")
    found = prediction_changes(
        with_threshold(labeler, 2.0), with_threshold(shops, 0.0), [file], 9, 1
    )
    assert (found.rows, found.rejected, found.differing) == (2, 1, 2)
    assert found.total(ADDED) == 2 * shops.decisions.candidates
    assert {example.id for example in found.examples[ADDED]} <= {"1", "3"}
    with pytest.raises(RequestError, match="read twice"):
        prediction_changes(labeler, shops, ["-"], 9, 1)


def test_labels_thresholds_and_metrics_are_compared_without_data(
    world: "World", other: Labeler
) -> None:
    bundle = read_bundle(world.bundle)
    details = {**bundle.manifest.details, "test_data": "another", "metrics": {"p_at_1": 1.0}}
    manifest = dataclasses.replace(bundle.manifest, details=details)
    changes = model_changes(bundle, dataclasses.replace(bundle, labeler=other, manifest=manifest))
    assert changes.labels.only_new == ["new"]
    assert changes.labels.only_old == sorted(
        set(bundle.labeler.labels.names) - set(other.labels.names)
    )
    assert changes.labels.shared + 1 == len(other.labels)
    assert changes.metrics["p_at_1"] == (bundle.manifest.details["metrics"]["p_at_1"], 1.0)
    assert changes.metrics["ece"][1] is None
    assert not changes.same_test
    assert changes.schema == []
    thresholds = changes.thresholds["balanced"]
    assert thresholds.labels == changes.labels.shared
    assert thresholds.new[0] == pytest.approx(other.decisions.policies["balanced"][0])
    assert model_changes(bundle, bundle).same_test
    assert model_changes(bundle, bundle).thresholds["balanced"].labels == 0
    assert label_changes(other, bundle.labeler).only_old == ["new"]
