"""How long each stage takes on one thread, beside what others would use for the same."""

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
from labelwright.models.labeler import Labeler, proposed
from labelwright.models.stages.trees import new_workspace, walk

OWN = "labelwright"
ALONE, PARSED = "one entity alone", "one entity alone, from parsed JSON"
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
    texts = as_texts(few.table)
    pipeline = Pipeline(labeler)
    yield Timed("features", OWN, best(lambda: labeler.features.transform(entities), len(entities)))
    yield Timed(
        "features",
        "scikit-learn HashingVectorizer, letters only",
        best(lambda: pipeline.transform(texts), len(few)),
    )
    yield Timed("scores of all labels", OWN, best(lambda: labeler.linear.scores(some), len(few)))
    yield Timed(
        "scores of all labels",
        "SciPy's product with sparse weights",
        best(lambda: matrix @ weights, len(few)),
    )
    yield Timed(
        "scores of all labels",
        "SciPy's product with dense weights, as in scikit-learn",
        best(lambda: matrix @ pipeline.weights, len(few)),
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
    yield Timed(
        "everything", OWN, best(lambda: labeler.label(entities, LabelQuery()), len(entities))
    )
    yield Timed("everything", PIPELINE, best(lambda: pipeline.label(texts), len(few)))
    record = one_record(entities)
    single = from_records([record], labeler.schema)
    yield Timed(ALONE, OWN, best(lambda: labeler.label(single, LabelQuery()), 1))
    yield Timed(ALONE, PIPELINE, best(lambda: pipeline.label(texts[:1]), 1))
    yield Timed(
        PARSED,
        OWN,
        best(lambda: labeler.label(from_records([record], labeler.schema), LabelQuery()), 1),
    )


def through_mlflow(uri: str, record: dict[str, Any]) -> Timed:
    """One entity alone, with the registered model as MLflow loads it for anybody."""
    model = mlflow.pyfunc.load_model(uri)
    return Timed(
        PARSED,
        "mlflow.pyfunc, the same model",
        best(lambda: model.predict(pd.DataFrame([record])), 1),
    )


def as_matrix(rows: FeatureRows, features: int) -> Any:
    """Feature rows as SciPy has them."""
    shape = (len(rows.names), features)
    return scipy.sparse.csr_array((rows.values, rows.indices, rows.indptr), shape=shape)


def one_record(entities: Entities) -> dict[str, Any]:
    """The first entity as JSON has it."""
    record: dict[str, Any] = entities.table.slice(0, 1).to_pylist()[0]
    return {name: value for name, value in record.items() if value is not None}
