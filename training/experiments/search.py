"""Search for a better configuration: search space, trials, and the noise in the best gain."""

import dataclasses
import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from labelwright.entities.errors import LabelwrightError
from labelwright.models.kernels.simd import LEAVES
from labelwright.training.evaluation.answers import RowScores
from labelwright.training.evaluation.intervals import CONFIDENCE, RESAMPLES
from labelwright.training.fitting.fit import Configuration

SPACE: dict[str, tuple[float, float, bool]] = {
    "cost": (0.05, 2.0, True),
    "passes": (2, 5, False),
    "candidates": (10, 25, False),
    "trees": (50, 300, True),
    "leaves": (7, LEAVES, True),
    "rate": (0.03, 0.2, True),
}
"""Searched fields of the configuration: lowest value, highest value, and True for a log scale."""
_BLOCK = 50
"""Number of resamples that are drawn at a time."""

Objective = Callable[[int, Configuration], RowScores]


@dataclasses.dataclass(frozen=True)
class Trial:
    """One configuration and its quality: the nDCG of each validation row."""

    number: int
    configuration: Configuration
    quality: RowScores
    seconds: float

    @property
    def mean(self) -> float:
        """The mean nDCG."""
        return float(self.quality.mean())


def load_optuna() -> Any:
    """The library Optuna; raises LabelwrightError if it is not installed."""
    try:
        return importlib.import_module("optuna")
    except ModuleNotFoundError as error:
        raise LabelwrightError(
            f"tuning needs {error.name}, which is not installed: install requirements/train.txt"
        ) from error


def search(objective: Objective, first: Configuration, seconds: float) -> Iterator[Trial]:
    """Yield trials for about `seconds`: first of the configuration `first`, then of proposed ones.

    A seeded TPE sampler proposes configurations (Bergstra et al., NeurIPS 2011). A trial is not
    started if its estimated end is after the deadline. The estimate of its duration is the mean
    duration of the earlier trials.
    """
    optuna = load_optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=first.seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.enqueue_trial({name: getattr(first, name) for name in SPACE})
    started = time.perf_counter()
    count = 0
    while True:
        trial_started = time.perf_counter()
        passed = trial_started - started
        if count and passed + passed / count > seconds:
            return
        proposal = study.ask()
        configuration = _proposed(proposal, first)
        quality = objective(count, configuration)
        study.tell(proposal, float(quality.mean()))
        yield Trial(count, configuration, quality, time.perf_counter() - trial_started)
        count += 1


def _proposed(proposal: Any, first: Configuration) -> Configuration:
    """The proposed configuration, with numbers rounded to three significant digits."""
    values: dict[str, Any] = {}
    for name, (lowest, highest, log) in SPACE.items():
        if isinstance(getattr(first, name), int):
            values[name] = proposal.suggest_int(name, int(lowest), int(highest), log=log)
        else:
            values[name] = float(f"{proposal.suggest_float(name, lowest, highest, log=log):.3g}")
    return dataclasses.replace(first, **values)


def best_trial(trials: Sequence[Trial]) -> Trial:
    """The trial with the largest mean nDCG, or the earliest of several such trials."""
    return max(trials, key=lambda trial: trial.mean)


def noise(trials: Sequence[Trial], seed: int) -> float:
    """The largest gain of the best trial that chance alone explains, at the level CONFIDENCE.

    Gains are differences from the first trial, in units of their standard errors (Romano & Wolf,
    Econometrica 2005). A bootstrap over rows gives the CONFIDENCE quantile of the largest gain, if
    no trial is really better (White's reality check, Econometrica 2000). The result is this
    quantile times the standard error of the best trial's gain. Gains are paired by row, so the
    noise includes the effect of another seed on single rows.
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
