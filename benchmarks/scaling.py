"""Labelling rate on a Ray cluster by number of workers, predicted from the time of each step.

The workers do reading, labelling and packing in parallel. One process does receiving and writing.
The prediction is compared with the measured rate of the command on this machine. This rate is
computed from the difference between two files of different sizes, so it does not include the start.
"""

import argparse
import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks import options, tables
from benchmarks.environments import ROOT
from benchmarks.perturbed import write_perturbed
from benchmarks.processes import run_measured
from labelwright.entities.io.locations import locate
from labelwright.entities.io.splits import Part, read_part
from labelwright.entities.io.writers import predictions_file
from labelwright.models.bundle.format import Bundle
from labelwright.models.decisions import LabelQuery
from labelwright.models.registry import load_model
from labelwright.service.bulk.record_file import from_stream, to_stream
from labelwright.service.bulk.worker import BatchLabeler

TIMED = 131_072
"""Number of rows on which each step is timed."""
ROWS = (1_000_000, 3_000_000)
WORKERS = (1, 2, 4, 8, 16, 32, 64)
WORLD_PLACES = 64_000_000
"""Number of places in the world in Overture Maps."""
HOUR = 3_600.0
WRITER, WRITER_STEPS = "the writer", ("receiving", "writing")
STEP = (tables.Column("us/row", 2),)
RATE = tables.Column("rows a second", 0)
CURVE = (RATE, tables.Column("times one worker", 1), tables.Column("minutes for the world", 1))
RUN = (RATE, tables.Column("predicted", 0), tables.Column("seconds to start", 1))


@dataclasses.dataclass(frozen=True)
class Steps:
    """Microseconds per row of each step."""

    reading: float
    labelling: float
    packing: float
    receiving: float
    writing: float

    def rate(self, workers: int) -> float:
        """Rows per second: the lower of the rate of all workers and the rate of the writer."""
        shared = (self.reading + self.labelling + self.packing) / workers
        return 1e6 / max(shared, self.receiving + self.writing)


@dataclasses.dataclass(frozen=True)
class Run:
    """Rows per second of the command with `workers` workers, and the seconds of its start."""

    workers: int
    rate: float
    start: float


def steps(bundle: Bundle, input_: Path, work: Path) -> Steps:
    """Time each step on one thread, with the same rows."""
    schema, label = bundle.labeler.schema, BatchLabeler(bundle, LabelQuery(), None)
    part = Part(locate(input_), 0, 0, TIMED)
    reading, batches = _timed(lambda: list(read_part(part, schema)))
    label(batches[0])  # compiles the kernels
    labelling, done = _timed(lambda: [label(batch) for batch in batches])
    packing, sent = _timed(lambda: [to_stream(one.records).to_pybytes() for one in done])
    arrived = pa.array(sent, pa.large_binary())
    receiving, records = _timed(lambda: [from_stream(one.as_buffer()) for one in arrived])

    def write() -> None:
        with predictions_file(work / "out.parquet") as append:
            for table in records:
                append(table)

    writing, _ = _timed(write)
    rows = sum(map(len, records))
    taken = (reading, labelling, packing, receiving, writing)
    return Steps(*(1e6 * seconds / rows for seconds in taken))


def _timed(task: Callable[[], Any]) -> tuple[float, Any]:
    """Run a task; returns its seconds and its result."""
    began = time.perf_counter()
    result = task()
    return time.perf_counter() - began, result


def run(files: Sequence[Path], rows: Sequence[int], model: str, workers: int, work: Path) -> Run:
    """Label two files with the command; it starts a cluster for each file."""
    seconds = []
    for file in files:
        given = ("label", file, work / "out.parquet", "--model", model)
        engine = ("--engine", "ray", "--threads", workers)
        command = [sys.executable, "-m", "labelwright", *map(str, (*given, *engine))]
        seconds.append(run_measured(command, HOUR, work / "log.txt", folder=ROOT).seconds)
    rate = (rows[1] - rows[0]) / (seconds[1] - seconds[0])
    return Run(workers, rate, seconds[0] - rows[0] / rate)


def document(facts: dict[str, str], found: Steps, runs: Sequence[Run]) -> str:
    """The page in Markdown."""
    step_lines = [
        tables.Line(step, WRITER if step in WRITER_STEPS else "each worker", {STEP[0].title: us})
        for step, us in dataclasses.asdict(found).items()
    ]
    return "\n".join(
        [
            "# Labelling on a cluster\n",
            "Written by `make bench-scaling`: a model of real places labels synthetic places.\n",
            tables.listed(facts),
            "## Time of a row\n",
            tables.markdown(("step", "process"), STEP, step_lines),
            "## The command on this machine, `--engine ray`\n",
            tables.markdown(("workers", "engine"), RUN, list(_run_lines(found, runs))),
            "## Prediction\n",
            "If more workers do not increase the rate, the process that writes is the limit.\n",
            tables.markdown(("workers", "rows"), CURVE, list(_curve(found))),
        ]
    )


def _run_lines(found: Steps, runs: Sequence[Run]) -> Iterator[tables.Line]:
    for one in runs:
        figures = (one.rate, found.rate(one.workers), one.start)
        yield tables.Line(str(one.workers), "ray", tables.by_title(RUN, figures))


def _curve(found: Steps) -> Iterator[tables.Line]:
    for workers in WORKERS:
        rate = found.rate(workers)
        times, minutes = rate / found.rate(1), WORLD_PLACES / rate / 60
        figures = tables.by_title(CURVE, (rate, times, minutes))
        yield tables.Line(str(workers), f"{WORLD_PLACES / 1e6:.0f} million", figures)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, and a JSON file with all figures in the folder of the page."""
    parser = argparse.ArgumentParser(prog="make bench-scaling", description=__doc__)
    options.add_data(parser)
    options.add_threads(parser)
    options.add_output(parser, "scaling.md")
    parser.add_argument("--model", required=True, metavar="URI", help="a model of real places")
    parser.add_argument(
        "--rows", type=int, nargs=2, default=ROWS, metavar="N", help="rows of the two files"
    )
    given = parser.parse_args(arguments)
    if not TIMED <= given.rows[0] < given.rows[1]:
        parser.error(f"--rows: expected N1 N2 with {TIMED:,} <= N1 < N2")
    facts = tables.machine()
    given.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        work, real = Path(folder), given.data / "places" / "maine.parquet"
        files = [work / f"{rows}.parquet" for rows in given.rows]
        for file, rows in zip(files, given.rows, strict=True):
            write_perturbed(real, file, rows)
        found = steps(load_model(given.model).bundle, files[0], work)
        counts = sorted({1, given.threads})
        runs = [run(files, given.rows, given.model, count, work) for count in counts]
    content = {
        "facts": facts,
        "steps": dataclasses.asdict(found),
        "runs": [dataclasses.asdict(one) for one in runs],
    }
    tables.write_page(given.output, document(facts, found, runs), content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
