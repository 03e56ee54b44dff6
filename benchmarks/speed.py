"""How fast labels are made: stage by stage, one entity, whole files; beside what others would use.

Everything runs with the same model of real places and on the same entities. What it stands beside
does the same work on the same numbers: scikit-learn's vectorizers, SciPy's product of sparse
matrices, LightGBM's own prediction.
"""

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import scipy.sparse
from sklearn.feature_extraction.text import HashingVectorizer

from benchmarks import options, tables
from benchmarks.environments import ROOT
from benchmarks.perturbed import perturbed, write_perturbed
from benchmarks.processes import run_measured
from entities.tables import Entities, conform, from_records
from models.bundle import write_bundle
from models.decisions import Question
from models.features import FeatureRows
from models.labeler import Labeler, proposed
from models.linear import LinearStage
from models.registry import load_model
from models.trees import new_workspace, walk

ENTITIES = 16_384
"""Entities of which each stage is timed."""
SMALL = 2_048
"""Of them, those that slower ways are timed on."""
REPEATS = 5
ROWS = (2_000_000, 6_000_000)
"""Sizes of the two files from whose difference the rate of whole files is worked out."""
HOURS = 3_600.0

STAGE = tables.Column("us/entity", 2, min)
RATIO = tables.Column("times as long", 1)
FILE = (tables.Column("seconds", 1), tables.Column("peak MB", 0))

START = """
import sys, time
began = time.perf_counter()
from importlib.metadata import version
from pathlib import Path
from models.bundle import read_bundle
from models.bundle import write_bundle
from models.decisions import Question
from entities.tables import from_records
labeler = read_bundle(Path(sys.argv[1])).labeler
labeler.label(from_records([{"name": "Joe's Pizza"}], labeler.schema), Question())
print(time.perf_counter() - began)
"""


@dataclasses.dataclass(frozen=True)
class Timed:
    """One way of doing one thing, in microseconds an entity."""

    what: str
    way: str
    microseconds: float


def best(work: Callable[[], object], entities: int) -> float:
    """Wall microseconds an entity, the best of a few repetitions on one thread."""
    work()
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds) * 1e6 / entities


def stages(labeler: Labeler, entities: Entities) -> Iterator[Timed]:
    """Each stage of the labeler, and beside it what does the same."""
    few = entities.slice(0, SMALL)
    some = labeler.features.transform(few)
    scores, chosen = proposed(
        labeler.linear, labeler.implications, some, labeler.decisions.candidates
    )
    pairs = labeler.pairs(some, scores, chosen)
    by_feature, raw = np.ascontiguousarray(pairs.T), np.empty(len(pairs))
    forest = labeler.reranker.forest
    work = new_workspace(forest)
    booster = lightgbm.Booster(model_str=labeler.reranker.trees)
    matrix, weights = as_matrix(some, len(labeler.features.keys)), as_weights(labeler.linear)
    texts = as_texts(few)
    vectorizer = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), n_features=1 << 19)
    own = "labelwright"
    yield Timed("features", own, best(lambda: labeler.features.transform(entities), len(entities)))
    yield Timed(
        "features",
        "scikit-learn HashingVectorizer, letters only",
        best(lambda: vectorizer.transform(texts), len(few)),
    )
    yield Timed("scores of all labels", own, best(lambda: labeler.linear.scores(some), len(few)))
    yield Timed("scores of all labels", "SciPy, sparse", best(lambda: matrix @ weights, len(few)))
    yield Timed(
        "trees on the candidates",
        own,
        best(lambda: walk(forest, by_feature, work, raw), len(few)),
    )
    yield Timed(
        "trees on the candidates",
        "LightGBM predict",
        best(lambda: booster.predict(pairs, raw_score=True, num_threads=1), len(few)),
    )
    yield Timed("everything", own, best(lambda: labeler.label(entities, Question()), len(entities)))
    record = one_record(entities)
    single = from_records([record], labeler.schema)
    yield Timed("one entity alone", own, best(lambda: labeler.label(single, Question()), 1))
    yield Timed(
        "one entity alone, from parsed JSON",
        own,
        best(lambda: labeler.label(from_records([record], labeler.schema), Question()), 1),
    )


def as_matrix(rows: FeatureRows, features: int) -> Any:
    """Feature rows as SciPy has them."""
    shape = (len(rows.names), features)
    return scipy.sparse.csr_array((rows.values, rows.indices, rows.indptr), shape=shape)


def as_weights(stage: LinearStage) -> Any:
    """The weights of a linear stage as a sparse matrix, features x labels."""
    labels = len(stage.bias)
    shape = (len(stage.sparse_indptr) - 1, labels)
    content = stage.sparse_weights.astype(np.float32), stage.sparse_ids.astype(np.int32)
    rare = scipy.sparse.csr_array((*content, stage.sparse_indptr), shape=shape)
    dense = scipy.sparse.csr_array(np.asarray(stage.dense[:, :labels]).astype(np.float32))
    whole = scipy.sparse.vstack([dense, rare], format="csr")
    return scipy.sparse.diags_array(stage.scales).tocsr() @ whole


def as_texts(entities: Entities) -> list[str]:
    """The text of all columns of each entity."""
    columns = [name for name in entities.table.column_names if name not in ("id", "lat", "lon")]
    values = [entities.table[name].to_pylist() for name in columns]
    return [" ".join(value for value in row if value) for row in zip(*values, strict=True)]


def one_record(entities: Entities) -> dict[str, Any]:
    """The first entity as JSON has it."""
    record: dict[str, Any] = entities.table.slice(0, 1).to_pylist()[0]
    return {name: value for name, value in record.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class Labelled:
    """What it took to label a file with the command line."""

    rows: int
    seconds: float
    peak_bytes: int


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


def bandwidth() -> float:
    """Bytes a second that one thread reads from memory: the sum of an array of 512 MB."""
    array: npt.NDArray[np.int64] = np.ones(1 << 26, np.int64)
    return array.nbytes / (best(array.sum, 1) / 1e6)


def start(bundle: Path, work: Path) -> float:
    """Seconds that a new process takes to import, load and answer; kernels compiled before."""
    script = work / "start.py"
    script.write_text(START, "utf-8")
    command = [sys.executable, str(script), str(bundle)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    said = []
    for _ in range(3):
        run_measured(command, HOURS, work / "start.log", environment)
        said.append(float((work / "start.log").read_text("utf-8").split()[-1]))
    return min(said)


def document(
    timed: Sequence[Timed], labelled: Sequence[Labelled], facts: dict[str, str], words: str
) -> str:
    """The whole page."""
    own = {line.what: line.microseconds for line in timed if line.way == "labelwright"}
    lines = [
        tables.Line(
            line.what,
            line.way,
            {STAGE.title: line.microseconds, RATIO.title: line.microseconds / own[line.what]},
        )
        for line in timed
    ]
    files = [
        tables.Line(
            "file",
            f"{done.rows:,} rows",
            {FILE[0].title: done.seconds, FILE[1].title: done.peak_bytes / 1e6},
        )
        for done in labelled
    ]
    parts = [
        "# Speed\n",
        "Written by `make bench-speed`: the model of real places, on made ones.\n",
        tables.listed(facts),
        "## One thread, in memory\n",
        tables.markdown(("what", "way"), (STAGE, RATIO), lines),
        "## `labelwright label`, Parquet to Parquet\n",
        tables.markdown(("what", "size"), FILE, files),
        f"- {slope(labelled):,.0f} rows a second, from the difference of the two files\n{words}",
    ]
    return "\n".join(parts)


def slope(labelled: Sequence[Labelled]) -> float:
    """Rows a second, from the difference between the first and the last file."""
    rows = labelled[-1].rows - labelled[0].rows
    return rows / (labelled[-1].seconds - labelled[0].seconds)


def findings(labeler: Labeler, entities: Entities, bundle: Path, work: Path) -> str:
    """What is told beside the tables about the model's size and the machine's limit."""
    size = sum(file.stat().st_size for file in bundle.iterdir()) / 1e6
    weights = weight_bytes(labeler, entities) / 1e3
    return (
        f"- the bundle: {size:,.0f} MB; a process answers {start(bundle, work):.2f} s after it "
        "began to load it\n"
        f"- memory: one thread reads {bandwidth() / 1e9:.1f} GB a second; the dense weights that "
        f"the scores of one entity are made of are {weights:,.0f} kB\n"
    )


def weight_bytes(labeler: Labeler, entities: Entities) -> float:
    """Bytes of dense weights that the scores of one entity are made of, on average."""
    rows = labeler.features.transform(entities)
    dense = labeler.linear.dense
    used = int(np.count_nonzero(rows.indices < len(dense)))
    return float(used * dense.shape[1] / len(entities))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(prog="make bench-speed", description=__doc__)
    options.add_data(parser)
    options.add_output(parser, "speed.md")
    parser.add_argument("--model", required=True, metavar="URI", help="a model of real places")
    parser.add_argument("--rows", type=int, nargs=2, default=ROWS, metavar="N", help="of files")
    given = parser.parse_args(arguments)
    if given.rows[0] == given.rows[1]:
        parser.error("the files must differ in size")
    facts = tables.machine()
    labeler = load_model(given.model).bundle.labeler
    real = given.data / "places" / "maine.parquet"
    made = perturbed(pq.read_table(real), 0, ENTITIES, np.random.default_rng(1))
    entities = conform(made, labeler.schema)
    timed = list(stages(labeler, entities))
    given.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        work = Path(folder)
        write_bundle(labeler, work / "bundle", version("labelwright"), {})
        labelled = label_files(work / "bundle", real, sorted(given.rows), work)
        words = findings(labeler, entities, work / "bundle", work)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(document(timed, labelled, facts, words), "utf-8")
    print(given.output.read_text("utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
