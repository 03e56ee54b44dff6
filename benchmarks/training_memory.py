"""Training on more rows than fit into memory: made places with real labels, and what they take.

Each made place is a real one whose name, address, telephone number and website have mostly another
letter or digit in one place. The table says how much memory was the training's own, and how much
was of files, which the system takes back when it needs it.
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
from benchmarks.processes import last_words

ROWS = 10_000_000
PART = 500_000
MEMORY = "12GB"
BEAT = 0.5
COLUMNS = (
    tables.Column("minutes", 1),
    tables.Column("own memory MB", 0),
    tables.Column("with mapped files MB", 0),
    tables.Column("P@1", 2),
    tables.Column("P@5", 2),
)


@dataclasses.dataclass(frozen=True)
class Training:
    """What a training took: seconds, the peak of its own memory, and with that of mapped files."""

    rows: int
    memory: str
    seconds: float
    own_bytes: int
    all_bytes: int
    p_at_1: float
    p_at_5: float


def write_made(source: Path, folder: Path, rows: int, seed: int = 0) -> None:
    """Write a folder of Parquet files with so many labelled places made of real ones."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    real, random = pq.read_table(source), np.random.default_rng(seed)
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
    """Train with the command; raises RuntimeError with its last words where it fails."""
    given = ("--data", data, "--test", test, "--name", "made", "--threads", threads, "--json")
    limit = ("--memory", memory) if memory else ()
    command = [sys.executable, "-m", "labelwright", "train", *map(str, (*given, *limit))]
    settings = {name: v for name, v in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    settings["LABELWRIGHT_HOME"] = str(work / "home")
    log, out = work / "log.txt", work / "out.txt"
    began = time.monotonic()
    own = whole = 0
    with log.open("wb") as words, out.open("wb") as said:
        process = subprocess.Popen(command, env=settings, stdout=said, stderr=words, cwd=ROOT)
        try:
            while process.poll() is None:
                anonymous, resident = memory_of(process.pid)
                own, whole = max(own, anonymous), max(whole, resident)
                time.sleep(BEAT)
        finally:
            process.kill()
            process.wait()
    seconds = time.monotonic() - began
    if process.returncode:
        raise RuntimeError(last_words(log))
    metrics = json.loads(out.read_text("utf-8").splitlines()[-1])["metrics"]
    return Training(rows, memory, seconds, own, whole, metrics["p_at_1"], metrics["p_at_5"])


def memory_of(process: int) -> tuple[int, int]:
    """Bytes of a process' own memory, and of all that it has in memory (Linux); 0 once it ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text("ascii").splitlines()
    except OSError:
        return 0, 0
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    kilobytes = {name: int(value) for name, value in found.items()}
    return 1024 * kilobytes.get("RssAnon", 0), 1024 * sum(kilobytes.values())


def document(facts: dict[str, str], trainings: Sequence[Training]) -> str:
    """The whole page."""
    lines = [
        tables.Line(f"{one.rows:,}", one.memory or "no limit", _figures(one)) for one in trainings
    ]
    return "\n".join(
        [
            "# Training beyond memory\n",
            "Written by `make bench-memory`: places made of real ones; P@k on Maine.\n",
            tables.listed(facts),
            tables.markdown(("rows", "--memory"), COLUMNS, lines),
        ]
    )


def _figures(one: Training) -> dict[str, tables.Figure]:
    told = (one.seconds / 60, one.own_bytes / 1e6, one.all_bytes / 1e6, one.p_at_1, one.p_at_5)
    return dict(zip((column.title for column in COLUMNS), told, strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Train on each number of rows, and write the page after each."""
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
        help=f"limits to train with; '' is none (default: {MEMORY})",
    )
    given = parser.parse_args(arguments)
    facts, trainings = tables.machine(), list[Training]()
    work, places = given.work.resolve() / "training_memory", given.data.resolve() / "places"
    for rows in given.rows:
        write_made(places / "train.parquet", work / "data", rows)
        for memory in given.memory:
            print(f"{rows:,} rows, {memory or 'no limit'}", flush=True)
            data, test = work / "data", places / "maine.parquet"
            trainings.append(train(data, test, rows, memory, given.threads, work))
            given.output.parent.mkdir(parents=True, exist_ok=True)
            given.output.write_text(document(facts, trainings), "utf-8")
            content = {"facts": facts, "trainings": [dataclasses.asdict(t) for t in trainings]}
            given.output.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
    shutil.rmtree(work)
    print(document(facts, trainings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
