"""Canned questions: a bundle that answers as it did passes, and any other is refused by name."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwright.entities.errors import BundleError
from labelwright.entities.schema import Column, EntitySchema, Kind
from labelwright.entities.tables import Entities
from labelwright.models.bundle.format import Bundle, read_bundle
from labelwright.models.bundle.golden import TOLERANCE, Canned, check
from labelwright.models.labeler import Labeler
from labelwright.models.stages.linear import LinearStage
from tests.models.bundles import sign


@pytest.fixture(scope="module")
def bundle(written: Path) -> Bundle:
    return read_bundle(written)


def changed(bundle: Bundle, label: dict[str, Any]) -> Bundle:
    """The same bundle, but that the most probable label of the first question was another."""
    first = bundle.canned.labels[0]
    labels = [[{**first[0], **label}, *first[1:]], *bundle.canned.labels[1:]]
    return dataclasses.replace(bundle, canned=dataclasses.replace(bundle.canned, labels=labels))


def refusal(bundle: Bundle) -> str:
    with pytest.raises(BundleError, match="does not answer canned question 1") as refused:
        check(bundle)
    return str(refused.value)


def test_what_is_written_and_read_answers_as_it_did(bundle: Bundle, tiny: Labeler) -> None:
    check(bundle)
    assert bundle.canned == Canned.of(tiny)


def test_the_questions_make_both_stages_speak(bundle: Bundle) -> None:
    canned = bundle.canned
    assert len(canned.entities) == 8
    assert all(len(labels) > bundle.labeler.decisions.candidates for labels in canned.labels)
    assert len({json.dumps(labels) for labels in canned.labels}) > 5
    assert any(given["asserted"] for labels in canned.labels for given in labels)


def test_no_training_row_is_among_the_questions(bundle: Bundle, brands: Entities) -> None:
    names = {entity.get("name") for entity in bundle.canned.entities} - {None}
    assert len(names) > 5
    assert not names & set(brands.table["name"].to_pylist())


def test_a_probability_may_differ_by_the_tolerance_and_no_more(bundle: Bundle) -> None:
    probability = bundle.canned.labels[0][0]["probability"]
    check(changed(bundle, {"probability": probability - TOLERANCE / 2}))
    said = refusal(changed(bundle, {"probability": probability - 2 * TOLERANCE}))
    assert f"has probability {probability:.6f} instead of" in said
    refusal(changed(bundle, {"probability": float("nan")}))


def test_another_label_or_assertion_is_named(bundle: Bundle) -> None:
    first = bundle.canned.labels[0][0]
    said = refusal(changed(bundle, {"asserted": not first["asserted"]}))
    assert f"label {first['label']!r} is " in said
    assert "label 'aaa' is not among the labels" in refusal(changed(bundle, {"label": "aaa"}))


@pytest.mark.parametrize("name", ["linear.bias", "linear.scales", "reranker.knots"])
def test_a_model_whose_arrays_have_changed_is_refused(bundle: Bundle, name: str) -> None:
    room, field = name.split(".")
    part = getattr(bundle.labeler, room)
    moved = {field: (getattr(part, field) * 1.5).astype(getattr(part, field).dtype)}
    if isinstance(part, LinearStage):
        labeler = dataclasses.replace(bundle.labeler, linear=part._replace(**moved))
    else:
        labeler = dataclasses.replace(bundle.labeler, **{room: dataclasses.replace(part, **moved)})
    with pytest.raises(BundleError, match="does not answer canned question"):
        check(dataclasses.replace(bundle, labeler=labeler))


@pytest.mark.parametrize(
    "content", [[], {}, 5, None, ["x"], [{}], [{"entity": 5, "labels": []}], [{"entity": {}}]]
)
def test_questions_that_are_none_are_refused(copy: Path, content: Any) -> None:
    (copy / "canned.json").write_text(json.dumps(content))
    sign(copy)
    with pytest.raises(BundleError, match="not what its manifest says"):
        read_bundle(copy)


@pytest.mark.parametrize("kind", [Kind.NUMBER, Kind.POINT, Kind.TAGS, Kind.CATEGORY, Kind.WORDS])
def test_any_schema_has_questions(tiny: Labeler, kind: Kind) -> None:
    fields = ("a", "b") if kind is Kind.POINT else ()
    schema = EntitySchema("odd", (Column("x", kind, fields=fields),))
    edges = np.array([[1.0, 5.0]] if kind is Kind.NUMBER else np.zeros((0, 2)))
    features = dataclasses.replace(tiny.features, schema=schema, edges=edges)
    labeler = dataclasses.replace(tiny, features=features)
    assert len(Canned.of(labeler).labels) == 8
