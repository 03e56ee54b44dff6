"""Time of each stage of labelling on one thread, compared with other implementations."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import lightgbm
import mlflow.pyfunc
import numpy as np
import pandas as pd
import scipy.sparse

from benchmarks.pipeline import PIPELINE, Pipeline, as_texts, as_weights
from labelwright.entities.tables import Entities, from_records
from labelwright.models.decisions import LabelQuery
from labelwright.models.features.space import FeatureRows
from labelwright.models.kernels.simd import LANES
from labelwright.models.labeler import Labeler, propose_candidates
from labelwright.models.mlflow_server import connect
from labelwright.models.stages.trees import new_workspace, walk

OWN = "labelwright"
ALONE, PARSED = "one entity alone", "one entity alone, from parsed JSON"
SMALL = 2_048
"""Number of entities for the slower implementations."""
REPEATS = 5


@dataclasses.dataclass(frozen=True)
class StageTime:
    """Microseconds per entity of one implementation of a task."""

    task: str
    method: str
    microseconds: float


def best_time(task: Callable[[], object], entities: int) -> float:
    """Wall microseconds per entity on one thread: the shortest time of REPEATS repetitions."""
    task()
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - began)
    return min(seconds) * 1e6 / entities


def stages(labeler: Labeler, entities: Entities) -> Iterator[StageTime]:
    """Time each stage of the labeler, and other implementations of the same stage."""
    few = entities.slice(0, SMALL)
    some = labeler.features.transform(few)
    scores, chosen = propose_candidates(
        labeler.linear, labeler.implications, some, labeler.decisions.candidates
    )
    pairs = labeler.pairs(some, scores, chosen)
    padding = -len(pairs) % LANES
    lanes = np.ascontiguousarray(np.pad(pairs.T, ((0, 0), (0, padding))))
    raw = np.empty(len(pairs))
    forest = labeler.reranker.forest
    workspace = new_workspace(forest)
    booster = lightgbm.Booster(model_str=labeler.reranker.trees)
    matrix, weights = as_matrix(some, len(labeler.features.keys)), as_weights(labeler.linear)
    texts = as_texts(few.table)
    pipeline = Pipeline(labeler)
    yield StageTime(
        "features", OWN, best_time(lambda: labeler.features.transform(entities), len(entities))
    )
    yield StageTime(
        "features",
        "scikit-learn HashingVectorizer, character n-grams only",
        best_time(lambda: pipeline.transform(texts), len(few)),
    )
    yield StageTime(
        "scores of all labels", OWN, best_time(lambda: labeler.linear.scores(some), len(few))
    )
    yield StageTime(
        "scores of all labels",
        "SciPy's product with sparse weights",
        best_time(lambda: matrix @ weights, len(few)),
    )
    yield StageTime(
        "scores of all labels",
        "SciPy's product with dense weights, as in scikit-learn",
        best_time(lambda: matrix @ pipeline.weights, len(few)),
    )
    yield StageTime(
        "trees on the candidates",
        OWN,
        best_time(lambda: walk(forest, lanes, workspace, raw), len(few)),
    )
    yield StageTime(
        "trees on the candidates",
        "LightGBM predict",
        best_time(lambda: booster.predict(pairs, raw_score=True, num_threads=1), len(few)),
    )
    yield StageTime(
        "everything", OWN, best_time(lambda: labeler.label(entities, LabelQuery()), len(entities))
    )
    yield StageTime("everything", PIPELINE, best_time(lambda: pipeline.label(texts), len(few)))
    record = first_record(entities)
    single = from_records([record], labeler.schema)
    yield StageTime(ALONE, OWN, best_time(lambda: labeler.label(single, LabelQuery()), 1))
    yield StageTime(ALONE, PIPELINE, best_time(lambda: pipeline.label(texts[:1]), 1))
    yield StageTime(
        PARSED,
        OWN,
        best_time(lambda: labeler.label(from_records([record], labeler.schema), LabelQuery()), 1),
    )


def through_mlflow(uri: str, record: dict[str, Any]) -> StageTime:
    """Time one entity with `mlflow.pyfunc.load_model` of the same registered model."""
    with connect():
        model = mlflow.pyfunc.load_model(uri)
    return StageTime(
        PARSED,
        "mlflow.pyfunc, the same model",
        best_time(lambda: model.predict(pd.DataFrame([record])), 1),
    )


def as_matrix(rows: FeatureRows, features: int) -> Any:
    """Feature rows as a sparse matrix of SciPy, entities x features."""
    shape = (len(rows.names), features)
    return scipy.sparse.csr_array((rows.values, rows.indices, rows.indptr), shape=shape)


def first_record(entities: Entities) -> dict[str, Any]:
    """The first entity as a JSON object, without null values."""
    record: dict[str, Any] = entities.table.slice(0, 1).to_pylist()[0]
    return {name: value for name, value in record.items() if value is not None}
