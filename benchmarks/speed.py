"""How fast labels are made: by stage, one entity, whole files, over HTTP; beside what others use.

All runs use one model of real places, and places that are made of real ones; what its speed costs
in quality is shown on one that is fitted anew. PECOS and omikuji are trained on some of the real
places, and their prediction is timed without the features it takes.
"""

import argparse
import dataclasses
import json
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
from benchmarks.exactness import qualities
from benchmarks.growth import Grown, grown
from benchmarks.kernels import OWN, Timed, best, one_record, stages, through_mlflow
from benchmarks.over_http import Paced, Served, Taken, served, streamed, worker_bytes
from benchmarks.peers import PEERS
from benchmarks.perturbed import perturbed, write_perturbed
from benchmarks.pipeline import PIPELINE
from benchmarks.processes import run_measured
from benchmarks.sets import SETS
from benchmarks.speed_page import OF_ROWS, Labelled, Measured, Start, document
from labelwright import processors
from labelwright.entities.tables import Entities, from_table
from labelwright.models.bundle.format import write_bundle
from labelwright.models.labeler import Labeler
from labelwright.models.registry import load_model

ENTITIES = 16_384
"""Entities of which each stage is timed."""
ROWS = (2_000_000, 6_000_000)
"""Sizes of the two files from whose difference the rate of whole files is worked out."""
PIPELINE_ROWS = (50_000, 250_000)
"""The same for scikit-learn, whose start takes longer than labelling a few rows."""
RECORDS = 4_000
"""Entities that are asked about over HTTP."""
STREAM_ROWS = 1_000_000
STARTS = 5
PEER_NAMES = ("pecos-tree", "omikuji-parabel")
PEER_ROWS = 100_000
MINUTES = 15.0
HOURS = 3_600.0

START = """
import sys, time
begin = time.perf_counter()
from pathlib import Path
from labelwright.service.process.skipped_imports import skip_unused_imports
skip_unused_imports()
from labelwright.models.bundle.format import read_bundle
from labelwright.models.decisions import Question
from labelwright.entities.tables import from_records
imported = time.perf_counter()
labeler = read_bundle(Path(sys.argv[1])).labeler
read = time.perf_counter()
labeler.label(from_records([{"name": "Joe's Pizza"}], labeler.schema), Question())
print(imported - begin, read - imported, time.perf_counter() - read)
"""
"""What a worker of the service does until it can answer, but for its web server."""


def label_files(bundle: Path, real: Path, rows: Sequence[int], work: Path) -> list[Labelled]:
    """Label files of made places, one after another, then smaller ones with scikit-learn."""
    done = []
    for way, sizes in ((OWN, rows), (PIPELINE, PIPELINE_ROWS)):
        for count in sizes:
            source, target = work / f"{count}.parquet", work / f"{count}.labelled.parquet"
            write_perturbed(real, source, count)
            command = [OWN, "label", source, target, "--model", bundle]
            if way == PIPELINE:
                command = ["benchmarks.pipeline", bundle, source, target]
            words = [sys.executable, "-m", *map(str, command)]
            ran = run_measured(words, HOURS, work / "label.log")
            threads = processors.usable() if way == OWN else 1
            done.append(Labelled(count, ran.seconds, ran.peak_bytes, way, threads))
            source.unlink()
            target.unlink()
    return done


def of_rows(labelled: Sequence[Labelled]) -> Iterator[Grown]:
    """How what an entity of a file takes grows with its rows."""
    for done in labelled:
        if done.way == OWN:
            yield Grown("whole files", done.rows, OF_ROWS, 1e6 * done.seconds / done.rows)


def peers(data: Path, work: Path) -> tuple[list[Timed], list[str]]:
    """What prediction of others takes on one thread; and words on those that were not measured."""
    (places,) = (one for one in SETS if one.name == "places")
    folder = work / "speed" / places.name
    quality.prepare(places, data, folder, PEER_ROWS)
    timed, notes = [], []
    for peer in (peer for peer in PEERS if peer.name in PEER_NAMES):
        cell = quality.measure(places.name, peer, folder, work / "peers", MINUTES, threads=1)
        if cell.note:
            notes.append(f"{peer.title}: {cell.note}")
        else:
            part, way = cell.parts["maine"], f"{peer.title}, features not included"
            timed.append(Timed("everything", way, 1e6 * part.seconds / part.rows))
    shutil.rmtree(folder)
    return timed, notes


def bandwidth() -> float:
    """Bytes a second that one thread reads from memory: the sum of an array of 512 MB."""
    array: npt.NDArray[np.int64] = np.ones(1 << 26, np.int64)
    return array.nbytes / (best(array.sum, 1) / 1e6)


def start(bundle: Path, work: Path) -> Start:
    """The best of a few starts; kernels are compiled before."""
    script = work / "start.py"
    script.write_text(START, "utf-8")
    command = [sys.executable, str(script), str(bundle)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    said = []
    for _ in range(STARTS):
        run_measured(command, HOURS, work / "start.log", environment)
        said.append(Start(*map(float, (work / "start.log").read_text("utf-8").split()[-3:])))
    return min(said, key=lambda start: start.seconds)


def weight_bytes(labeler: Labeler, entities: Entities) -> float:
    """Bytes of dense weights that the scores of one entity are made of, on average."""
    rows = labeler.features.transform(entities)
    dense = labeler.linear.dense
    used = int(np.count_nonzero(rows.indices < len(dense)))
    return float(used * dense.shape[1] / len(entities))


def measure(given: argparse.Namespace) -> Measured:
    """Everything, one after the other."""
    facts = tables.machine()
    labeler = load_model(given.model).bundle.labeler
    places = given.data / "places"
    real = places / "maine.parquet"
    parts = [("test", places / "test.parquet"), ("maine", real)]
    kept = list(qualities(places / "train.parquet", parts))
    made = perturbed(pq.read_table(real), 0, ENTITIES, np.random.default_rng(1))
    entities = from_table(made, labeler.schema)
    timed = list(stages(labeler, entities))
    growth = list(grown(labeler, entities, best))
    weights, speed = weight_bytes(labeler, entities), bandwidth()
    given.work.mkdir(parents=True, exist_ok=True)
    notes: list[str] = []
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        work = Path(folder)
        write_bundle(labeler, work / "bundle", version("labelwright"), {})
        size = sum(file.stat().st_size for file in (work / "bundle").iterdir())
        labelled = label_files(work / "bundle", real, sorted(given.rows), work)
        started = start(work / "bundle", work)
        answered: list[Served | Paced | Taken] = []
        records = [one_record(entities.slice(row, 1)) for row in range(RECORDS)]
        another = worker_bytes(given.model, records, work)
        rows = perturbed(pq.read_table(real), 0, STREAM_ROWS, np.random.default_rng(2))
        stream = streamed(given.model, rows, work)
        if given.model.startswith("models:/"):
            answered = list(served(given.model, records, work))
            timed.append(through_mlflow(given.model, records[0]))
        else:
            notes.append("HTTP: only a registered model can be served by MLflow too")
        others, unmeasured = peers(given.data, given.work.resolve())
    return Measured(
        facts=facts,
        timed=[*timed, *others],
        labelled=labelled,
        qualities=kept,
        over_http=[line for line in answered if isinstance(line, Served)],
        paced=[line for line in answered if isinstance(line, Paced)],
        taken=[line for line in answered if isinstance(line, Taken)],
        grown=[*of_rows(labelled), *growth],
        bundle_bytes=size,
        start=started,
        bandwidth=speed,
        weight_bytes=weights,
        worker_bytes=another,
        streamed=stream,
        notes=[*notes, *unmeasured],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, and beside it all figures as JSON."""
    parser = argparse.ArgumentParser(prog="make bench-speed", description=__doc__)
    options.add_data(parser)
    options.add_output(parser, "speed.md")
    parser.add_argument("--model", required=True, metavar="URI", help="a model of real places")
    parser.add_argument("--rows", type=int, nargs=2, default=ROWS, metavar="N", help="of files")
    given = parser.parse_args(arguments)
    if given.rows[0] == given.rows[1]:
        parser.error("the files must differ in size")
    found = measure(given)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(document(found), "utf-8")
    text = json.dumps(dataclasses.asdict(found), indent=1)
    given.output.with_suffix(".json").write_text(text + "\n", "utf-8")
    print(document(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
