"""Tuning: the rows it uses, the proposed configurations, the verdict, and the command."""

import dataclasses
import json
import signal
import sys
import tomllib
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.commands import tune as command
from labelwright.entities.errors import DataError, LabelwrightError
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import from_table
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.labeler import Labeler
from labelwright.models.labels import LabelMatrix
from labelwright.models.paths import tracking_uri
from labelwright.training.data import LabelledEntities, name_hashes, read_labelled, split
from labelwright.training.evaluation.answers import RowScores
from labelwright.training.evaluation.evaluate import label_with_truth
from labelwright.training.experiments.search import SPACE, Trial, noise, search, to_toml
from labelwright.training.experiments.tune import VALIDATION_SHARE, Tuning, tune, validation_split
from labelwright.training.fitting.fit import Configuration, fit_labeler
from labelwright.training.job import Task
from tests.conftest import BRANDS

if TYPE_CHECKING:
    from tests.conftest import World

SEARCH = "labelwright.training.experiments.search"
TUNE = "labelwright.training.experiments.tune"
ROWS = 250
QUICK = Configuration(threads=1, seed=3)


@pytest.fixture
def optuna() -> Any:
    """Optuna; tests that search are skipped without it."""
    return pytest.importorskip("optuna")


@pytest.fixture(scope="module")
def data(world: "World", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some rows of the shared data."""
    path = tmp_path_factory.mktemp("tune") / "rows.parquet"
    pq.write_table(pq.read_table(world.data).slice(0, ROWS), path)
    return path


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory, labeler: Labeler) -> Iterator[Path]:
    """A state folder for this module, set after the shared model has been loaded."""
    folder = tmp_path_factory.mktemp("tune-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELWRIGHT_HOME", str(folder))
        yield folder


@pytest.fixture
def task(state: Path, data: Path, places: EntitySchema) -> Task:
    return Task([data], [], places, "whole", QUICK)


class Clock:
    """A clock; the test sets its time."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replacement of the clock of the search."""
    clock = Clock()
    for module in (SEARCH, TUNE):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(perf_counter=clock.perf_counter))
    return clock


def ended(experiment: str) -> dict[str, str]:
    """The states of the runs of an experiment, by name."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri())
    experiment_id = client.get_experiment_by_name(experiment).experiment_id  # type: ignore[union-attr]
    return {
        str(run.info.run_name): run.info.status
        for run in client.search_runs([experiment_id], max_results=1000)
    }


def trials(quality: "np.ndarray[Any, np.dtype[np.float64]]") -> list[Trial]:
    """Trials with the given nDCG (trials x rows)."""
    return [Trial(i, Configuration(), row, 1.0) for i, row in enumerate(quality)]


def tuning(quality: "np.ndarray[Any, np.dtype[np.float64]]") -> Tuning:
    """The result of a search with the given nDCG (trials x rows)."""
    tried = trials(quality)
    gain = max(trial.mean for trial in tried) - tried[0].mean
    return Tuning("run", "experiment", tried, gain, noise(tried, 0), (), 1.0, False)


def test_the_validation_split_is_by_name_and_independent_of_other_splits(
    places: EntitySchema,
) -> None:
    names = [f"Name {i % 5_000}" for i in range(10_000)]
    labels = pa.array([["a"]] * len(names), pa.list_(pa.string()))
    whole = LabelledEntities(from_table(pa.table({"name": names}), places), labels)
    rest, test = split(whole)
    train, validation = validation_split(rest)
    parts = [set(part.entities.table["name"].to_pylist()) for part in (train, validation, test)]
    assert sum(map(len, parts)) == len(set(names)) == len(set.union(*parts))
    assert len(train) + len(validation) + len(test) == len(whole)
    assert len(parts[1]) / len(parts[0] | parts[1]) == pytest.approx(VALIDATION_SHARE, abs=0.02)
    folds = (name_hashes(validation.entities) >> np.uint64(8)) % np.uint64(5)
    assert np.bincount(folds.astype(int)) / len(validation) == pytest.approx(0.2, abs=0.05)


def test_tuning_needs_two_names(places: EntitySchema) -> None:
    table = from_table(pa.table({"name": ["Aldi"] * 20}), places)
    with pytest.raises(DataError, match="too few names"):
        validation_split(LabelledEntities(table, pa.array([["a"]] * 20, pa.list_(pa.string()))))
    two = from_table(pa.table({"name": ["Aldi", "Lidl"] * 10}), places)
    train, judging = validation_split(
        LabelledEntities(two, pa.array([["a"]] * 20, pa.list_(pa.string())))
    )
    assert len(train) == len(judging) == 10


def test_without_optuna_tuning_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(LabelwrightError, match=r"needs optuna.*install requirements/train.txt"):
        run("--data", str(BRANDS), "--minutes", "1")


def test_the_default_is_the_first_trial_and_the_seed_decides_the_others(
    optuna: Any, clock: Clock
) -> None:
    def judge(number: int, configuration: Configuration) -> RowScores:
        clock.now += 1
        return np.array([-abs(np.log(configuration.cost)), configuration.trees / 300])

    def searched(seed: int) -> list[Configuration]:
        start = clock.now
        found = list(search(judge, Configuration(seed=seed, threads=7), 12.5))
        assert len(found) == 12 == clock.now - start, "a trial started that would end too late"
        assert [trial.number for trial in found] == list(range(12))
        return [trial.configuration for trial in found]

    first = searched(0)
    assert first[0] == Configuration(seed=0, threads=7)
    assert searched(0) == first
    assert searched(1)[1:] != first[1:]
    assert len(set(first)) == 12
    for configuration in first:
        for name, (lowest, highest, _) in SPACE.items():
            assert lowest <= getattr(configuration, name) <= highest
        assert isinstance(configuration.trees, int)
        assert (configuration.seed, configuration.threads) == (first[0].seed, 7)


def test_the_first_trial_runs_even_if_the_time_is_too_short(optuna: Any, clock: Clock) -> None:
    def judge(number: int, configuration: Configuration) -> RowScores:
        clock.now += 60
        return np.ones(3)

    assert len(list(search(judge, Configuration(), 0.001))) == 1


def test_the_best_of_equal_configurations_does_not_exceed_the_noise() -> None:
    random = np.random.default_rng(0)
    shared = random.random((60, 1, 400))
    exceeded = 0
    for base in shared:
        equal_trials = np.clip(base + random.normal(0, 0.1, (15, 400)), 0, 1)
        exceeded += tuning(equal_trials).better
        naive = max(row.mean() for row in equal_trials) - equal_trials[0].mean()
        assert naive > 0 or not tuning(equal_trials).better
    assert exceeded <= 8, "about one in twenty exceeds the noise by chance"


def test_a_real_gain_exceeds_the_noise() -> None:
    random = np.random.default_rng(0)
    quality = np.clip(random.random(400) / 2 + random.normal(0, 0.1, (15, 400)), 0, 1)
    quality[9] += 0.05
    found = tuning(quality)
    assert found.better
    assert found.best.number == 9
    assert found.verdict.startswith("trial 9 beats the default")
    assert 0 < found.noise < 0.05


def test_more_trials_need_a_larger_gain() -> None:
    random = np.random.default_rng(0)
    quality = random.random((41, 500))
    assert noise(trials(quality[:2]), 0) < noise(trials(quality[:6]), 0) < noise(trials(quality), 0)
    assert noise(trials(quality[:1]), 0) == 0
    same = np.tile(quality[0], (4, 1))
    assert not tuning(same).better
    assert "nothing beats the default by more than the noise" in tuning(same).verdict
    assert "allow more minutes" in tuning(quality[:1]).verdict


def test_the_toml_text_holds_the_configuration() -> None:
    best = Configuration(cost=0.0512, passes=5, candidates=11, trees=77, leaves=16, rate=0.2)
    assert dataclasses.replace(Configuration(), **tomllib.loads(to_toml(best))) == best


def test_a_search_never_uses_the_test_rows(
    optuna: Any, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[set[str]] = []
    evaluated: list[set[str]] = []

    def fit(data: LabelledEntities, configuration: Configuration) -> Labeler:
        fitted.append(set(data.entities.ids.to_pylist()))
        return fit_labeler(data, configuration)

    def judge(
        labeler: Labeler, data: LabelledEntities, query: LabelQuery, threads: int
    ) -> tuple[Predictions, LabelMatrix]:
        evaluated.append(set(data.entities.ids.to_pylist()))
        return label_with_truth(labeler, data, query, threads)

    monkeypatch.setattr(f"{TUNE}.fit_labeler", fit)
    monkeypatch.setattr(f"{TUNE}.label_with_truth", judge)
    found = tune(task, 2.0)
    rest, test = split(read_labelled(task.data, task.schema))
    hidden = set(test.entities.ids.to_pylist())
    assert hidden
    assert len(fitted) == len(evaluated) == len(found.trials)
    for seen, other in zip(fitted, evaluated, strict=True):
        assert not hidden & (seen | other)
        assert not seen & other
        assert seen | other == set(rest.entities.ids.to_pylist())
    assert found.default.configuration == QUICK
    assert set(ended("whole-tune").values()) == {"FINISHED"}
    assert set(ended("whole-tune")) == {
        *("tune", "default"),
        *(f"trial {trial.number}" for trial in found.trials[1:]),
    }


def test_the_result_of_a_search_is_logged_in_its_run(
    optuna: Any, labeler: Labeler, task: Task, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    def fit(data: LabelledEntities, configuration: Configuration) -> Labeler:
        clock.now += 1
        return labeler

    monkeypatch.setattr(f"{TUNE}.fit_labeler", fit)
    shares: list[float] = []
    found = tune(
        dataclasses.replace(task, name="kept"), 4.0, lambda stage, share: shares.append(share)
    )
    assert len(found.trials) == 4
    assert sum(shares) == pytest.approx(1)
    client = MlflowClient(tracking_uri())
    run = client.get_run(found.run_id)
    assert run.data.metrics["gain"] == pytest.approx(found.gain) == 0
    assert run.data.tags["labelwright.verdict"] == found.verdict
    children = client.search_runs(
        [run.info.experiment_id], f"tags.mlflow.parentRunId = '{found.run_id}'"
    )
    assert sorted(float(child.data.params["cost"]) for child in children) == sorted(
        trial.configuration.cost for trial in found.trials
    )
    for child in children:
        assert child.data.metrics["ndcg_at_5"] == pytest.approx(found.default.mean)
    file = Path(client.download_artifacts(found.run_id, "best.toml"))
    assert dataclasses.replace(QUICK, **tomllib.loads(file.read_text())) == QUICK
    assert not client.search_registered_models()


def test_ctrl_c_kills_the_runs_and_prints_the_best_configuration(
    optuna: Any,
    labeler: Labeler,
    task: Task,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fits = 0

    def fit(data: LabelledEntities, configuration: Configuration) -> Labeler:
        nonlocal fits
        fits += 1
        if fits == 3:
            signal.raise_signal(signal.SIGINT)
        return labeler

    monkeypatch.setattr(f"{TUNE}.fit_labeler", fit)
    arguments = ("--data", str(task.data[0]), "--name", "stopped", "--minutes", "5")
    with pytest.raises(KeyboardInterrupt):
        run(*arguments, "--seed", "3", "--threads", "1", "--json")
    assert ended("stopped-tune") == {
        "default": "FINISHED",
        "trial 1": "FINISHED",
        "trial 2": "KILLED",
        "tune": "KILLED",
    }
    *toml, last = capsys.readouterr().out.splitlines()
    summary = json.loads(last)
    assert (summary["interrupted"], summary["trials"], summary["better"]) == (True, 2, False)
    assert tomllib.loads("\n".join(toml)) == summary["best"]
    assert any("nothing beats the default" in line for line in toml)

    fits = 2
    with pytest.raises(KeyboardInterrupt):
        run(*(word.replace("stopped", "unstarted") for word in arguments))
    assert ended("unstarted-tune") == {"default": "KILLED", "tune": "KILLED"}


def run(*arguments: str) -> None:
    """Run the command with some arguments."""
    parser = ArgumentParser()
    command.configure(parser)
    command.run(parser.parse_args(arguments))


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "soon"])
def test_minutes_must_be_a_positive_number(
    minutes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run("--data", "x.parquet", "--minutes", minutes)
    assert "--minutes" in capsys.readouterr().err
