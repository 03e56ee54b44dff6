"""Growth of the cost of training with rows and labels, by stage, on real places.

Some models are trained on a part of the rows with all labels, other models on all rows with only
the most frequent labels. Exponents of rows and labels are fitted to the times. The page is written
again after every training, so Ctrl-C keeps the finished trainings.
"""

import argparse
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import options, tables
from benchmarks.environments import ROOT
from benchmarks.growth import exponent
from benchmarks.processes import ProcessError, ProcessTimeoutError, run_measured
from benchmarks.sets import SETS, DataSet, sample, with_frequent_labels

INTERRUPTED = 130
"""Exit code after Ctrl-C."""
ROWS = (50_000, 100_000, 200_000, 400_000)
LABELS = (100, 400, 800)
STAGES = ("reading", "features", "linear stage", "reranker", "evaluation", "record", "promotion")
WARM_UP_ROWS = 200


@dataclasses.dataclass(frozen=True)
class Training:
    """One training: its size, the seconds of the job, and seconds and peak bytes of each stage."""

    rows: int
    labels: int
    seconds: float = 0.0
    stages: Mapping[str, float] = dataclasses.field(default_factory=dict)
    peak_bytes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    note: str = ""


def document(data_set: str, trainings: Sequence[Training], facts: Mapping[str, str]) -> str:
    """The page in Markdown: seconds and memory of each training, and exponents."""
    done = [training for training in trainings if not training.note]
    most_rows = max((t.rows for t in done), default=0)
    most_labels = max((t.labels for t in done), default=0)
    by_rows = [t for t in done if t.labels == most_labels]
    by_labels = [t for t in done if t.rows == most_rows]
    columns = [tables.Column("whole job", 1), *(tables.Column(stage, 1) for stage in STAGES)]
    seconds = [_line(t, {"whole job": t.seconds, **t.stages}) for t in trainings]
    largest = [tables.Column("largest", 0), *(tables.Column(stage, 0) for stage in STAGES)]
    memory = [
        _line(t, {name: size / 1e6 for name, size in _with_largest(t).items()}) for t in trainings
    ]
    growth = [tables.Column(column.title, 2) for column in columns]
    exponents = [
        tables.Line("rows", f"{len(by_rows)} sizes", _exponents(by_rows, "rows")),
        tables.Line("labels", f"{len(by_labels)} sizes", _exponents(by_labels, "labels")),
    ]
    return "\n".join(
        [
            "# The cost of training\n",
            f"Written by `make bench-training`: the set {data_set}, the default configuration.\n",
            tables.listed(facts),
            "## Seconds\n",
            tables.markdown(("rows", "labels"), columns, seconds),
            "## Peak memory, MB (10^6 bytes)\n",
            tables.markdown(("rows", "labels"), largest, memory),
            "## Exponents\n",
            "The time grows as size^x. The exponent x is fitted by least squares of the "
            "logarithms. The exponent\nof rows is fitted to the trainings with all labels, the "
            "exponent of labels to the trainings with\nall rows.\n",
            tables.markdown(("of", "from"), growth, exponents),
        ]
    )


def _line(training: Training, figures: Mapping[str, float]) -> tables.Line:
    shown = {} if training.note else figures
    return tables.Line(f"{training.rows:,}", f"{training.labels:,}", shown, training.note)


def _with_largest(training: Training) -> dict[str, float]:
    return {"largest": max(training.peak_bytes.values(), default=0), **training.peak_bytes}


def _exponents(trainings: Sequence[Training], size: str) -> dict[str, tables.Figure]:
    sizes = [float(getattr(training, size)) for training in trainings]
    costs = {"whole job": [training.seconds for training in trainings]}
    costs |= {stage: [t.stages.get(stage, 0.0) for t in trainings] for stage in STAGES}
    return {name: exponent(sizes, spent) for name, spent in costs.items()}


def plan(
    rows: Sequence[int], labels: Sequence[int], all_rows: int, all_labels: int
) -> list[tuple[int, int]]:
    """Sizes (rows, labels) of the trainings without duplicates; the full size is the last one."""
    sizes = [(n, all_labels) for n in rows if n < all_rows]
    sizes += [(all_rows, n) for n in labels if n < all_labels]
    return [*dict.fromkeys(sizes), (all_rows, all_labels)]


def measure(
    table: pa.Table, test: Path, schema: str, labels: int, work: Path, minutes: float, threads: int
) -> Training:
    """Train once on a table, in a separate process with its own state folder."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    data, output, log = work / "train.parquet", work / "outcome.json", work / "log.txt"
    pq.write_table(table, data)
    command = [
        *(
            sys.executable,
            "-m",
            f"{__package__}.staged_training",
            str(data),
            str(test),
            str(output),
        ),
        *("--schema", schema, "--threads", str(threads)),
    ]
    environment = {name: v for name, v in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment["LABELWRIGHT_HOME"] = str(work / "home")
    try:
        run_measured(command, 60 * minutes, log, environment, ROOT)
    except ProcessTimeoutError as error:
        return Training(len(table), labels, note=str(error))
    except ProcessError as error:
        return Training(len(table), labels, note=f"failed: {error}")
    outcome: dict[str, Any] = json.loads(output.read_text("utf-8"))
    shutil.rmtree(work)
    return Training(
        len(table), labels, outcome["seconds"], outcome["stages"], outcome["peak_bytes"]
    )


def carry_out(data_set: DataSet, given: argparse.Namespace) -> None:
    """Train at every size, and write the page after each training."""
    facts = tables.machine()
    table = pq.read_table(given.data / data_set.train)
    test = (given.data / next(iter(data_set.tests.values()))).resolve()
    labels = len(pc.unique(table["labels"].combine_chunks().flatten()))
    work = given.work.resolve() / "training_cost"

    def train(rows: int, count: int) -> Training:
        subset = sample(with_frequent_labels(table, count) if count < labels else table, rows)
        minutes, threads = given.minutes, given.threads
        return measure(subset, test, data_set.schema, count, work, minutes, threads)

    train(WARM_UP_ROWS, labels)  # compiles the kernels
    trainings: list[Training] = []
    for rows, count in plan(given.rows, given.labels, len(table), labels):
        print(f"{rows:,} rows, {count:,} labels", flush=True)
        trainings.append(train(rows, count))
        _write(given.output, data_set.name, trainings, facts)


def _write(
    file: Path, data_set: str, trainings: Sequence[Training], facts: Mapping[str, str]
) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(document(data_set, trainings, facts), "utf-8")
    content = {
        "set": data_set,
        "facts": facts,
        "trainings": [dataclasses.asdict(t) for t in trainings],
    }
    file.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    names = [s.name for s in SETS]
    top = argparse.ArgumentParser(prog="python -m benchmarks.training_cost", description=__doc__)
    top.add_argument("--set", choices=names, default="places", help="default: places")
    top.add_argument(
        "--rows",
        type=int,
        nargs="*",
        default=ROWS,
        metavar="N",
        help=f"numbers of rows besides all (default: {ROWS})",
    )
    top.add_argument(
        "--labels",
        type=int,
        nargs="*",
        default=LABELS,
        metavar="N",
        help=f"numbers of labels besides all (default: {LABELS})",
    )
    options.add_minutes(top, 30.0, "training")
    options.add_data(top)
    options.add_threads(top)
    options.add_output(top, "training_cost.md")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark with the given arguments; returns the exit code."""
    given = parser().parse_args(arguments)
    data_set = next(s for s in SETS if s.name == given.set)
    if missing := data_set.missing(given.data):
        print(f"no file {missing[0]}: give --data or set LABELWRIGHT_DATA", file=sys.stderr)
        return 1
    try:
        carry_out(data_set, given)
    except KeyboardInterrupt:
        print(f"interrupted: {given.output} has the finished trainings", file=sys.stderr)
        return INTERRUPTED
    print(given.output.read_text("utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
