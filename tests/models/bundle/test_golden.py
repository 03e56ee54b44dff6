"""Golden queries: a model with the results of training passes the check; other models fail it."""

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
from labelwright.models.bundle.golden import TOLERANCE, GoldenQueries
from labelwright.models.labeler import Labeler
from labelwright.models.stages.linear import LinearStage
from tests.models.bundles import sign


@pytest.fixture(scope="module")
def bundle(written: Path) -> Bundle:
    return read_bundle(written)


def changed(bundle: Bundle, label: dict[str, Any]) -> Bundle:
    """A copy of the bundle in which fields of the first label of the first golden result differ."""
    first = bundle.golden.results[0]
    results = [[{**first[0], **label}, *first[1:]], *bundle.golden.results[1:]]
    return dataclasses.replace(bundle, golden=dataclasses.replace(bundle.golden, results=results))


def check(bundle: Bundle) -> None:
    bundle.golden.check(bundle.labeler)


def refusal(bundle: Bundle) -> str:
    with pytest.raises(BundleError, match="golden query 1 ") as refused:
        check(bundle)
    return str(refused.value)


def test_a_bundle_that_was_read_gives_the_same_results(bundle: Bundle, tiny: Labeler) -> None:
    check(bundle)
    assert bundle.golden == GoldenQueries.of(tiny)


def test_the_results_depend_on_both_stages(bundle: Bundle) -> None:
    golden = bundle.golden
    assert len(golden.entities) == 8
    assert all(len(labels) > bundle.labeler.decisions.candidates for labels in golden.results)
    assert len({json.dumps(labels) for labels in golden.results}) > 5
    assert any(given["asserted"] for labels in golden.results for given in labels)


def test_golden_queries_contain_no_training_row(bundle: Bundle, brands: Entities) -> None:
    names = {entity.get("name") for entity in bundle.golden.entities} - {None}
    assert len(names) > 5
    assert not names & set(brands.table["name"].to_pylist())


def test_a_probability_may_differ_by_at_most_the_tolerance(bundle: Bundle) -> None:
    probability = bundle.golden.results[0][0]["probability"]
    check(changed(bundle, {"probability": probability - TOLERANCE / 2}))
    message = refusal(changed(bundle, {"probability": probability - 2 * TOLERANCE}))
    assert f"has probability {probability:.6f} instead of" in message
    refusal(changed(bundle, {"probability": float("nan")}))


def test_the_error_names_the_label_that_differs(bundle: Bundle) -> None:
    first = bundle.golden.results[0][0]
    message = refusal(changed(bundle, {"asserted": not first["asserted"]}))
    assert f"label {first['label']!r} is " in message
    assert "label 'aaa' is not among the labels" in refusal(changed(bundle, {"label": "aaa"}))


@pytest.mark.parametrize("name", ["linear.bias", "linear.scales", "reranker.knots"])
def test_a_model_with_changed_arrays_is_an_error(bundle: Bundle, name: str) -> None:
    part_name, field = name.split(".")
    part = getattr(bundle.labeler, part_name)
    moved = {field: (getattr(part, field) * 1.5).astype(getattr(part, field).dtype)}
    if isinstance(part, LinearStage):
        labeler = dataclasses.replace(bundle.labeler, linear=part._replace(**moved))
    else:
        labeler = dataclasses.replace(
            bundle.labeler, **{part_name: dataclasses.replace(part, **moved)}
        )
    with pytest.raises(BundleError, match="golden query"):
        check(dataclasses.replace(bundle, labeler=labeler))


@pytest.mark.parametrize(
    "content", [[], {}, 5, None, ["x"], [{}], [{"entity": 5, "labels": []}], [{"entity": {}}]]
)
def test_a_file_without_golden_queries_is_an_error(copy: Path, content: Any) -> None:
    (copy / "canned.json").write_text(json.dumps(content))
    sign(copy)
    with pytest.raises(BundleError, match="the files do not have the content"):
        read_bundle(copy)


@pytest.mark.parametrize("kind", [Kind.NUMBER, Kind.POINT, Kind.TAGS, Kind.CATEGORY, Kind.WORDS])
def test_there_are_golden_queries_for_any_schema(tiny: Labeler, kind: Kind) -> None:
    fields = ("a", "b") if kind is Kind.POINT else ()
    schema = EntitySchema("odd", (Column("x", kind, fields=fields),))
    edges = np.array([[1.0, 5.0]] if kind is Kind.NUMBER else np.zeros((0, 2)))
    features = dataclasses.replace(tiny.features, schema=schema, edges=edges)
    labeler = dataclasses.replace(tiny, features=features)
    assert len(GoldenQueries.of(labeler).results) == 8
