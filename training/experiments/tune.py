"""Searching for a better configuration, on rows that the test never sees.

The test rows are set aside and not looked at. Of the others, validation rows judge: their mean
nDCG@5 is what the search makes larger, with the default configuration as its first trial. The best
of many trials looks better than it is; `noise` tells by how much.
"""

import dataclasses
import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from labelwright.entities.errors import DataError, LabelwrightError
from labelwright.entities.io.files import temporary_folder
from labelwright.models.decisions import LabelQuery
from labelwright.models.kernels.simd import LEAVES
from labelwright.training.data import LabelledEntities, name_hashes, read_labelled, split
from labelwright.training.evaluation.evaluate import label_with_truth
from labelwright.training.evaluation.intervals import CONFIDENCE, RESAMPLES
from labelwright.training.evaluation.metrics import DEPTH, evaluate
from labelwright.training.fitting.fit import Configuration, Progress, fit_labeler, no_progress
from labelwright.training.job import Task
from labelwright.training.tracking import record
from labelwright.training.tracking.gate import RowScores, ndcg_by_row
from labelwright.training.tracking.runs import KILLED, Run, active_run, experiment_id_of

SPACE: dict[str, tuple[float, float, bool]] = {
    "cost": (0.05, 2.0, True),
    "passes": (2, 5, False),
    "candidates": (10, 25, False),
    "trees": (50, 300, True),
    "leaves": (7, LEAVES, True),
    "rate": (0.03, 0.2, True),
}
"""Fields of the configuration that are searched: lowest, highest, and whether by ratio."""
VALIDATION_SHARE = 0.2
"""The share of names, of those that are not test, whose entities judge the trials."""
_BLOCK = 50
"""Resamples that are drawn at a time."""

Objective = Callable[[int, Configuration], RowScores]


@dataclasses.dataclass(frozen=True)
class Trial:
    """One configuration and how good it was: `quality` is nDCG by validation row."""

    number: int
    configuration: Configuration
    quality: RowScores
    seconds: float

    @property
    def mean(self) -> float:
        """The mean nDCG."""
        return float(self.quality.mean())


@dataclasses.dataclass(frozen=True)
class Tuning:
    """What came of a search; the first trial is the default configuration.

    `gain` is how much better the best trial is than the default, and `noise` how much better the
    best of as many would look if none were; both in nDCG.
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
        """Whether the best beats the default by more than noise explains."""
        return self.gain > self.noise

    @property
    def verdict(self) -> str:
        """What the search says, in a sentence."""
        rows, others = len(self.default.quality), len(self.trials) - 1
        if not others:
            return "only the default was tried: allow more minutes"
        figures = (
            f"the best of {others:,} gains {100 * self.gain:+.2f} points of nDCG@{DEPTH} on "
            f"{rows:,} validation rows, and noise alone explains up to {100 * self.noise:.2f}"
        )
        if self.better:
            return f"trial {self.best.number} beats the default: {figures}"
        return f"nothing beats the default by more than the noise: {figures}; keep the default"


def tune(task: Task, seconds: float, progress: Progress = no_progress) -> Tuning:
    """Search for `seconds`; the trial under way at their end is finished, none is promoted.

    `progress` is told the share of the time. Ctrl-C ends the runs as killed, and what is finished
    is returned; before the first trial is finished it is raised. Raises DataError, RegistryError,
    StorageError, or LabelwrightError where Optuna is not installed.
    """
    load_optuna()
    name = f"{task.name}-tune"
    record.check_name(name)
    experiment_id = experiment_id_of(name)
    data = read_labelled(task.data, task.schema, task.columns)
    rest, _ = split(data)
    train, validation = validation_split(rest)
    trials: list[Trial] = []
    started = time.perf_counter()
    with active_run(experiment_id, "tune") as parent:
        parent.log(
            _parameters(task, train, validation) | {"minutes": seconds / 60},
            tags={record.DATA_FINGERPRINT: rest.fingerprint},
        )

        def judge(number: int, configuration: Configuration) -> RowScores:
            progress(f"trial {number}", 0.0)
            title = f"trial {number}" if number else "default"
            with active_run(experiment_id, title, parent) as run:
                return _fit_and_evaluate(run, configuration, train, validation)

        try:
            for trial in search(judge, task.configuration, seconds):
                trials.append(trial)
                progress(f"trial {trial.number}", trial.seconds / seconds)
        except KeyboardInterrupt:
            if not trials:
                raise
            parent.status = KILLED
        found = Tuning(
            parent.id,
            name,
            trials,
            best_trial(trials).mean - trials[0].mean,
            noise(trials, task.configuration.seed),
            data.warnings,
            time.perf_counter() - started,
            parent.status == KILLED,
        )
        _log_search(parent, found)
    return found


def load_optuna() -> Any:
    """The library that proposes configurations; raises LabelwrightError where it is missing."""
    try:
        return importlib.import_module("optuna")
    except ModuleNotFoundError as error:
        raise LabelwrightError(
            f"tuning needs {error.name}, which is not installed: install requirements/train.txt"
        ) from error


def validation_split(data: LabelledEntities) -> tuple[LabelledEntities, LabelledEntities]:
    """Rows to fit on and rows to judge by; raises DataError where all have the same name.

    The low 8 bits of the names' hashes decide: `split` looks at the high ones, and the folds of a
    fit at those between.
    """
    low = name_hashes(data.entities) & np.uint64(0xFF)
    judging = low < max(round(VALIDATION_SHARE * 256), int(low.min()) + 1)
    if judging.all():
        raise DataError("there are too few names to tune on")
    return data.take(np.flatnonzero(~judging)), data.take(np.flatnonzero(judging))


def search(judge: Objective, first: Configuration, seconds: float) -> Iterator[Trial]:
    """Trials until the time is up: `first`, then what a seeded TPE sampler proposes.

    (Bergstra et al., NeurIPS 2011.) No trial begins that would not end in time if it took as long
    as the average.
    """
    optuna = load_optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=first.seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.enqueue_trial({name: getattr(first, name) for name in SPACE})
    started = time.perf_counter()
    count = 0
    while True:
        begun = time.perf_counter()
        passed = begun - started
        if count and passed + passed / count > seconds:
            return
        asked = study.ask()
        configuration = _proposed(asked, first)
        quality = judge(count, configuration)
        study.tell(asked, float(quality.mean()))
        yield Trial(count, configuration, quality, time.perf_counter() - begun)
        count += 1


def _proposed(asked: Any, first: Configuration) -> Configuration:
    """What the sampler proposes, with numbers as short as they are printed."""
    values: dict[str, Any] = {}
    for name, (lowest, highest, by_ratio) in SPACE.items():
        if isinstance(getattr(first, name), int):
            values[name] = asked.suggest_int(name, int(lowest), int(highest), log=by_ratio)
        else:
            values[name] = float(f"{asked.suggest_float(name, lowest, highest, log=by_ratio):.3g}")
    return dataclasses.replace(first, **values)


def best_trial(trials: Sequence[Trial]) -> Trial:
    """The trial with the largest mean nDCG, the earliest of equals."""
    return max(trials, key=lambda trial: trial.mean)


def noise(trials: Sequence[Trial], seed: int) -> float:
    """By how much the best trial would seem to beat the first one if none did.

    The 95% quantile of the largest gain under bootstrap over rows (White's reality check,
    Econometrica 2000), of gains in units of their standard errors (Romano & Wolf, Econometrica
    2005), times the standard error of the best trial's gain. Gains are paired, so what another seed
    does to single rows is part of it.
    """
    if len(trials) < 2:
        return 0.0
    gains = np.stack([trial.quality - trials[0].quality for trial in trials[1:]])
    rows = gains.shape[1]
    errors = np.maximum(gains.std(axis=1) / np.sqrt(rows), 1e-12)
    centred = ((gains - gains.mean(axis=1, keepdims=True)) / errors[:, None]).astype(np.float32)
    random = np.random.default_rng(seed)
    largest: list[npt.NDArray[np.float32]] = []
    for _ in range(0, RESAMPLES, _BLOCK):
        drawn = random.integers(0, rows, (_BLOCK, rows))
        weights = np.stack([np.bincount(line, minlength=rows) for line in drawn])
        largest.append((centred @ weights.T.astype(np.float32)).max(axis=0) / rows)
    best = max(best_trial(trials).number, 1) - 1
    return float(np.quantile(np.concatenate(largest), CONFIDENCE) * errors[best])


def to_toml(configuration: Configuration) -> str:
    """The searched fields as TOML, for `labelwright train --configuration`."""
    return "".join(f"{name} = {getattr(configuration, name)!r}\n" for name in SPACE)


def _fit_and_evaluate(
    run: Run, configuration: Configuration, train: LabelledEntities, validation: LabelledEntities
) -> RowScores:
    started = time.perf_counter()
    labeler = fit_labeler(train, configuration)
    seconds = time.perf_counter() - started
    predictions, truth = label_with_truth(labeler, validation, LabelQuery(), configuration.threads)
    quality = ndcg_by_row(predictions, truth, np.ones(len(labeler.labels), np.bool_))
    metrics = evaluate(predictions, truth).metrics
    figures = {f"ndcg_at_{DEPTH}": float(quality.mean()), "seconds": seconds}
    run.log(dataclasses.asdict(configuration), dataclasses.asdict(metrics) | figures)
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


def _log_search(run: Run, found: Tuning) -> None:
    """Log what the whole search says: the best, how sure that is, all trials, and the TOML."""
    run.log(
        {f"best.{name}": getattr(found.best.configuration, name) for name in SPACE},
        {
            f"ndcg_at_{DEPTH}": found.best.mean,
            f"default_ndcg_at_{DEPTH}": found.default.mean,
            "gain": found.gain,
            "noise": found.noise,
            "trials": len(found.trials),
        },
        {"labelwright.verdict": found.verdict},
    )
    with temporary_folder() as folder:
        toml, csv = folder / "best.toml", folder / "trials.csv"
        toml.write_text(f"# {found.verdict}\n{to_toml(found.best.configuration)}", "utf-8")
        pyarrow.csv.write_csv(table(found), csv)
        run.store(toml)
        run.store(csv)


def table(found: Tuning) -> pa.Table:
    """One row for each trial."""
    return pa.Table.from_pylist(
        [
            {"trial": trial.number}
            | {name: getattr(trial.configuration, name) for name in SPACE}
            | {f"ndcg_at_{DEPTH}": trial.mean, "seconds": round(trial.seconds, 3)}
            for trial in found.trials
        ]
    )
