"""Speed of labelling (each stage, one entity, files, HTTP), compared with other libraries.

All measurements use one model of real places, and synthetic places (`benchmarks.perturbed`). The
loss of quality in exchange for speed is measured on a separate model. PECOS and omikuji are trained
on some of the real places; the time of their predictions does not include the features.
"""

import argparse
import dataclasses
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from benchmarks import options, quality, tables
from benchmarks.environments import ROOT
from benchmarks.exact_model import qualities
from benchmarks.growth import GrowthPoint, growth
from benchmarks.over_http import Cost, Latency, Throughput, streamed, worker_bytes
from benchmarks.over_http import measured as measured_over_http
from benchmarks.peers import PEERS
from benchmarks.perturbed import perturbed, write_perturbed
from benchmarks.pipeline import PIPELINE
from benchmarks.processes import run_measured
from benchmarks.sets import SETS
from benchmarks.speed_page import ROWS_UNIT, FileRun, Measurements, Start, document
from benchmarks.stage_times import (
    OWN,
    StageTime,
    best_time,
    first_record,
    stages,
    through_mlflow,
)
from labelwright import processors
from labelwright.entities.tables import Entities, from_table
from labelwright.models.bundle.format import write_bundle
from labelwright.models.labeler import Labeler
from labelwright.models.registry import load_model

ENTITIES = 16_384
"""Number of entities on which each stage is timed."""
ROWS = (2_000_000, 6_000_000)
"""Numbers of rows of two files: the difference of their times gives the rate without the start."""
PIPELINE_ROWS = (50_000, 250_000)
"""Numbers of rows of the two files for scikit-learn, which labels fewer rows a second."""
RECORDS = 4_000
"""Number of different entities that are sent over HTTP."""
STREAM_ROWS = 1_000_000
STARTS = 5
PEER_NAMES = ("pecos-tree", "omikuji-parabel")
PEER_ROWS = 100_000
MINUTES = 15.0
HOUR = 3_600.0

START = """
import sys, time
begin = time.perf_counter()
from pathlib import Path
from labelwright.service.process.skipped_imports import skip_unused_imports
skip_unused_imports()
from labelwright.models.bundle.format import read_bundle
from labelwright.models.decisions import LabelQuery
from labelwright.entities.tables import from_records
imported = time.perf_counter()
labeler = read_bundle(Path(sys.argv[1])).labeler
read = time.perf_counter()
labeler.label(from_records([{"name": "Joe's Pizza"}], labeler.schema), LabelQuery())
print(imported - begin, read - imported, time.perf_counter() - read)
"""
"""Program with the steps of a service's worker before its first predictions, without web server."""


def label_files(bundle: Path, real: Path, rows: Sequence[int], work: Path) -> list[FileRun]:
    """Label files of synthetic places, and smaller files with scikit-learn."""
    runs = []
    for method, sizes in ((OWN, rows), (PIPELINE, PIPELINE_ROWS)):
        for count in sizes:
            input_, output = work / f"{count}.parquet", work / f"{count}.labelled.parquet"
            write_perturbed(real, input_, count)
            command = [OWN, "label", input_, output, "--model", bundle]
            if method == PIPELINE:
                command = ["benchmarks.pipeline", bundle, input_, output]
            arguments = [sys.executable, "-m", *map(str, command)]
            usage = run_measured(arguments, HOUR, work / "label.log")
            threads = processors.usable() if method == OWN else 1
            runs.append(FileRun(count, usage.seconds, usage.peak_bytes, method, threads))
            input_.unlink()
            output.unlink()
    return runs


def growth_with_rows(runs: Sequence[FileRun]) -> Iterator[GrowthPoint]:
    """Microseconds per entity of files of different sizes."""
    for run in runs:
        if run.method == OWN:
            yield GrowthPoint("whole files", run.rows, ROWS_UNIT, 1e6 * run.seconds / run.rows)


def peers(data: Path, work: Path) -> tuple[list[StageTime], list[str]]:
    """Prediction times of PEER_NAMES on one thread, and notes on peers that were not measured."""
    (places,) = (one for one in SETS if one.name == "places")
    folder = work / "speed" / places.name
    quality.prepare(places, data, folder, PEER_ROWS)
    times, notes = [], []
    for peer in (peer for peer in PEERS if peer.name in PEER_NAMES):
        cell = quality.measure(places.name, peer, folder, work / "peers", MINUTES, threads=1)
        if cell.note:
            notes.append(f"{peer.title}: {cell.note}")
        else:
            part, method = cell.parts["maine"], f"{peer.title}, features not included"
            times.append(StageTime("everything", method, 1e6 * part.seconds / part.rows))
    shutil.rmtree(folder)
    return times, notes


def bandwidth() -> float:
    """Bytes per second that one thread reads from memory, measured by a sum over 512 MB."""
    array: npt.NDArray[np.int64] = np.ones(1 << 26, np.int64)
    return array.nbytes / (best_time(array.sum, 1) / 1e6)


def start(bundle: Path, work: Path) -> Start:
    """The times of the fastest of STARTS starts; the kernels must already be compiled."""
    script = work / "start.py"
    script.write_text(START, "utf-8")
    command = [sys.executable, str(script), str(bundle)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    starts = []
    for _ in range(STARTS):
        run_measured(command, HOUR, work / "start.log", environment)
        starts.append(Start(*map(float, (work / "start.log").read_text("utf-8").split()[-3:])))
    return min(starts, key=lambda start: start.seconds)


def weight_bytes(labeler: Labeler, entities: Entities) -> float:
    """Average bytes of dense weights that are read to compute the scores of one entity."""
    rows = labeler.features.transform(entities)
    dense = labeler.linear.dense
    used = int(np.count_nonzero(rows.indices < len(dense)))
    return float(used * dense.shape[1] / len(entities))


def measure(given: argparse.Namespace) -> Measurements:
    """Take all measurements, one after another."""
    facts = tables.machine()
    labeler = load_model(given.model).bundle.labeler
    places = given.data / "places"
    real = places / "maine.parquet"
    parts = [("test", places / "test.parquet"), ("maine", real)]
    quality_of_methods = list(qualities(places / "train.parquet", parts))
    made = perturbed(pq.read_table(real), 0, ENTITIES, np.random.default_rng(1))
    entities = from_table(made, labeler.schema)
    times = list(stages(labeler, entities))
    points = list(growth(labeler, entities, best_time))
    weights, memory_bandwidth = weight_bytes(labeler, entities), bandwidth()
    given.work.mkdir(parents=True, exist_ok=True)
    notes: list[str] = []
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        work = Path(folder)
        write_bundle(labeler, work / "bundle", version("labelwright"), {})
        size = sum(file.stat().st_size for file in (work / "bundle").iterdir())
        file_runs = label_files(work / "bundle", real, sorted(given.rows), work)
        started = start(work / "bundle", work)
        over_http: list[Throughput | Latency | Cost] = []
        records = [first_record(entities.slice(row, 1)) for row in range(RECORDS)]
        one_more_worker = worker_bytes(given.model, records, work)
        rows = perturbed(pq.read_table(real), 0, STREAM_ROWS, np.random.default_rng(2))
        stream = streamed(given.model, rows, work)
        if given.model.startswith("models:/"):
            over_http = list(measured_over_http(given.model, records, work))
            times.append(through_mlflow(given.model, records[0]))
        else:
            notes.append("HTTP: MLflow serves registered models only; give models:/NAME@ALIAS")
        peer_times, peer_notes = peers(given.data, given.work.resolve())
    return Measurements(
        facts=facts,
        times=[*times, *peer_times],
        file_runs=file_runs,
        qualities=quality_of_methods,
        throughput=[one for one in over_http if isinstance(one, Throughput)],
        latency=[one for one in over_http if isinstance(one, Latency)],
        costs=[one for one in over_http if isinstance(one, Cost)],
        growth=[*growth_with_rows(file_runs), *points],
        bundle_bytes=size,
        start=started,
        bandwidth=memory_bandwidth,
        weight_bytes=weights,
        worker_bytes=one_more_worker,
        streamed=stream,
        notes=[*notes, *peer_notes],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, and a JSON file with all figures in the folder of the page."""
    parser = argparse.ArgumentParser(prog="make bench-speed", description=__doc__)
    options.add_data(parser)
    options.add_output(parser, "speed.md")
    parser.add_argument("--model", required=True, metavar="URI", help="a model of real places")
    parser.add_argument(
        "--rows", type=int, nargs=2, default=ROWS, metavar="N", help="rows of the two files"
    )
    given = parser.parse_args(arguments)
    if given.rows[0] == given.rows[1]:
        parser.error("--rows: the two numbers must differ, the rate comes from their difference")
    found = measure(given)
    tables.write_page(given.output, document(found), dataclasses.asdict(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
