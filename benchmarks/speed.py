"""How fast labels are made: by stage, one entity, whole files, over HTTP; beside what others use.

All runs use one model of real places, and places that are made of real ones. PECOS and omikuji are
trained on some of the real ones, and their prediction is timed without the features it takes.
"""

import argparse
import dataclasses
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from benchmarks import options, quality, tables
from benchmarks.environments import ROOT
from benchmarks.growth import Grown, exponent, grown
from benchmarks.kernels import OWN, Timed, best, one_record, stages
from benchmarks.over_http import BATCHES, RATE, Paced, Served, served, streamed, worker_bytes
from benchmarks.peers import PEERS
from benchmarks.perturbed import perturbed, write_perturbed
from benchmarks.processes import run_measured
from benchmarks.sets import SETS
from entities.tables import Entities, conform
from models.bundle import write_bundle
from models.labeler import Labeler
from models.registry import load_model

ENTITIES = 16_384
"""Entities of which each stage is timed."""
ROWS = (2_000_000, 6_000_000)
"""Sizes of the two files from whose difference the rate of whole files is worked out."""
RECORDS = 4_000
"""Entities that are asked about over HTTP."""
STREAM_ROWS = 1_000_000
STARTS = 5
PEER_NAMES = ("pecos-tree", "omikuji-parabel")
PEER_ROWS = 100_000
MINUTES = 15.0
HOURS = 3_600.0

STAGE = tables.Column("us/entity", 2, min)
TIMES = tables.Column("times as long", 1)
FILE = (tables.Column("seconds", 1), tables.Column("peak MB", 0))
HTTP = (
    tables.Column("entities/s", 0, max),
    tables.Column("labelwright is so many times faster", 1),
)
PACE = (tables.Column("half within ms", 1, min), tables.Column("99% within ms", 1, min))
GROWTH = (tables.Column("number", 0), tables.Column("us/entity", 2))

START = """
import sys, time
begin = time.perf_counter()
from pathlib import Path
from service.lean import spare
spare()
from models.bundle import read_bundle
from models.decisions import Question
from entities.tables import from_records
imported = time.perf_counter()
labeler = read_bundle(Path(sys.argv[1])).labeler
read = time.perf_counter()
labeler.label(from_records([{"name": "Joe's Pizza"}], labeler.schema), Question())
print(imported - begin, read - imported, time.perf_counter() - read)
"""
"""What a worker of the service does until it can answer, but for its web server."""


@dataclasses.dataclass(frozen=True)
class Labelled:
    """What it took to label a file with the command line."""

    rows: int
    seconds: float
    peak_bytes: int


@dataclasses.dataclass(frozen=True)
class Start:
    """Seconds that a new process takes to import, to read the bundle, and to answer."""

    imports: float
    bundle: float
    answer: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.imports + self.bundle + self.answer


@dataclasses.dataclass(frozen=True)
class Measured:
    """All that the page tells; `notes` say what was not measured."""

    facts: Mapping[str, str]
    timed: Sequence[Timed]
    labelled: Sequence[Labelled]
    over_http: Sequence[Served]
    paced: Sequence[Paced]
    grown: Sequence[Grown]
    bundle_bytes: int
    start: Start
    bandwidth: float
    weight_bytes: float
    worker_bytes: float
    streamed: float
    notes: Sequence[str] = ()


def label_files(bundle: Path, real: Path, rows: Sequence[int], work: Path) -> list[Labelled]:
    """Label files of made places, one after another."""
    done = []
    for count in rows:
        source, target = work / f"{count}.parquet", work / f"{count}.labelled.parquet"
        write_perturbed(real, source, count)
        command = [sys.executable, "-m", "labelwright", "label", source, target, "--model", bundle]
        ran = run_measured([*map(str, command)], HOURS, work / "label.log")
        done.append(Labelled(count, ran.seconds, ran.peak_bytes))
        source.unlink()
        target.unlink()
    return done


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


def slope(labelled: Sequence[Labelled]) -> float:
    """Rows a second, from the difference between the first and the last file."""
    rows = labelled[-1].rows - labelled[0].rows
    return rows / (labelled[-1].seconds - labelled[0].seconds)


def document(found: Measured) -> str:
    """The whole page."""
    parts = [
        "# Speed\n",
        "Written by `make bench-speed`: the model of real places, on made ones.\n",
        tables.listed(found.facts),
        "## One thread, in memory\n",
        tables.markdown(("what", "way"), (STAGE, TIMES), list(_stage_lines(found.timed))),
        "## `labelwright label`, Parquet to Parquet\n",
        tables.markdown(("what", "size"), FILE, list(_file_lines(found.labelled))),
        _findings(found),
        "## Over HTTP, client and server on the same cores\n",
        tables.markdown(("entities a request", "way"), HTTP, list(_http_lines(found.over_http))),
        f"A stream of Arrow batches, both ways over one connection: {found.streamed:,.0f} rows a "
        f"second, {found.streamed / slope(found.labelled):.0%} of the rate of whole files.\n",
        f"With {RATE} requests a second of one entity each:\n",
        tables.markdown(("requests", "way"), PACE, list(_pace_lines(found.paced))),
        "## Growth, on one thread\n",
        tables.markdown(("work", "of"), GROWTH, list(_growth_lines(found.grown))),
        "".join(_exponents(found.grown)),
    ]
    if found.notes:
        parts += ["## Not measured\n", "".join(f"- {note}\n" for note in found.notes)]
    return "\n".join(parts)


def _stage_lines(timed: Sequence[Timed]) -> Iterator[tables.Line]:
    own = {line.what: line.microseconds for line in timed if line.way == OWN}
    for line in sorted(timed, key=lambda line: list(own).index(line.what)):
        figures = {STAGE.title: line.microseconds, TIMES.title: line.microseconds / own[line.what]}
        yield tables.Line(line.what, line.way, figures)


def _file_lines(labelled: Sequence[Labelled]) -> Iterator[tables.Line]:
    for done in labelled:
        figures = {FILE[0].title: done.seconds, FILE[1].title: done.peak_bytes / 1e6}
        yield tables.Line("file", f"{done.rows:,} rows", figures)


def _findings(found: Measured) -> str:
    """What is told beside the tables of the rate, the model's size and the machine's limit."""
    (scoring,) = (t for t in found.timed if t.way == OWN and t.what == "scores of all labels")
    read = found.weight_bytes / scoring.microseconds * 1e6
    return (
        f"- {slope(found.labelled):,.0f} rows a second, from the difference of the two files\n"
        f"- the bundle: {found.bundle_bytes / 1e6:,.0f} MB; a new process answers in "
        f"{found.start.seconds:.2f} s: it imports in {found.start.imports:.2f} s, reads the bundle "
        f"in {found.start.bundle:.2f} s, and answers in {found.start.answer:.2f} s\n"
        f"- memory: one thread reads {found.bandwidth / 1e9:.1f} GB a second; the scores of an "
        f"entity are made of {found.weight_bytes / 1e3:,.0f} kB of dense weights, which are read "
        f"at {read / 1e9:.1f} GB a second ({read / found.bandwidth:.0%})\n"
        f"- a third worker of the service takes {found.worker_bytes / 1e6:,.0f} MB more\n"
    )


def _http_lines(lines: Sequence[Served]) -> Iterator[tables.Line]:
    own = {line.batch: line.entities for line in lines if line.way == OWN}
    for batch in BATCHES:
        for line in lines:
            if line.batch == batch:
                ratio = own[batch] / line.entities
                figures = {HTTP[0].title: line.entities, HTTP[1].title: ratio}
                yield tables.Line(f"{batch:,}", line.way, figures)


def _pace_lines(lines: Sequence[Paced]) -> Iterator[tables.Line]:
    for line in lines:
        figures = {PACE[0].title: line.half, PACE[1].title: line.most}
        yield tables.Line(f"{RATE} a second", line.way, figures)


def _growth_lines(lines: Sequence[Grown]) -> Iterator[tables.Line]:
    for line in lines:
        figures = {GROWTH[0].title: line.number, GROWTH[1].title: line.microseconds}
        yield tables.Line(line.work, line.of, figures)


def _exponents(lines: Sequence[Grown]) -> Iterator[str]:
    for of in dict.fromkeys(line.of for line in lines):
        several = [line for line in lines if line.of == of]
        yield f"- {several[0].work}: grow with the {of} to the power of {exponent(several):.2f}\n"


def measure(given: argparse.Namespace) -> Measured:
    """Everything, one after the other."""
    facts = tables.machine()
    labeler = load_model(given.model).bundle.labeler
    real = given.data / "places" / "maine.parquet"
    made = perturbed(pq.read_table(real), 0, ENTITIES, np.random.default_rng(1))
    entities = conform(made, labeler.schema)
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
        answered: list[Served | Paced] = []
        records = [one_record(entities.slice(row, 1)) for row in range(RECORDS)]
        another = worker_bytes(given.model, records, work)
        rows = perturbed(pq.read_table(real), 0, STREAM_ROWS, np.random.default_rng(2))
        stream = streamed(given.model, rows, work)
        if given.model.startswith("models:/"):
            answered = list(served(given.model, records, work))
        else:
            notes.append("HTTP: only a registered model can be served by MLflow too")
        others, unmeasured = peers(given.data, given.work.resolve())
    return Measured(
        facts,
        [*timed, *others],
        labelled,
        [line for line in answered if isinstance(line, Served)],
        [line for line in answered if isinstance(line, Paced)],
        growth,
        size,
        started,
        speed,
        weights,
        another,
        stream,
        [*notes, *unmeasured],
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
