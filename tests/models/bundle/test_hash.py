"""The content hash depends on all parts of the model, and on nothing else."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from labelwright.models.bundle.format import content_hash, read_bundle, read_manifest, write_bundle
from labelwright.models.labeler import Labeler
from labelwright.models.stages.linear import LinearStage
from tests.models.bundles import ARRAYS


def test_the_content_hash_depends_only_on_the_model(
    tiny: Labeler, written: Path, tmp_path: Path
) -> None:
    other = write_bundle(tiny, tmp_path / "other", "9.9", {"time": "later"})
    assert other.content == read_manifest(written).content == content_hash(tiny)
    assert other.files == read_manifest(written).files
    assert content_hash(read_bundle(written).labeler) == content_hash(tiny)


@pytest.mark.parametrize("name", ARRAYS)
def test_a_change_of_any_array_changes_the_content_hash(tiny: Labeler, name: str) -> None:
    part_name, field = name.replace("company", "co_occurrence").split(".")
    part = getattr(tiny, part_name)
    array = getattr(part, field).copy()
    array.flat[-1] = 0 if array.flat[-1] else 1
    if isinstance(part, LinearStage):
        changed = dataclasses.replace(tiny, linear=part._replace(**{field: array}))
    else:
        other = dataclasses.replace(part, **{field: array})
        changed = dataclasses.replace(tiny, **{part_name: other})
    assert content_hash(changed) != content_hash(tiny)


def test_a_change_of_labels_or_thresholds_changes_the_content_hash(tiny: Labeler) -> None:
    names = ("other", *tiny.labels.names[1:])
    labels = dataclasses.replace(tiny.labels, names=names)
    thresholds = {"balanced": tiny.decisions.policies["balanced"] + np.float32(0.01)}
    decisions = dataclasses.replace(tiny.decisions, policies=thresholds)
    hashes = {
        content_hash(tiny),
        content_hash(dataclasses.replace(tiny, labels=labels)),
        content_hash(dataclasses.replace(tiny, decisions=decisions)),
    }
    assert len(hashes) == 3


def with_trees(labeler: Labeler, old: str, new: str) -> Labeler:
    assert old in labeler.reranker.trees
    trees = labeler.reranker.trees.replace(old, new)
    return dataclasses.replace(labeler, reranker=dataclasses.replace(labeler.reranker, trees=trees))


def test_the_content_hash_does_not_depend_on_the_parameters_of_lightgbm(tiny: Labeler) -> None:
    assert content_hash(with_trees(tiny, "[seed: 0]", "[seed: 1]")) == content_hash(tiny)
    assert content_hash(with_trees(tiny, "Tree=4", "Tree=5")) != content_hash(tiny)
