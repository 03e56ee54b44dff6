"""Training on more rows than fit into memory: time, memory and quality.

The rows are labelled synthetic places: real places with their labels, but in most names, addresses,
telephone numbers and websites one letter or digit is replaced. The table gives the memory with and
without memory-mapped files, because the system can free the memory of mapped files at any time.
"""

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import options, tables
from benchmarks.environments import ROOT
from benchmarks.perturbed import ALTERED, altered
from benchmarks.processes import last_line

ROWS = 10_000_000
PART = 500_000
"""Number of rows of one file."""
MEMORY = "12GB"
SAMPLING_SECONDS = 0.5
"""Seconds between two samples of the memory."""
COLUMNS = (
    tables.Column("minutes", 1),
    tables.Column("own memory MB", 0),
    tables.Column("with mapped files MB", 0),
    tables.Column("P@1", 2),
    tables.Column("P@5", 2),
)


@dataclasses.dataclass(frozen=True)
class Training:
    """Seconds of a training, and its peak memory without and with memory-mapped files."""

    rows: int
    memory: str
    seconds: float
    own_bytes: int
    all_bytes: int
    p_at_1: float
    p_at_5: float


def write_synthetic(real_places: Path, folder: Path, rows: int, seed: int = 0) -> None:
    """Write `rows` labelled synthetic places into a folder of Parquet files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    real, random = pq.read_table(real_places), np.random.default_rng(seed)
    for first in range(0, rows, PART):
        count = min(PART, rows - first)
        part = real.take(pa.array(random.integers(0, len(real), count)))
        for name in ALTERED:
            changed = altered(part[name].combine_chunks(), random)
            part = part.set_column(part.column_names.index(name), name, changed)
        ids = pa.array(np.arange(first, first + count)).cast(pa.string())
        part = part.set_column(part.column_names.index("id"), "id", ids)
        pq.write_table(part, folder / f"{first:09}.parquet", compression="zstd")


def train(data: Path, test: Path, rows: int, memory: str, threads: int, work: Path) -> Training:
    """Run `labelwright train`; if it fails, raises RuntimeError with the last line of its log."""
    given = ("--data", data, "--test", test, "--name", "made", "--threads", threads, "--json")
    limit = ("--memory", memory) if memory else ()
    command = [sys.executable, "-m", "labelwright", "train", *map(str, (*given, *limit))]
    settings = {name: v for name, v in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    settings["LABELWRIGHT_HOME"] = str(work / "home")
    log, out = work / "log.txt", work / "out.txt"
    began = time.monotonic()
    own = whole = 0
    with log.open("wb") as stderr, out.open("wb") as stdout:
        process = subprocess.Popen(command, env=settings, stdout=stdout, stderr=stderr, cwd=ROOT)
        try:
            while process.poll() is None:
                anonymous, resident = memory_of(process.pid)
                own, whole = max(own, anonymous), max(whole, resident)
                time.sleep(SAMPLING_SECONDS)
        finally:
            process.kill()
            process.wait()
    seconds = time.monotonic() - began
    if process.returncode:
        raise RuntimeError(last_line(log))
    metrics = json.loads(out.read_text("utf-8").splitlines()[-1])["metrics"]
    return Training(rows, memory, seconds, own, whole, metrics["p_at_1"], metrics["p_at_5"])


def memory_of(process: int) -> tuple[int, int]:
    """Resident bytes of a process, without and with mapped files (Linux); 0 if it has exited."""
    try:
        lines = Path(f"/proc/{process}/status").read_text("ascii").splitlines()
    except OSError:
        return 0, 0
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    kilobytes = {name: int(value) for name, value in found.items()}
    return 1024 * kilobytes.get("RssAnon", 0), 1024 * sum(kilobytes.values())


def document(facts: dict[str, str], trainings: Sequence[Training]) -> str:
    """The page in Markdown."""
    lines = [
        tables.Line(f"{one.rows:,}", one.memory or "no limit", _figures(one)) for one in trainings
    ]
    return "\n".join(
        [
            "# Training beyond memory\n",
            "Written by `make bench-memory`: training on synthetic places; P@k on the real places "
            "of Maine.\n",
            tables.listed(facts),
            tables.markdown(("rows", "--memory"), COLUMNS, lines),
        ]
    )


def _figures(one: Training) -> dict[str, tables.Figure]:
    memory = one.own_bytes / 1e6, one.all_bytes / 1e6
    return tables.by_title(COLUMNS, (one.seconds / 60, *memory, one.p_at_1, one.p_at_5))


def main(arguments: Sequence[str] | None = None) -> int:
    """Train on each number of rows with each memory limit; write the page after each training."""
    parser = argparse.ArgumentParser(prog="make bench-memory", description=__doc__)
    options.add_data(parser)
    options.add_threads(parser)
    options.add_output(parser, "training_memory.md")
    parser.add_argument("--rows", type=int, nargs="+", default=[ROWS], metavar="N")
    parser.add_argument(
        "--memory",
        nargs="+",
        default=[MEMORY],
        metavar="SIZE",
        help="values of `labelwright train --memory`, which limits features and variables of the "
        f"fit, not the process; '' for no limit (default: {MEMORY})",
    )
    given = parser.parse_args(arguments)
    facts, trainings = tables.machine(), list[Training]()
    work, places = given.work.resolve() / "training_memory", given.data.resolve() / "places"
    for rows in given.rows:
        write_synthetic(places / "train.parquet", work / "data", rows)
        for memory in given.memory:
            print(f"{rows:,} rows, {memory or 'no limit'}", flush=True)
            data, test = work / "data", places / "maine.parquet"
            trainings.append(train(data, test, rows, memory, given.threads, work))
            content = {"facts": facts, "trainings": [dataclasses.asdict(t) for t in trainings]}
            tables.write_page(given.output, document(facts, trainings), content)
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
