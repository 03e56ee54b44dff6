"""Malicious labels and trees are an error, even if their hashes are correct."""

import json
import subprocess
import sys
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from labelwright.entities.errors import BundleError
from labelwright.models.bundle.format import read_bundle
from labelwright.models.labeler import Labeler
from tests.models.bundles import sign


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[",
        b"\xff",
        b"{}",
        b'"label"',
        b"5",
        b"null",
        b"[1]",
        b'["a", null]',
        b'[["a"]]',
        b'["a"]',
        b"[]",
    ],
)
def test_labels_that_do_not_fit_the_arrays_are_an_error(copy: Path, content: bytes) -> None:
    (copy / "labels.json").write_bytes(content)
    sign(copy)
    with pytest.raises(BundleError, match="the files do not have the content"):
        read_bundle(copy)


@pytest.mark.parametrize("bad", ["\ud800", "", None], ids=["surrogate", "empty", "twice"])
def test_invalid_labels_are_an_error(copy: Path, tiny: Labeler, bad: str | None) -> None:
    labels = [*tiny.labels.names[:-1], tiny.labels.names[0] if bad is None else bad]
    (copy / "labels.json").write_text(json.dumps(labels))
    sign(copy)
    with pytest.raises(BundleError):
        read_bundle(copy)


def test_trees_that_are_not_text_are_an_error(copy: Path) -> None:
    (copy / "reranker.txt").write_bytes(b"tree\n\xff")
    sign(copy)
    with pytest.raises(BundleError, match="the files do not have the content"):
        read_bundle(copy)


@pytest.mark.parametrize("content", ["", "tree\n", "hello", "import os"])
def test_text_without_trees_is_an_error(copy: Path, content: str) -> None:
    (copy / "reranker.txt").write_text(content)
    sign(copy)
    with pytest.raises(BundleError, match="not in LightGBM's text format"):
        read_bundle(copy)


def test_trees_with_other_features_are_an_error(copy: Path) -> None:
    random = np.random.default_rng(0)
    data = lightgbm.Dataset(random.random((100, 3)), random.random(100) > 0.5)
    trees = lightgbm.train({"objective": "binary", "verbose": -1}, data, 2).model_to_string()
    (copy / "reranker.txt").write_text(trees)
    sign(copy)
    with pytest.raises(BundleError):
        read_bundle(copy)


LABEL_EMPTY = """
import sys
from pathlib import Path
from labelwright.entities.errors import BundleError
from labelwright.entities.tables import Entities
from labelwright.models.bundle.format import read_bundle
from labelwright.models.decisions import LabelQuery

try:
    labeler = read_bundle(Path(sys.argv[1])).labeler
    labeler.label(Entities.empty(labeler.schema, 1), LabelQuery())
except BundleError:
    print("refused")
"""


def test_truncated_trees_are_an_error(copy: Path) -> None:
    trees = (copy / "reranker.txt").read_text()
    (copy / "reranker.txt").write_text(trees[: trees.index("Tree=3") + 60])
    sign(copy)
    command = [sys.executable, "-c", LABEL_EMPTY, str(copy)]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=120)
    assert done.returncode == 0
    assert done.stdout.endswith("refused\n")
