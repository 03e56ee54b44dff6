"""Empty cells of labels in CSV: the option `--empty-labels` of the commands, and of Python."""

from pathlib import Path

import pyarrow as pa
import pytest

import labelwright
from labelwright.entities.errors import DataError
from tests.labelwright.commands.files import ROWS, write_csv
from tests.labelwright.commands.summaries import last_line, train
from tests.processes import Command

pytest_plugins = ["tests.worlds"]

EMPTY = 40
NOT_LABELLED = f"{EMPTY} rows have an empty cell in column 'labels', read as not labelled"
NONE = f"{EMPTY} rows have an empty cell in column 'labels', read as none of the labels"


@pytest.fixture(scope="module")
def gaps(rows: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CSV in which the cells of labels of the last rows are empty."""
    folder = tmp_path_factory.mktemp("gaps")
    given = write_csv(rows, folder / "rows.csv").read_text("utf-8").splitlines()
    assert rows.column_names[-1] == "labels"
    cut = [line[: line.rindex(",") + 1] for line in given[-EMPTY:]]
    path = folder / "gaps.csv"
    path.write_text("\n".join([*given[:-EMPTY], *cut]) + "\n", "utf-8")
    return path


@pytest.mark.parametrize(
    ("options", "rows_read", "line"),
    [((), ROWS - EMPTY, NOT_LABELLED), (("--empty-labels", "none"), ROWS, NONE)],
)
def test_evaluate_reads_empty_cells_as_chosen(
    command: Command,
    gaps: Path,
    bundle: Path,
    options: tuple[str, ...],
    rows_read: int,
    line: str,
) -> None:
    completed = command("evaluate", "--model", bundle, "--data", gaps, *options, "--json")
    assert completed.code == 0, completed.err
    metrics = last_line(completed.out)
    assert metrics["rows"] == rows_read
    differs = metrics["p_at_1_labelled"] > metrics["p_at_1"]
    assert differs == bool(options)
    assert ("\np_at_1_labelled " in completed.out) == differs
    assert completed.err.count(line) == 1


@pytest.mark.usefixtures("empty_world")
def test_commands_that_train_say_how_empty_cells_were_read(command: Command, gaps: Path) -> None:
    completed = command("train", "--threads", 1, "--data", gaps, "--no-promote")
    assert completed.code == 0, completed.err
    assert completed.err.count(NOT_LABELLED) == 1
    base = ("--data", gaps, "--empty-labels", "none")
    for name, *options in (("retrain",), ("study", "--seeds", 1), ("tune", "--minutes", 0.01)):
        completed = command(name, "--threads", 1, *base, *options)
        assert completed.code == 0, completed.err
        assert completed.err.count(NONE) == 1


@pytest.mark.usefixtures("empty_world")
def test_python_has_the_same_parameter_as_train(command: Command, gaps: Path) -> None:
    result = labelwright.train(gaps, threads=1, empty_labels="none")
    assert any(NONE in warning for warning in result.warnings)
    summary = train(command, "--data", gaps, "--empty-labels", "none")
    assert summary["metrics"] == dict(result.metrics)
    with pytest.raises(DataError, match="must be 'unknown' or 'none'"):
        labelwright.train(gaps, empty_labels="maybe")
