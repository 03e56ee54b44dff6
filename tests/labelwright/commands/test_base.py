"""`train --base`: another model as the start, recorded in the run; and bases that do not fit."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from labelwright.models.paths import tracking_uri
from labelwright.models.registry import load_model
from tests.labelwright.commands.summaries import registered, train
from tests.processes import Command

pytest_plugins = ["tests.worlds"]

KINDS = ("fruit", "metal", "river", "bird")


def write_rows(path: Path, rows: int, kinds: tuple[str, ...]) -> Path:
    """A file of rows that each have one of the labels `kinds`."""
    chosen = [kinds[row % len(kinds)] for row in range(rows)]
    labels = pa.array([[kind] for kind in chosen], pa.list_(pa.string()))
    texts = [f"{kind} number {row}" for row, kind in enumerate(chosen)]
    ids = [f"{path.stem}{row}" for row in range(rows)]
    pq.write_table(pa.table({"id": ids, "text": texts, "labels": labels}), path)
    return path


@pytest.mark.usefixtures("empty_world")
def test_a_base_is_recorded_and_compared_by_retrain(command: Command, tmp_path: Path) -> None:
    many = write_rows(tmp_path / "many.parquet", 80, KINDS)
    few = write_rows(tmp_path / "few.parquet", 40, KINDS[:2])
    base = train(command, "--data", many, "--schema", "text", "--name", "base")
    uri = base["model_uri"]
    own = ("--data", few, "--schema", "text", "--name", "own", "--threads", 1)
    summary = train(command, *own, "--base", uri)
    bundle = load_model(summary["model_uri"]).bundle
    assert set(bundle.labeler.labels.names) == set(KINDS)
    parameters = MlflowClient(tracking_uri(), tracking_uri()).get_run(summary["run_id"]).data.params
    assert parameters["base"] == uri
    content = load_model(uri).bundle.manifest.content
    assert parameters["base_content"] == content[:12]
    assert "nothing has changed" in command("retrain", *own, "--base", uri).out
    without = command("retrain", *own)
    assert "model " in without.out, without.err


@pytest.mark.usefixtures("empty_world")
def test_a_base_that_does_not_fit_is_an_error(command: Command, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.parquet", 40, KINDS)
    base = train(command, "--data", data, "--schema", "text", "--name", "base")["model_uri"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.toml").write_text(
        'name = "words of a text"\n[columns.text]\nkind = "words"\n'
    )
    for name, schema, uri, expected in (
        ("base", "text", base, "cannot be its own base"),
        ("own", "text", tmp_path / "empty", "no bundle at"),
        ("own", "text", "models:/nothing@champion", "nothing"),
        ("own", tmp_path / "words.toml", base, "reads other columns"),
    ):
        result = command("train", "--data", data, "--schema", schema, "--name", name, "--base", uri)
        assert result.code != 0
        assert result.err.count("\n") == 1, result.err
        assert expected in result.err
    assert set(registered()) == {"base"}
