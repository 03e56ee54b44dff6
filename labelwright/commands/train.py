"""Train a model, record the run, register the model, and promote it or say why not.

The input needs a `labels` column: lists of strings, in CSV separated by `|`. Without --test, a
tenth of the names is held out to measure the model with.
"""

import argparse
import dataclasses
import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from entities.errors import DataError
from labelwright.commands import options

if TYPE_CHECKING:
    from training.fit import Configuration
    from training.job import Outcome

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
    from training.job import train

    configuration = dataclasses.replace(
        _configuration(given.configuration),
        min_count=given.min_count,
        seed=given.seed,
        threads=given.threads,
    )
    task = options.task(given, configuration, promote=not given.no_promote)
    with tqdm(total=100, unit="%", disable=None, leave=False, bar_format=_BAR) as bar:

        def progress(stage: str, share: float) -> None:
            bar.set_description(stage)
            bar.update(min(share * _SHARES[stage], 100 - bar.n))

        outcome = train(task, progress)
    options.warn(outcome.warnings)
    _print(outcome)
    if given.json:
        print(json.dumps(_summary(outcome)))


_BAR = "{desc} {percentage:3.0f}% |{bar}| {elapsed}"


def _configuration(file: str | None) -> "Configuration":
    from training.fit import Configuration

    if file is None:
        return Configuration()
    try:
        return Configuration.from_mapping(tomllib.loads(Path(file).read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(f"configuration {file!r} cannot be read: {error}") from error


def _print(outcome: "Outcome") -> None:
    metrics = outcome.evaluation.metrics
    decided = "promoted" if outcome.verdict.promoted else "not promoted"
    print(f"run      {outcome.registered.run_id}")
    print(f"model    {outcome.registered.uri}")
    print(
        f"metrics  P@1 {metrics.p_at_1:.2f}, P@3 {metrics.p_at_3:.2f}, P@5 {metrics.p_at_5:.2f}, "
        f"micro-F1 {metrics.micro_f1:.3f}, macro-F1 {metrics.macro_f1:.3f}, "
        f"calibration error {metrics.ece:.4f} on {metrics.rows:,} test rows"
    )
    print(f"champion {decided}: {outcome.verdict.reason}")
    print(f"seconds  {outcome.seconds:.1f}")


def _summary(outcome: "Outcome") -> dict[str, object]:
    return {
        "run_id": outcome.registered.run_id,
        "model_uri": outcome.registered.uri,
        "version": outcome.registered.version,
        "promoted": outcome.verdict.promoted,
        "reason": outcome.verdict.reason,
        "seconds": round(outcome.seconds, 2),
        "metrics": dataclasses.asdict(outcome.evaluation.metrics),
    }
