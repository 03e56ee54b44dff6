"""The command `diff` with and without data."""

import dataclasses
import json
from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from labelwright.commands import diff
from labelwright.entities.errors import DataError, ModelNotFoundError
from labelwright.models.bundle.format import read_manifest, write_bundle
from labelwright.models.labeler import Labeler
from labelwright.training.evaluation.diff import KINDS

if TYPE_CHECKING:
    from tests.conftest import World

LABEL = "amenity=bank"
"""A label that the shared model often asserts."""


@pytest.fixture
def here(world: "World", monkeypatch: pytest.MonkeyPatch) -> "World":
    """The shared world in the environment of this process."""
    monkeypatch.setenv("LABELWRIGHT_HOME", str(world.home))
    return world


@pytest.fixture(scope="module")
def shy(labeler: Labeler, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle folder with a copy of the shared model that never asserts LABEL."""
    thresholds = labeler.decisions.policies["balanced"].copy()
    thresholds[labeler.labels.names.index(LABEL)] = 2
    decisions = dataclasses.replace(labeler.decisions, policies={"balanced": thresholds})
    folder = tmp_path_factory.mktemp("diff") / "shy"
    details = {"metrics": {"rows": 7, "p_at_1": 12.5}, "test_data": "another"}
    write_bundle(dataclasses.replace(labeler, decisions=decisions), folder, "0", details)
    return str(folder)


@pytest.fixture(scope="module")
def data(world: "World", tmp_path_factory: pytest.TempPathFactory) -> str:
    """A few rows of the shared world, without labels."""
    path = tmp_path_factory.mktemp("diff") / "rows.parquet"
    pq.write_table(pq.read_table(world.data).slice(0, 400).drop_columns(["labels"]), path)
    return str(path)


def run(*arguments: str) -> None:
    """Run the command as the command line does."""
    parser = ArgumentParser()
    diff.configure(parser)
    diff.run(parser.parse_args(arguments))


def test_without_data_diff_compares_manifests_and_mentions_the_option(
    here: "World", shy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(here.uri, shy, "--json")
    *lines, last = capsys.readouterr().out.splitlines()
    summary: dict[str, Any] = json.loads(last)
    names = json.loads((Path(shy) / "labels.json").read_text("utf-8"))
    assert summary["labels"] == {"shared": len(names), "only_old": [], "only_new": []}
    assert summary["thresholds"]["balanced"]["labels"] == 1
    assert summary["metrics"]["p_at_1"][1] == 12.5
    assert summary["metrics"]["micro_f1"][1] is None
    assert "answers" not in summary
    text = "\n".join(lines)
    assert f"{len(names)} in both" in text
    assert "1 labels differ" in text
    assert "measured on different test rows" in text
    assert "--data PATH compares" in lines[-1]


def test_with_data_diff_counts_and_lists_removed_labels(
    here: "World", shy: str, data: str, labeler: Labeler, capsys: pytest.CaptureFixture[str]
) -> None:
    run(here.uri, shy, "--data", data, "--examples", "2", "--json")
    out = capsys.readouterr().out
    summary = json.loads(out.splitlines()[-1])["answers"]
    (label,) = summary["per_label"]
    assert label["label"] == LABEL
    assert label["removed"] == summary["differing"] > 2
    assert label["added"] == label["changed"] == 0
    assert summary["rows"] == 400
    examples = summary["examples"]["removed"]
    assert len(examples) == 2
    assert [summary["examples"][kind] for kind in KINDS if kind != "removed"] == [[], []]
    for example in examples:
        assert example["old"] == example["new"] > labeler.decisions.policies["balanced"].min()
        assert example["id"] in out
        assert example["name"] in out.split("removed: the largest differences")[1]
    assert f"{label['removed']} of 400 rows differ" in out
    assert "--data PATH" not in out


def test_a_model_compared_with_itself_has_no_differences(
    here: "World", data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(here.uri, here.uri, "--data", data)
    out = capsys.readouterr().out
    assert "0 of 400 rows differ: 0 added, 0 removed, 0 changed" in out
    assert "measured on different test rows" not in out
    assert "largest differences" not in out


def test_labels_of_only_one_model_are_listed_with_a_sign(
    here: "World", labeler: Labeler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    renamed = tuple("zebra" if name == LABEL else name for name in labeler.labels.names)
    order = np.argsort(renamed)
    assert renamed[order[-1]] == "zebra"
    labels = dataclasses.replace(labeler.labels, names=renamed)
    write_bundle(dataclasses.replace(labeler, labels=labels), tmp_path / "renamed", "0", {})
    run(here.uri, str(tmp_path / "renamed"))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert f"- {LABEL}" in lines
    assert "+ zebra" in lines


def test_missing_models_and_files_are_errors(here: "World", shy: str, tmp_path: Path) -> None:
    assert read_manifest(Path(shy)).details["metrics"]["rows"] == 7
    with pytest.raises(ModelNotFoundError):
        run(here.uri, str(tmp_path / "nothing"))
    with pytest.raises(DataError):
        run(here.uri, shy, "--data", str(tmp_path / "nothing.parquet"))
