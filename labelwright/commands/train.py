"""Train a model, record the run, register the model, and promote it or say why not.

The input needs a `labels` column: lists of strings, in CSV separated by `|`. Without --test, a
tenth of the names is held out to measure the model with.
"""

import argparse
import contextlib
import dataclasses
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from labelwright.commands import options
from labelwright.entities.errors import DataError

if TYPE_CHECKING:
    from labelwright.training.fitting.fit import Configuration, Progress
    from labelwright.training.job import Outcome, Task

_SHARES = {
    "reading": 5,
    "features": 10,
    "linear stage": 55,
    "reranker": 15,
    "evaluation": 5,
    "record": 8,
    "promotion": 2,
}
"""About how many percent of the time each stage takes."""


def configure(parser: argparse.ArgumentParser) -> None:
    """State the options."""
    options.add_data(parser)
    options.add_test(parser)
    options.add_feedback(parser)
    options.add_schema(parser)
    parser.add_argument("--name", help="registered name (default: the schema's)")
    parser.add_argument(
        "--min-count",
        type=options.positive,
        default=1,
        metavar="N",
        help="leave out labels of fewer rows (default: 1)",
    )
    parser.add_argument("--seed", type=options.whole, default=0, metavar="N", help="default: 0")
    parser.add_argument(
        "--configuration", metavar="FILE", help="TOML as `labelwright tune` prints it"
    )
    options.add_threads(parser)
    parser.add_argument(
        "--memory",
        type=options.size,
        metavar="SIZE",
        help="how much of the features and of the fit's variables lies in memory, like 16GB; the "
        "rest lies in files of LABELWRIGHT_HOME, and the model is the same (default: all)",
    )
    parser.add_argument("--no-promote", action="store_true", help="register, but change no alias")
    options.add_json(parser)


def run(given: argparse.Namespace) -> None:
    """Train and print what came of it."""
    from labelwright.training.job import train

    task = task_of(given)
    with progress_bar() as progress:
        outcome = train(task, progress)
    report(outcome)
    if given.json:
        print(json.dumps(summary(outcome)))


def task_of(given: argparse.Namespace) -> "Task":
    """What the options ask for."""
    configuration = dataclasses.replace(
        _configuration(given.configuration),
        min_count=given.min_count,
        seed=given.seed,
        threads=given.threads,
    )
    return options.task(given, configuration, promote=not given.no_promote)


@contextlib.contextmanager
def progress_bar() -> "Iterator[Progress]":
    """A bar on standard error, if that is a terminal, until the work is done."""
    with tqdm(total=100, unit="%", disable=None, leave=False, bar_format=_BAR) as bar:

        def progress(stage: str, share: float) -> None:
            bar.set_description(stage)
            bar.update(min(share * _SHARES[stage], 100 - bar.n))

        yield progress


_BAR = "{desc} {percentage:3.0f}% |{bar}| {elapsed}"


def _configuration(file: str | None) -> "Configuration":
    from labelwright.training.fitting.fit import Configuration

    if file is None:
        return Configuration()
    try:
        return Configuration.from_mapping(tomllib.loads(Path(file).read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(f"configuration {file!r} cannot be read: {error}") from error


def report(outcome: "Outcome") -> None:
    """Print what came of a training."""
    options.warn(outcome.warnings)
    metrics = outcome.evaluation.metrics
    decided = "promoted" if outcome.verdict.promoted else "not promoted"
    print(f"run      {outcome.registered.run_id}")
    print(f"model    {outcome.registered.uri}")
    print(
        f"metrics  P@1 {metrics.p_at_1:.2f}, P@3 {metrics.p_at_3:.2f}, P@5 {metrics.p_at_5:.2f}, "
        f"micro-F1 {metrics.micro_f1:.3f}, macro-F1 {metrics.macro_f1:.3f}, "
        f"calibration error {metrics.ece:.4f} on {metrics.rows:,} test rows"
    )
    for part in outcome.agreements:
        before = "" if part.before is None else f", {part.before:,} before"
        print(
            f"reviews  {part.after:,} of {part.verdicts:,} verdicts on {part.entities:,} corrected "
            f"entities {part.part} are as reviewers say{before}"
        )
    print(f"champion {decided}: {outcome.verdict.reason}")
    print(f"seconds  {outcome.seconds:.1f}")


def summary(outcome: "Outcome") -> dict[str, object]:
    """The outcome as the JSON object of `--json`."""
    from labelwright.api import TrainingResult

    content = dataclasses.asdict(TrainingResult.of(outcome))
    del content["warnings"]  # they are on standard error
    return {**content, "corrections": [dataclasses.asdict(part) for part in outcome.agreements]}
