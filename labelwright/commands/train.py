"""Train a model, record the run, register a version, and promote it if it is not worse.

The data needs a column `labels` with lists of strings; in CSV, labels are separated by `|`. Without
--test, the rows of a tenth of the names are held out to measure the model. The promotion gate
compares the new version with the champion, by cross-validation if there are few rows, and prints
its verdict.
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
    "embedding": 200,
    "features": 10,
    "linear stage": 55,
    "reranker": 15,
    "evaluation": 5,
    "record": 8,
    "promotion": 2,
}
"""Estimated time of each stage, for the progress bar. Only tasks with an encoder embed texts; in a
second training, the vectors come from the cache."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    options.add_data(parser)
    options.add_test(parser)
    _add_teacher(parser)
    options.add_label_book(parser)
    _add_base(parser)
    options.add_feedback(parser)
    options.add_schema(parser)
    parser.add_argument("--name", help="registered name (default: the schema's name)")
    parser.add_argument(
        "--min-count",
        type=options.positive,
        default=1,
        metavar="N",
        help="leave out labels with fewer than N rows (default: 1)",
    )
    parser.add_argument(
        "--seed",
        type=options.whole,
        default=0,
        metavar="N",
        help="seed of the random numbers (default: 0)",
    )
    parser.add_argument(
        "--configuration",
        metavar="FILE",
        help="TOML file with the configuration, as printed by `labelwright tune`",
    )
    options.add_threads(parser)
    parser.add_argument(
        "--memory",
        type=options.size,
        metavar="SIZE",
        help="maximum memory for the features and the variables of the fit, for example 16GB; the "
        "rest is kept in files in LABELWRIGHT_HOME; the model does not depend on it (default: no "
        "limit)",
    )
    parser.add_argument(
        "--no-promote", action="store_true", help="register the version without changing an alias"
    )
    options.add_json(parser)


def _add_teacher(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--unlabelled",
        nargs="+",
        action="extend",
        metavar="PATH",
        help="files of rows without labels; the teacher of --encoder labels these rows, and the "
        "model learns from them, as from the rows of --data whose labels are null",
    )
    parser.add_argument(
        "--encoder",
        metavar="FOLDER|NAME",
        help="sentence encoder that teaches the model on rows without labels: a folder with "
        "model.onnx and tokenizer.json, or an installed package; only training needs it",
    )
    parser.add_argument(
        "--encoder-tokenizer",
        metavar="FILE|NAME",
        help="tokenizer.json of the encoder, or an installed package with this file (default: the "
        "file beside the model)",
    )


def _add_base(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--base",
        metavar="URI",
        help="another model of the same columns, whose knowledge is the start of the training: a "
        "bundle folder, runs:/RUN_ID/model, models:/NAME@ALIAS or models:/NAME/VERSION",
    )


def run(arguments: argparse.Namespace) -> None:
    """Train and print the outcome."""
    from labelwright.training.job import train

    task = task_of(arguments)
    with progress_bar(task) as progress:
        outcome = train(task, progress)
    report(outcome)
    if arguments.json:
        print(json.dumps(summary(outcome)))


def task_of(arguments: argparse.Namespace) -> "Task":
    """Build the training task from the options; raises DataError."""
    configuration = dataclasses.replace(
        _configuration(arguments.configuration),
        min_count=arguments.min_count,
        seed=arguments.seed,
        threads=arguments.threads,
    )
    return options.task(arguments, configuration, promote=not arguments.no_promote)


@contextlib.contextmanager
def progress_bar(task: "Task") -> "Iterator[Progress]":
    """Show a progress bar on standard error, if standard error is a terminal."""
    total = sum(_SHARES.values()) - (0 if task.encoder else _SHARES["embedding"])
    with tqdm(total=total, disable=None, leave=False, bar_format=_BAR) as bar:

        def progress(stage: str, share: float) -> None:
            bar.set_description(stage)
            bar.update(min(share * _SHARES[stage], total - bar.n))

        yield progress


_BAR = "{desc} {percentage:3.0f}% |{bar}| {elapsed}, {remaining} left"


def _configuration(file: str | None) -> "Configuration":
    from labelwright.training.fitting.fit import Configuration

    if file is None:
        return Configuration()
    try:
        return Configuration.from_mapping(tomllib.loads(Path(file).read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(
            f"--configuration {file}: {error}; expected TOML as printed by `labelwright tune`"
        ) from error


def report(outcome: "Outcome") -> None:
    """Print the outcome of a training."""
    from labelwright.training.evaluation.metrics import TOO_FEW

    options.warn(outcome.warnings)
    evaluation, value = outcome.evaluation, outcome.evaluation.with_margin
    distinct = "p_at_1_labelled" in evaluation.metrics.distinct
    of_labelled = f" ({value('p_at_1_labelled', 2)} on rows with a label)" if distinct else ""
    quotable = "" if evaluation.quotable else f", {TOO_FEW}"
    one_group = evaluation.metrics.accuracy is not None
    accuracy = f"accuracy {value('accuracy', 3)}, " if one_group else ""
    decided = "promoted" if outcome.verdict.promoted else "not promoted"
    print(f"run      {outcome.registered.run_id}")
    print(f"model    {outcome.registered.uri}")
    print(
        f"metrics  {accuracy}P@1 {value('p_at_1', 2)}{of_labelled}, "
        f"P@3 {value('p_at_3', 2)}, P@5 {value('p_at_5', 2)}, "
        f"micro-F1 {value('micro_f1', 3)}, macro-F1 {value('macro_f1', 3)}, "
        f"calibration error {value('ece', 4)} on {evaluation.metrics.rows:,} test rows{quotable}"
    )
    for part in outcome.agreements:
        before = "" if part.before is None else f", {part.before:,} before"
        print(
            f"reviews  {part.after:,} of {part.verdicts:,} verdicts on {part.entities:,} corrected "
            f"entities {part.part} agree with reviewers{before}"
        )
    print(f"champion {decided}: {outcome.verdict.reason}")
    print(f"seconds  {outcome.seconds:.1f}")


def summary(outcome: "Outcome") -> dict[str, object]:
    """The outcome as the JSON object of `--json`."""
    from labelwright.api import TrainingResult

    content = dataclasses.asdict(TrainingResult.of(outcome))
    del content["warnings"]  # they are on standard error
    return {**content, "corrections": [dataclasses.asdict(part) for part in outcome.agreements]}
