"""How long each stage takes on one thread, beside what others would use for the same."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import lightgbm
import numpy as np
import scipy.sparse
from sklearn.feature_extraction.text import HashingVectorizer

from entities.tables import Entities, from_records
from models.decisions import Question
from models.features import FeatureRows
from models.instructions import LANES
from models.labeler import Labeler, proposed
from models.linear import LinearStage, parted
from models.trees import new_workspace, walk

OWN = "labelwright"
SMALL = 2_048
"""Entities that slower ways are timed on."""
REPEATS = 5


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
    idle = -len(pairs) % LANES
    lanes = np.ascontiguousarray(np.pad(pairs.T, ((0, 0), (0, idle))))
    raw = np.empty(len(pairs))
    forest = labeler.reranker.forest
    work = new_workspace(forest)
    booster = lightgbm.Booster(model_str=labeler.reranker.trees)
    matrix, weights = as_matrix(some, len(labeler.features.keys)), as_weights(labeler.linear)
    texts = as_texts(few)
    vectorizer = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), n_features=1 << 19)
    yield Timed("features", OWN, best(lambda: labeler.features.transform(entities), len(entities)))
    yield Timed(
        "features",
        "scikit-learn HashingVectorizer, letters only",
        best(lambda: vectorizer.transform(texts), len(few)),
    )
    yield Timed("scores of all labels", OWN, best(lambda: labeler.linear.scores(some), len(few)))
    yield Timed(
        "scores of all labels",
        "SciPy's sparse product, as in scikit-learn",
        best(lambda: matrix @ weights, len(few)),
    )
    yield Timed(
        "trees on the candidates",
        OWN,
        best(lambda: walk(forest, lanes, work, raw), len(few)),
    )
    yield Timed(
        "trees on the candidates",
        "LightGBM predict",
        best(lambda: booster.predict(pairs, raw_score=True, num_threads=1), len(few)),
    )
    yield Timed("everything", OWN, best(lambda: labeler.label(entities, Question()), len(entities)))
    record = one_record(entities)
    single = from_records([record], labeler.schema)
    yield Timed("one entity alone", OWN, best(lambda: labeler.label(single, Question()), 1))
    yield Timed(
        "one entity alone, from parsed JSON",
        OWN,
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
    ids, weights = parted(stage.sparse)
    content = weights.astype(np.float32), ids, stage.sparse_indptr
    rare = scipy.sparse.csr_array(content, shape=shape)
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
