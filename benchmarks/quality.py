"""Train this project and its peers on the same rows, and compare them in one table.

The table has precision, training time, prediction time and peak memory. Each peer runs in a
separate process, and in a virtual environment that is created on demand. If a peer fails or exceeds
its time limit, the table has a note. The page is written again after every cell, so Ctrl-C keeps
the finished cells.
"""

import argparse
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks import options, tables
from benchmarks.contract import TRAIN, Predictions
from benchmarks.environments import ROOT, NotInstalledError, interpreter
from benchmarks.peers import PEERS, Peer
from benchmarks.processes import ProcessError, ProcessTimeoutError, run_measured
from benchmarks.sets import SETS, DataSet, sample
from labelwright.models import decisions
from labelwright.models.kernels.csr import SparseRows
from labelwright.models.labels import LabelMatrix, LabelSet
from labelwright.training.evaluation.metrics import evaluate

INTERRUPTED = 130
"""Exit code after Ctrl-C."""
BUSY = 0.7
"""The machine is busy if its one-minute load average at the start is above this value."""
COLUMNS = (
    tables.Column("P@1", 2, max),
    tables.Column("P@3", 2, max),
    tables.Column("P@5", 2, max),
    tables.Column("micro-F1", 3, max),
    tables.Column("train s", 1, min),
    tables.Column("predict us/row", 1, min),
    tables.Column("peak MB", 0, min),
)
NOTES = """\
Bold: the best figure of a column among the peers of a set, as printed. The limit of one cell
(loading, training, prediction) is {minutes:g} minutes and {threads} threads.

- P@k: in percent. A true label without a training row counts as missed.
- micro-F1: only for peers that assert labels. Asserted labels have a margin above 0 (scikit-learn)
  or a probability of at least 0.5 (napkinXC, fastText), or the policy `balanced` asserts them
  (labelwright). The other peers only rank labels.
- train s: for labelwright, the whole command `labelwright train`: start of the process, reading,
  features, calibration, evaluation, report and registration. The section "Sets" has the seconds of
  the training job alone. For peers, only the training call of the library, without the computation
  of the feature matrix; the section "Sets" has the seconds of this computation. omikuji reads the
  matrix from a file, fastText reads text.
- Feature matrix: tf-idf with logarithmic counts, rows of unit norm. The features of texts are
  words, pairs of words and n-grams of 3 to 5 characters. The features of `words` sets are the
  tokens. The features of places are n-grams of the name, and the words of name, address, city,
  region, postcode, country, first digits of phone and domain of website.
- predict us/row: wall microseconds for a batch of all test rows, with the model in memory. The time
  of the features is included for labelwright and fastText, but not for the other peers. The Python
  binding of omikuji predicts one row in each call.
- peak MB: the largest sum of the resident memory of the cell's processes (10^6 bytes). It includes
  the input.
- labelwright's kernels are compiled before the measurements, because an installation in use has
  compiled kernels.
"""


@dataclasses.dataclass(frozen=True)
class Part:
    """Metrics of a peer on one test part, and the seconds to predict all its rows."""

    p_at_1: float
    p_at_3: float
    p_at_5: float
    micro_f1: float | None
    rows: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Cell:
    """Results of one peer on one set, or a note with the reason why there are no results."""

    data_set: str
    peer: str
    note: str = ""
    train_seconds: float = 0.0
    peak_bytes: int = 0
    parts: Mapping[str, Part] = dataclasses.field(default_factory=dict)
    outcome: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Run:
    """Options and results of one run of the benchmark: one table."""

    sets: Sequence[DataSet]
    peers: Sequence[Peer]
    minutes: float
    threads: int
    rows: int | None
    facts: Mapping[str, str]
    load: float
    prepared: dict[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    cells: dict[tuple[str, str], Cell] = dataclasses.field(default_factory=dict)

    def write(self, file: Path) -> None:
        """Write the page, and a JSON file with all results in the folder of the page."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self._document(), "utf-8")
        content = {
            "facts": self.facts,
            "minutes": self.minutes,
            "threads": self.threads,
            "rows": self.rows,
            "load": self.load,
            "sets": self.prepared,
            "cells": [dataclasses.asdict(cell) for cell in self.cells.values()],
        }
        text = json.dumps(content, indent=1, default=str)
        file.with_suffix(".json").write_text(text + "\n", "utf-8")

    def _document(self) -> str:
        table = tables.markdown(("set", "peer"), COLUMNS, list(self._lines()))
        parts = [
            "# Quality\n",
            "Written by `make bench-quality`.\n",
            tables.listed({**self.facts, "versions": self._versions()}),
            table,
            NOTES.format(minutes=self.minutes, threads=self.threads),
        ]
        absent = [s.name for s in SETS if s.name not in {chosen.name for chosen in self.sets}]
        if absent:
            parts.insert(2, f"Not part of this run: {', '.join(absent)}.\n")
        if self.load > BUSY:
            parts.insert(2, "**The machine was not idle: do not quote the times.**\n")
        if self.rows is not None:
            parts.insert(2, f"**Only {self.rows:,} training rows of each set: do not quote.**\n")
        if self.prepared:
            parts += ["## Sets\n", "".join(self._set_lines())]
        if self._settings():
            parts += ["## Settings\n", "".join(self._settings())]
        return "\n".join(parts)

    def _lines(self) -> Iterator[tables.Line]:
        for data_set in self.sets:
            for part in data_set.tests:
                group = data_set.name if len(data_set.tests) == 1 else f"{data_set.name}, {part}"
                for peer in self.peers:
                    cell = self.cells.get((data_set.name, peer.name))
                    note = "not run" if cell is None else cell.note
                    figures = _figures(cell, part) if cell and not cell.note else {}
                    yield tables.Line(group, peer.title, figures, note)

    def _set_lines(self) -> Iterator[str]:
        for name, description in self.prepared.items():
            if "note" in description:
                yield f"- {name}: {description['note']}\n"
                continue
            rows, seconds = description["rows"], description["seconds"]
            tests = ", ".join(
                f"{rows[part]:,} ({part}: {1e6 * seconds[part] / rows[part]:.0f} us a row)"
                for part in rows
                if part != TRAIN
            )
            yield (
                f"- {name}: {rows[TRAIN]:,} training rows, {description['labels']:,} labels; "
                f"shared features computed in {seconds[TRAIN]:.1f} s: {description['features']:,}, "
                f"{description['nonzeros']:.0f} non-zeros a row; test rows {tests}"
                f"{self._job_seconds(name)}\n"
            )

    def _job_seconds(self, name: str) -> str:
        cell = self.cells.get((name, "labelwright"))
        seconds = cell.outcome.get("notes", {}).get("job_seconds") if cell else None
        return "" if seconds is None else f"; the training job of labelwright took {seconds:.1f} s"

    def _settings(self) -> list[str]:
        lines = []
        for peer in self.peers:
            settings = {
                data_set: ", ".join(f"{k}={v}" for k, v in cell.outcome["settings"].items())
                for (data_set, name), cell in self.cells.items()
                if name == peer.name and cell.outcome
            }
            for listed in dict.fromkeys(settings.values()):
                sets = [data_set for data_set in settings if settings[data_set] == listed]
                where = "" if len(sets) == len(settings) else f" ({', '.join(sets)})"
                lines.append(f"- {peer.title}{where}: {listed}\n")
        return lines

    def _versions(self) -> str:
        versions: dict[str, str] = {}
        for cell in self.cells.values():
            versions |= cell.outcome.get("versions", {})
        return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def _figures(cell: Cell, name: str) -> dict[str, tables.Figure]:
    part = cell.parts[name]
    values = (
        *(part.p_at_1, part.p_at_3, part.p_at_5, part.micro_f1, cell.train_seconds),
        *(1e6 * part.seconds / max(part.rows, 1), cell.peak_bytes / 1e6),
    )
    return dict(zip((column.title for column in COLUMNS), values, strict=True))


def measure(
    data_set: str, peer: Peer, folder: Path, environments: Path, minutes: float, threads: int
) -> Cell:
    """Run one peer on a prepared set; after a failure, the cell has a note."""
    output = folder / peer.name
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    log = output / "log.txt"
    try:
        python = interpreter(peer.environment, environments)
        command = [
            *(python, "-m", f"{__package__}.peers.{peer.runner}", str(folder), str(output)),
            *("--variant", peer.variant, "--threads", str(threads)),
        ]
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        ran = run_measured(command, 60 * minutes, log, {**os.environ, **limits}, ROOT)
        outcome = json.loads((output / "outcome.json").read_text("utf-8"))
        seconds = outcome["seconds"]
        parts = {
            part: _evaluated(folder, output, part, peer.asserts, spent)
            for part, spent in seconds.items()
            if part != TRAIN
        }
        return Cell(data_set, peer.name, "", seconds[TRAIN], ran.peak_bytes, parts, outcome)
    except (NotInstalledError, ProcessTimeoutError) as error:
        return Cell(data_set, peer.name, str(error))
    except (ProcessError, OSError, ValueError, KeyError) as error:
        return Cell(data_set, peer.name, f"failed: {error}")
    finally:
        shutil.rmtree(output / "scratch", ignore_errors=True)


def _evaluated(folder: Path, output: Path, part: str, asserts: bool, seconds: float) -> Part:
    """Evaluate the predictions for a test part with this project's metrics."""
    labels = LabelSet(tuple(json.loads((folder / "labels.json").read_text("utf-8"))))
    with np.load(folder / f"{part}.labels.npz") as arrays:
        indptr, ids, foreign = arrays["indptr"], arrays["ids"], arrays["foreign"]
    truth = LabelMatrix.closed(SparseRows(indptr, ids), len(labels), foreign)
    given = Predictions.load(output / f"{part}.predictions.npz")
    if len(given.indptr) != len(indptr):
        raise ValueError(f"predictions for {len(given.indptr) - 1} rows: expected {len(truth)}")
    predictions = decisions.Predictions(
        labels, given.indptr, given.ids, given.scores, given.asserted
    )
    metrics = evaluate(predictions, truth).metrics
    micro_f1 = metrics.micro_f1 if asserts else None
    return Part(metrics.p_at_1, metrics.p_at_3, metrics.p_at_5, micro_f1, metrics.rows, seconds)


def prepare(data_set: DataSet, data: Path, folder: Path, rows: int | None) -> Mapping[str, Any]:
    """Write the prepared folder of a set.

    Returns the description of the set, or a note if files are missing.
    """
    if missing := data_set.missing(data):
        return {"note": f"not run: no file {missing[0].name} in the data folder"}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    train = data / data_set.train
    if rows is not None:
        reduced = folder / "rows.parquet"
        pq.write_table(sample(pq.read_table(train), rows), reduced)
        train = reduced
    task = {
        "name": data_set.name,
        "schema": data_set.schema,
        "train": str(train.resolve()),
        "tests": {part: str((data / file).resolve()) for part, file in data_set.tests.items()},
        "folder": str(folder),
    }
    command = [sys.executable, "-m", f"{__package__}.features", json.dumps(task)]
    run_measured(command, 3_600, folder / "features.log", folder=ROOT)
    content: dict[str, Any] = json.loads((folder / "set.json").read_text("utf-8"))
    return {name: content[name] for name in content if name not in ("train", "tests")}


def carry_out(run: Run, data: Path, work: Path, environments: Path, output: Path) -> None:
    """Measure every cell, and write the page after each cell."""
    run.write(output)
    for data_set in run.sets:
        folder = work / data_set.name
        print(f"{data_set.name}: features", flush=True)
        try:
            run.prepared[data_set.name] = prepare(data_set, data, folder, run.rows)
        except ProcessError as error:
            run.prepared[data_set.name] = {"note": f"no features: {error}"}
        note = run.prepared[data_set.name].get("note")
        for peer in run.peers:
            print(f"{data_set.name}: {peer.title}", flush=True)
            cell = (
                Cell(data_set.name, peer.name, str(note))
                if note
                else measure(data_set.name, peer, folder, environments, run.minutes, run.threads)
            )
            run.cells[data_set.name, peer.name] = cell
            run.write(output)
        shutil.rmtree(folder, ignore_errors=True)


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    sets, peers = [s.name for s in SETS], [p.name for p in PEERS]
    top = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    top.add_argument("--sets", nargs="+", choices=sets, default=sets, help="default: all")
    top.add_argument(
        "--peers",
        nargs="+",
        choices=peers,
        default=peers,
        help="peers in the order of the table (default: all)",
    )
    options.add_minutes(top, 15.0, "cell")
    top.add_argument("--rows", type=int, metavar="N", help="train on N rows only, for a trial")
    options.add_data(top)
    options.add_threads(top)
    options.add_output(top, "quality.md")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark with the given arguments; returns the exit code."""
    given = parser().parse_args(arguments)
    run = Run(
        [s for s in SETS if s.name in given.sets],
        [peer for name in given.peers for peer in PEERS if peer.name == name],
        given.minutes,
        given.threads,
        given.rows,
        tables.machine(),
        os.getloadavg()[0],
    )
    work = given.work.resolve()
    try:
        carry_out(run, given.data, work / "quality", work / "peers", given.output)
    except KeyboardInterrupt:
        print(f"interrupted: {given.output} has the finished cells", file=sys.stderr)
        return INTERRUPTED
    print(given.output.read_text("utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
