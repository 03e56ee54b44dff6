"""How labelling grows with the workers of a Ray cluster, worked out from what each step takes.

The workers share reading, labelling and packing. Nobody shares what the process does that writes:
receiving and writing. Beside what follows from that stands what the command took on this machine,
from the difference of two files, which leaves its start out.
"""

import argparse
import dataclasses
import json
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
from labelwright.service.bulk.ray import packed, unpacked
from labelwright.service.bulk.worker import Work

TIMED = 131_072
"""Rows of which each step is timed."""
ROWS = (1_000_000, 3_000_000)
WORKERS = (1, 2, 4, 8, 16, 32, 64)
PLACES = 64_000_000
"""The places of the world, see the Overture Maps."""
HOURS = 3_600.0
STEP = (tables.Column("us/row", 2),)
RATE = tables.Column("rows a second", 0)
CURVE = (RATE, tables.Column("times one worker", 1), tables.Column("minutes for the world", 1))
RUN = (RATE, tables.Column("worked out", 0), tables.Column("seconds to start", 1))


@dataclasses.dataclass(frozen=True)
class Steps:
    """Microseconds that a row takes in each step."""

    reading: float
    labelling: float
    packing: float
    receiving: float
    writing: float

    def rate(self, workers: int) -> float:
        """Rows a second: the slower of what is shared by the workers, and of what is not."""
        shared = (self.reading + self.labelling + self.packing) / workers
        return 1e6 / max(shared, self.receiving + self.writing)


@dataclasses.dataclass(frozen=True)
class Run:
    """Rows a second of the command with that many workers, and what its start takes."""

    workers: int
    rate: float
    start: float


def steps(bundle: Bundle, source: Path, work: Path) -> Steps:
    """Time each step of the same rows on one thread."""
    schema, label = bundle.labeler.schema, Work(bundle, LabelQuery(), None)
    part = Part(locate(source), 0, 0, TIMED)
    reading, batches = _timed(lambda: list(read_part(part, schema)))
    label(batches[0])  # kernels are compiled
    labelling, done = _timed(lambda: [label(batch) for batch in batches])
    packing, sent = _timed(lambda: [packed(one.records) for one in done])
    arrived = pa.array(sent, pa.large_binary())
    receiving, records = _timed(lambda: [unpacked(one) for one in arrived])

    def write() -> None:
        with predictions_file(work / "out.parquet") as append:
            for table in records:
                append(table)

    writing, _ = _timed(write)
    rows = sum(map(len, records))
    taken = (reading, labelling, packing, receiving, writing)
    return Steps(*(1e6 * seconds / rows for seconds in taken))


def _timed(what: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    found = what()
    return time.perf_counter() - began, found


def run(files: Sequence[Path], rows: Sequence[int], model: str, workers: int, work: Path) -> Run:
    """Label two files with the command, on a cluster that is started for it."""
    seconds = []
    for file in files:
        given = ("label", file, work / "out.parquet", "--model", model)
        engine = ("--engine", "ray", "--threads", workers)
        command = [sys.executable, "-m", "labelwright", *map(str, (*given, *engine))]
        seconds.append(run_measured(command, HOURS, work / "log.txt", folder=ROOT).seconds)
    rate = (rows[1] - rows[0]) / (seconds[1] - seconds[0])
    return Run(workers, rate, seconds[0] - rows[0] / rate)


def document(facts: dict[str, str], found: Steps, runs: Sequence[Run]) -> str:
    """The whole page."""
    named = [tables.Line(*_told(step), {STEP[0].title: us}) for step, us in _by_name(found)]
    return "\n".join(
        [
            "# Labelling on a cluster\n",
            "Written by `make bench-scaling`: the model of real places, on made ones.\n",
            tables.listed(facts),
            "## What a row takes\n",
            tables.markdown(("step", "done by"), STEP, named),
            "## The command on this machine, `--engine ray`\n",
            tables.markdown(("workers", "engine"), RUN, list(_run_lines(found, runs))),
            "## Worked out\n",
            "The process that writes is the limit where the rate no longer grows.\n",
            tables.markdown(("workers", "rows"), CURVE, list(_curve(found))),
        ]
    )


def _by_name(found: Steps) -> list[tuple[str, float]]:
    return list(dataclasses.asdict(found).items())


def _told(step: str) -> tuple[str, str]:
    return step, "the writer" if step in ("receiving", "writing") else "each worker"


def _run_lines(found: Steps, runs: Sequence[Run]) -> Iterator[tables.Line]:
    for one in runs:
        expected = found.rate(one.workers)
        figures = {RUN[0].title: one.rate, RUN[1].title: expected, RUN[2].title: one.start}
        yield tables.Line(str(one.workers), "ray", figures)


def _curve(found: Steps) -> Iterator[tables.Line]:
    for workers in WORKERS:
        rate = found.rate(workers)
        times, minutes = rate / found.rate(1), PLACES / rate / 60
        figures = dict(zip((c.title for c in CURVE), (rate, times, minutes), strict=True))
        yield tables.Line(str(workers), f"{PLACES / 1e6:.0f} million", figures)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, and beside it all figures as JSON."""
    parser = argparse.ArgumentParser(prog="make bench-scaling", description=__doc__)
    options.add_data(parser)
    options.add_threads(parser)
    options.add_output(parser, "scaling.md")
    parser.add_argument("--model", required=True, metavar="URI", help="a model of real places")
    parser.add_argument("--rows", type=int, nargs=2, default=ROWS, metavar="N", help="of files")
    given = parser.parse_args(arguments)
    if not TIMED <= given.rows[0] < given.rows[1]:
        parser.error(f"the second file must be the larger, the first of at least {TIMED:,} rows")
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
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(document(facts, found, runs), "utf-8")
    content = {
        "facts": facts,
        "steps": dataclasses.asdict(found),
        "runs": [dataclasses.asdict(one) for one in runs],
    }
    given.output.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    print(document(facts, found, runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
