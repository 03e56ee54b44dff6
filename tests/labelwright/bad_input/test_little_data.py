"""Very small training data: a clear error, or a trained model."""

from pathlib import Path

import pyarrow as pa
import pytest

from tests.labelwright.bad_input.files import lines, parquet
from tests.labelwright.bad_input.outcomes import refused
from tests.processes import Command

pytest_plugins = ["tests.worlds"]


@pytest.mark.usefixtures("empty_world")
def test_too_few_rows_are_refused(command: Command, rows: pa.Table, tmp_path: Path) -> None:
    source = parquet(tmp_path / "in.parquet", rows.slice(0, 8))
    refused(
        command("train", "--data", source), 3, r"\d rows are too few to train on: give at least 10"
    )


@pytest.mark.usefixtures("empty_world")
def test_a_model_with_a_single_label_can_be_trained(
    command: Command, rows: pa.Table, tmp_path: Path
) -> None:
    labels = pa.array([["shop=yes"]] * 100)
    table = rows.set_column(rows.column_names.index("labels"), "labels", labels)
    source = parquet(tmp_path / "in.parquet", table)
    assert command("train", "--threads", 1, "--data", source, "--name", "one").code == 0
    output = tmp_path / "out.jsonl"
    assert command("label", source, output, "--model", "models:/one@champion").code == 0
    for result in lines(output):
        (label,) = result["labels"]
        assert label["label"] == "shop=yes"
        assert 0 <= label["probability"] <= 1


@pytest.mark.usefixtures("empty_world")
def test_rows_with_a_single_name_are_refused(command: Command, tmp_path: Path) -> None:
    source = parquet(tmp_path / "in.parquet", {"name": ["Bar"] * 40, "labels": [["a"]] * 40})
    refused(command("train", "--data", source), 3, "all rows have the same name")


@pytest.mark.usefixtures("empty_world")
def test_rows_with_only_two_names_are_trained_on_or_refused(
    command: Command, tmp_path: Path
) -> None:
    names, labels = ["Bar", "Café"] * 20, [["a"], ["b"]] * 20
    source = parquet(tmp_path / "in.parquet", {"name": names, "labels": labels})
    assert command("train", "--threads", 1, "--data", source).code in (0, 3)


@pytest.mark.usefixtures("empty_world")
def test_a_negative_seed_is_wrong_usage(command: Command, rows: pa.Table, tmp_path: Path) -> None:
    source = parquet(tmp_path / "in.parquet", rows)
    assert command("train", "--data", source, "--seed", "-1").code == 2
