"""Studies: fits, intervals, MLflow runs, and the command."""

import dataclasses
import json
import math
import signal
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import scipy.stats

from labelwright.commands import study as command
from labelwright.entities.errors import DataError
from labelwright.entities.schema import EntitySchema
from labelwright.models.decisions import LabelQuery
from labelwright.models.labeler import Labeler
from labelwright.models.paths import tracking_uri
from labelwright.training.data import LabelledEntities, read_labelled, split
from labelwright.training.experiments.study import (
    ABLATION,
    CURVE,
    MEASURES,
    SEEDS,
    Interval,
    Study,
    study,
)
from labelwright.training.fitting.fit import Configuration, fit_labeler
from labelwright.training.job import Task

if TYPE_CHECKING:
    from mlflow.entities import Run

    from tests.conftest import World

FIT = "labelwright.training.experiments.study.fit_labeler"
ROWS = 300
QUICK = Configuration(threads=1, trees=5, passes=1)
COLUMNS = ["name", "alternative_names", "country", "website"]


@pytest.fixture(scope="module")
def data(world: "World", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some rows of the shared data."""
    path = tmp_path_factory.mktemp("study") / "rows.parquet"
    pq.write_table(pq.read_table(world.data).slice(0, ROWS), path)
    return path


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory, labeler: Labeler) -> Iterator[Path]:
    """A state folder for this module, set after the shared model has been loaded."""
    folder = tmp_path_factory.mktemp("study-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELWRIGHT_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def task(state: Path, data: Path, places: EntitySchema) -> Task:
    return Task([data], [], places, "whole", QUICK)


@pytest.fixture(scope="module")
def found(task: Task) -> Study:
    """A study with real fits."""
    return study(task, seeds=2)


def runs(experiment: str) -> dict[str, "Run"]:
    """The runs of an experiment by name."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri())
    experiment_id = client.get_experiment_by_name(experiment).experiment_id  # type: ignore[union-attr]
    found = client.search_runs([experiment_id], max_results=1000)
    return {str(run.info.run_name): run for run in found}


def states(experiment: str) -> dict[str, str]:
    """The states of the runs of an experiment, by name."""
    return {name: run.info.status for name, run in runs(experiment).items()}


class Fits:
    """Replacement of `fit_labeler`: records its arguments and returns an existing model."""

    def __init__(
        self, labeler: Labeler, failures: dict[int, BaseException | signal.Signals]
    ) -> None:
        self.labeler = labeler
        self.failures = failures
        self.given: list[tuple[LabelledEntities, Configuration]] = []

    def __call__(self, data: LabelledEntities, configuration: Configuration) -> Labeler:
        self.given.append((data, configuration))
        reason = self.failures.get(len(self.given))
        if isinstance(reason, signal.Signals):
            signal.raise_signal(reason)
        elif reason is not None:
            raise reason
        return self.labeler


def test_all_variants_are_fitted_on_the_training_rows(found: Study, task: Task) -> None:
    train, test = split(read_labelled(task.data, task.schema))
    names = [result.variant.name for result in found.results]
    assert names == [
        *("seed 0", "seed 1"),
        *("10% of the rows", "25% of the rows", "50% of the rows"),
        *(f"without {name}" for name in COLUMNS),
    ]
    assert found.planned == len(names)
    assert found.test_rows == len(test)
    assert not found.interrupted
    rows = [round(share * len(train)) for share in (0.1, 0.25, 0.5)]
    assert [result.rows for result in found.part(CURVE)] == rows
    assert {result.rows for result in (*found.part(SEEDS), *found.part(ABLATION))} == {len(train)}
    assert found.part(CURVE)[0].metrics.p_at_1 < found.part(SEEDS)[0].metrics.p_at_1


def test_an_ablation_equals_a_fit_on_data_without_the_column(
    found: Study, task: Task, tmp_path: Path
) -> None:
    from labelwright.training.evaluation.evaluate import evaluate_labeler

    file = tmp_path / "nameless.parquet"
    pq.write_table(pq.read_table(task.data[0]).drop_columns(["website"]), file)
    train, test = split(read_labelled([file], task.schema))
    expected = evaluate_labeler(fit_labeler(train, QUICK), test, LabelQuery(), 1).metrics
    (result,) = (r for r in found.results if r.variant.name == "without website")
    assert result.metrics == expected
    assert result.metrics != found.part(SEEDS)[0].metrics


def test_every_fit_is_a_run_nested_in_the_study(found: Study, state: Path) -> None:
    from mlflow import MlflowClient

    logged = runs("whole-study")
    parent = logged.pop("study")
    assert parent.info.run_id == found.run_id
    assert {run.info.status for run in (parent, *logged.values())} == {"FINISHED"}
    assert set(logged) == {result.variant.name for result in found.results}
    for result in found.results:
        run = logged[result.variant.name]
        assert run.data.tags["mlflow.parentRunId"] == found.run_id
        assert run.data.params["seed"] == str(result.variant.seed)
        assert run.data.params["training_rows"] == str(result.rows)
        for measure in MEASURES:
            assert run.data.metrics[measure] == pytest.approx(getattr(result.metrics, measure))
    for measure, interval in found.intervals.items():
        assert parent.data.metrics[f"{measure}_mean"] == pytest.approx(interval.mean)
    client = MlflowClient(tracking_uri())
    assert not client.search_registered_models()
    files = {file.path for file in client.list_artifacts(found.run_id)}
    assert files == {"study.csv", "learning_curve.png"}
    table = pyarrow.csv.read_csv(client.download_artifacts(found.run_id, "study.csv"))
    assert table["name"].to_pylist() == [result.variant.name for result in found.results]
    picture = Path(client.download_artifacts(found.run_id, "learning_curve.png"))
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 10_000


def test_intervals_agree_with_students_t(found: Study) -> None:
    values = [41.0, 44.5, 42.0, 47.5]
    deviation = float(scipy.stats.tstd(values))
    interval = Interval(len(values), 43.75, deviation)
    low, high = scipy.stats.t.interval(0.95, 3, 43.75, scipy.stats.sem(values))
    assert interval.margin == pytest.approx((high - low) / 2)
    assert interval.scatter == pytest.approx(interval.margin * math.sqrt(len(values) + 1))
    one, other = (result.metrics.micro_f1 for result in found.part(SEEDS))
    assert found.intervals["micro_f1"].mean == pytest.approx((one + other) / 2)
    assert found.intervals["micro_f1"].deviation == pytest.approx(abs(one - other) / math.sqrt(2))


def test_samples_are_nested_and_ablations_lack_their_column(
    labeler: Labeler, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = Fits(labeler, {})
    monkeypatch.setattr(FIT, fits)
    shares: list[float] = []
    study(
        dataclasses.replace(task, name="nested", test=task.data),
        1,
        lambda stage, share: shares.append(share),
    )
    everything, *curve = (set(data.entities.ids.to_pylist()) for data, _ in fits.given[:4])
    assert curve[0] < curve[1] < curve[2] < everything
    assert len(everything) == ROWS, "with separate test files, all data is used for training"
    for column, (given, _) in zip(COLUMNS, fits.given[4:], strict=True):
        assert column not in given.entities.table.column_names
        assert set(COLUMNS) - {column} <= set(given.entities.table.column_names)
    assert sum(shares) == pytest.approx(1)


def test_ctrl_c_kills_the_runs_and_returns_the_finished_fits(
    labeler: Labeler, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FIT, Fits(labeler, {4: signal.SIGINT}))
    found = study(dataclasses.replace(task, name="stopped"), 3)
    assert found.interrupted
    assert [result.variant.name for result in found.results] == ["seed 0", "seed 1", "seed 2"]
    assert states("stopped-study") == {
        **dict.fromkeys(("seed 0", "seed 1", "seed 2"), "FINISHED"),
        "10% of the rows": "KILLED",
        "study": "KILLED",
    }


def test_ctrl_c_before_the_first_fit_is_raised(
    labeler: Labeler, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FIT, Fits(labeler, {1: signal.SIGINT}))
    with pytest.raises(KeyboardInterrupt):
        study(dataclasses.replace(task, name="interrupted"), 3)
    assert states("interrupted-study") == {"seed 0": "KILLED", "study": "KILLED"}


def test_an_error_fails_the_runs(
    labeler: Labeler, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FIT, Fits(labeler, {2: MemoryError()}))
    with pytest.raises(MemoryError):
        study(dataclasses.replace(task, name="broken"), 3)
    ended = states("broken-study")
    assert ended == {"seed 0": "FINISHED", "seed 1": "FAILED", "study": "FAILED"}


def test_a_fit_with_too_few_rows_is_left_out_with_a_warning(
    labeler: Labeler, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        FIT,
        Fits(labeler, {2: DataError("too few")}),
    )
    found = study(dataclasses.replace(task, name="sparse"), 1)
    assert len(found.results) == found.planned - 1
    assert "10% of the rows: too few" in found.warnings
    assert found.intervals == {}
    ended = states("sparse-study")
    assert ended.pop("10% of the rows") == "FAILED"
    assert set(ended.values()) == {"FINISHED"}


def test_a_single_column_is_not_left_out(
    labeler: Labeler, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "names.parquet"
    pq.write_table(pq.read_table(task.data[0]).select(["id", "name", "labels"]), file)
    monkeypatch.setattr(FIT, Fits(labeler, {}))
    found = study(dataclasses.replace(task, name="single", data=[file]), 1)
    assert found.part(ABLATION) == []
    assert len(found.results) == found.planned == 4


def run(*arguments: str) -> None:
    """Run the command with some arguments."""
    parser = ArgumentParser()
    command.configure(parser)
    command.run(parser.parse_args(arguments))


def test_the_command_prints_tables_and_json(
    task: Task,
    labeler: Labeler,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fits = Fits(labeler, {})
    monkeypatch.setattr(FIT, fits)
    run("--data", str(task.data[0]), "--name", "printed", "--threads", "1", "--json")
    lines = capsys.readouterr().out.splitlines()
    summary: dict[str, Any] = json.loads(lines[-1])
    assert (summary["experiment"], summary["interrupted"]) == ("printed-study", False)
    assert len(summary["fits"]) == 3 + 3 + len(COLUMNS)
    assert summary["intervals"]["p_at_1"]["n"] == 3
    assert figures(lines, "mean of the seeds")[0] == pytest.approx(
        summary["intervals"]["p_at_1"]["mean"], abs=1e-3
    )
    assert [configuration.seed for _, configuration in fits.given[:3]] == [0, 1, 2]
    assert sum(line.startswith("without website") for line in lines) == 2


def test_an_interrupted_command_prints_the_finished_fits(
    task: Task,
    labeler: Labeler,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(FIT, Fits(labeler, {3: signal.SIGINT}))
    with pytest.raises(KeyboardInterrupt):
        run("--data", str(task.data[0]), "--name", "cut", "--seeds", "2", "--json")
    out = capsys.readouterr().out
    assert f"2 of {2 + 3 + len(COLUMNS)} fits" in out
    assert json.loads(out.splitlines()[-1])["interrupted"]


def figures(lines: Sequence[str], title: str) -> list[float]:
    """The numbers of the line that begins with a title."""
    (line,) = (line for line in lines if line.startswith(title))
    return [float(word) for word in line.removeprefix(title).split()]
