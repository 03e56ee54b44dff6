"""Bundles: a model that was written and read again is bitwise equal."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from labelwright.entities.tables import Entities
from labelwright.models.bundle.format import (
    FORMAT,
    MANIFEST,
    Manifest,
    content_hash,
    read_bundle,
    read_manifest,
    write_bundle,
)
from labelwright.models.decisions import PRECISIONS, LabelQuery
from labelwright.models.labeler import Labeler
from tests.models.bundles import DETAILS, ROWS, manifest_of

QUERY = LabelQuery(top_k=20)


def predictions(labeler: Labeler, entities: Entities) -> pa.ListArray:
    return labeler.label(entities.slice(0, ROWS), QUERY).to_arrow()


def test_predictions_are_the_same_after_writing_and_reading(
    tiny: Labeler, written: Path, brands: Entities
) -> None:
    bundle = read_bundle(written)
    expected = predictions(tiny, brands)
    assert expected.values.field("asserted").true_count > ROWS / 2
    assert predictions(bundle.labeler, brands).equals(expected)


def test_all_parts_are_the_same_after_writing_and_reading(tiny: Labeler, written: Path) -> None:
    labeler = read_bundle(written).labeler
    assert labeler.labels == tiny.labels
    assert labeler.schema == tiny.schema
    assert labeler.reranker.trees == tiny.reranker.trees
    assert labeler.decisions.slope == tiny.decisions.slope
    assert labeler.decisions.intercept == tiny.decisions.intercept
    assert labeler.decisions.candidates == tiny.decisions.candidates
    assert list(labeler.decisions.policies) == ["balanced", "broad"]
    assert list(labeler.decisions.guarantees) == list(PRECISIONS)
    for level, thresholds in tiny.decisions.guarantees.items():
        assert np.array_equal(labeler.decisions.guarantees[level], thresholds)
    for part in ("bias", "scales", "dense", "sparse_indptr", "sparse"):
        assert np.array_equal(getattr(labeler.linear, part), getattr(tiny.linear, part))
    assert len(tiny.linear.sparse) > 100


def test_a_bundle_that_was_read_can_be_written_again(
    tiny: Labeler, written: Path, tmp_path: Path, brands: Entities
) -> None:
    manifest = write_bundle(read_bundle(written).labeler, tmp_path / "again", "1.2.3", DETAILS)
    assert dataclasses.asdict(manifest) == manifest_of(written)
    assert predictions(read_bundle(tmp_path / "again").labeler, brands).equals(
        predictions(tiny, brands)
    )


def test_several_policies_keep_their_names_and_thresholds(tiny: Labeler, tmp_path: Path) -> None:
    thresholds = tiny.decisions.policies["balanced"]
    policies = {"timid": thresholds + 0.1, "balanced": thresholds, "bold": thresholds / 2}
    decisions = dataclasses.replace(tiny.decisions, policies=policies)
    write_bundle(dataclasses.replace(tiny, decisions=decisions), tmp_path / "b", "1", {})
    found = read_bundle(tmp_path / "b").labeler.decisions.policies
    assert list(found) == ["timid", "balanced", "bold"]
    assert all(np.array_equal(found[name], policies[name]) for name in policies)


def test_the_manifest_describes_the_model(tiny: Labeler, written: Path) -> None:
    manifest = read_manifest(written)
    assert manifest == read_bundle(written).manifest == Manifest(**manifest_of(written))
    assert manifest.format == FORMAT
    assert manifest.labelwright == "1.2.3"
    assert manifest.details == DETAILS
    assert manifest.schema == tiny.schema.to_mapping()
    assert manifest.content == content_hash(tiny)
    assert {MANIFEST, *manifest.files} == {path.name for path in written.iterdir()}


def test_a_bundle_is_readable_for_other_users(written: Path) -> None:
    assert written.stat().st_mode & 0o777 == 0o755


def test_the_arrays_of_a_bundle_are_read_only(written: Path) -> None:
    labeler = read_bundle(written).labeler
    with pytest.raises(ValueError, match="read-only"):
        labeler.linear.bias[0] = 1


def test_missing_parent_folders_are_created(tiny: Labeler, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "c"
    write_bundle(tiny, folder, "1", {})
    assert read_manifest(folder).labelwright == "1"
    assert [path.name for path in folder.parent.iterdir()] == ["c"]
