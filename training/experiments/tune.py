"""Tuning: search for a better configuration without using the test rows.

The test rows are left out. The other rows are split into training and validation rows. The search
maximises the mean nDCG@5 of the validation rows. The first trial is the default configuration. By
chance, the best of many trials looks better than it is; `search.noise` estimates by how much.
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from labelwright.entities.errors import DataError
from labelwright.entities.io.files import temporary_folder
from labelwright.models.decisions import LabelQuery
from labelwright.training.data import LabelledEntities, name_hashes, split
from labelwright.training.evaluation.answers import RowScores, ndcg_by_row
from labelwright.training.evaluation.evaluate import label_with_truth
from labelwright.training.evaluation.metrics import DEPTH, evaluate
from labelwright.training.experiments.search import (
    SPACE,
    Trial,
    best_trial,
    load_optuna,
    noise,
    search,
    to_toml,
)
from labelwright.training.fitting.fit import Configuration, Progress, fit_labeler, no_progress
from labelwright.training.job import Task
from labelwright.training.tracking import record
from labelwright.training.tracking.runs import KILLED, Run, active_run, experiment_id_of

VALIDATION_SHARE = 0.2
"""Share of the names whose entities are validation rows, after the test rows are left out."""


@dataclasses.dataclass(frozen=True)
class Tuning:
    """The result of a search; the first trial is the default configuration.

    `gain` is the mean nDCG of the best trial minus the mean nDCG of the default. `noise` is the
    gain that chance alone explains with this number of trials, in nDCG (`search.noise`).
    """

    run_id: str
    experiment: str
    trials: Sequence[Trial]
    gain: float
    noise: float
    warnings: Sequence[str]
    seconds: float
    interrupted: bool

    @property
    def default(self) -> Trial:
        """The trial of the default configuration."""
        return self.trials[0]

    @property
    def best(self) -> Trial:
        """The trial with the largest mean nDCG."""
        return best_trial(self.trials)

    @property
    def better(self) -> bool:
        """Whether the gain of the best trial is larger than the noise."""
        return self.gain > self.noise

    @property
    def verdict(self) -> str:
        """The conclusion of the search, in a sentence."""
        rows, others = len(self.default.quality), len(self.trials) - 1
        if not others:
            return "only the default was tried: allow more minutes"
        figures = (
            f"the best of {others:,} trials gains {100 * self.gain:+.2f} points of nDCG@{DEPTH} "
            f"on {rows:,} validation rows; noise alone explains up to {100 * self.noise:.2f}"
        )
        if self.better:
            return f"trial {self.best.number} beats the default: {figures}"
        return f"nothing beats the default by more than the noise: {figures}; keep the default"


def tune(task: Task, seconds: float, progress: Progress = no_progress) -> Tuning:
    """Search for about `seconds`; no model is registered.

    `progress` reports shares of the time. After Ctrl-C, the active runs have the status KILLED, and
    the finished trials are returned. If no trial has finished, KeyboardInterrupt is raised. Raises
    DataError, RegistryError, StorageError, or LabelwrightError if Optuna is not installed.
    """
    load_optuna()
    name = f"{task.name}-tune"
    record.check_name(name)
    experiment_id = experiment_id_of(name)
    data = task.read_labelled(task.data)
    rest, _ = split(data)
    train, validation = validation_split(rest)
    trials: list[Trial] = []
    started = time.perf_counter()
    with active_run(experiment_id, "tune") as parent:
        parent.log(
            _parameters(task, train, validation) | {"minutes": seconds / 60},
            tags={record.DATA_FINGERPRINT: rest.fingerprint},
        )

        def objective(number: int, configuration: Configuration) -> RowScores:
            progress(f"trial {number}", 0.0)
            title = f"trial {number}" if number else "default"
            with active_run(experiment_id, title, parent) as run:
                return _fit_and_evaluate(run, configuration, train, validation)

        try:
            for trial in search(objective, task.configuration, seconds):
                trials.append(trial)
                progress(f"trial {trial.number}", trial.seconds / seconds)
        except KeyboardInterrupt:
            if not trials:
                raise
            parent.status = KILLED
        tuning = Tuning(
            parent.id,
            name,
            trials,
            best_trial(trials).mean - trials[0].mean,
            noise(trials, task.configuration.seed),
            data.warnings,
            time.perf_counter() - started,
            parent.status == KILLED,
        )
        _log_search(parent, tuning)
    return tuning


def validation_split(data: LabelledEntities) -> tuple[LabelledEntities, LabelledEntities]:
    """Split rows by name into training and validation rows.

    The lowest 8 bits of the name's hash decide. They are independent of the test split and of the
    halves of the reranker's fit, which use higher bits. Raises DataError if all rows would be
    validation rows.
    """
    low = name_hashes(data.entities) & np.uint64(0xFF)
    chosen = low < max(round(VALIDATION_SHARE * 256), int(low.min()) + 1)
    if chosen.all():
        raise DataError("too few names to tune on: give rows with at least two different names")
    return data.take(np.flatnonzero(~chosen)), data.take(np.flatnonzero(chosen))


def _fit_and_evaluate(
    run: Run, configuration: Configuration, train: LabelledEntities, validation: LabelledEntities
) -> RowScores:
    """Fit a configuration, log its metrics, and return the nDCG of each validation row."""
    started = time.perf_counter()
    labeler = fit_labeler(train, configuration)
    seconds = time.perf_counter() - started
    predictions, truth = label_with_truth(labeler, validation, LabelQuery(), configuration.threads)
    quality = ndcg_by_row(predictions, truth)
    metrics = evaluate(predictions, truth).metrics
    figures = {f"ndcg_at_{DEPTH}": float(quality.mean()), "seconds": seconds}
    run.log(dataclasses.asdict(configuration), metrics.by_name | figures)
    return quality


def _parameters(
    task: Task, train: LabelledEntities, validation: LabelledEntities
) -> dict[str, Any]:
    return {
        "schema": task.schema.name,
        "seed": task.configuration.seed,
        "threads": task.configuration.threads,
        "training_rows": len(train),
        "validation_rows": len(validation),
    }


def _log_search(run: Run, tuning: Tuning) -> None:
    """Log the best trial, the gain, the noise, a table of the trials, and the TOML file."""
    run.log(
        {f"best.{name}": getattr(tuning.best.configuration, name) for name in SPACE},
        {
            f"ndcg_at_{DEPTH}": tuning.best.mean,
            f"default_ndcg_at_{DEPTH}": tuning.default.mean,
            "gain": tuning.gain,
            "noise": tuning.noise,
            "trials": len(tuning.trials),
        },
        {"labelwright.verdict": tuning.verdict},
    )
    with temporary_folder() as folder:
        toml, csv = folder / "best.toml", folder / "trials.csv"
        toml.write_text(f"# {tuning.verdict}\n{to_toml(tuning.best.configuration)}", "utf-8")
        pyarrow.csv.write_csv(table(tuning), csv)
        run.store(toml)
        run.store(csv)


def table(tuning: Tuning) -> pa.Table:
    """A table with one row for each trial."""
    return pa.Table.from_pylist(
        [
            {"trial": trial.number}
            | {name: getattr(trial.configuration, name) for name in SPACE}
            | {f"ndcg_at_{DEPTH}": trial.mean, "seconds": round(trial.seconds, 3)}
            for trial in tuning.trials
        ]
    )
