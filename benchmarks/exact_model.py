"""Loss of quality in exchange for speed: the labeler compared with the exact model.

The exact model has the fitted weights in half precision: no weight is dropped or rounded to 8 bits.
SciPy computes the product with all weights, and LightGBM's own prediction scores all candidates.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import lightgbm
import numpy as np

from benchmarks.stage_times import OWN, as_matrix
from labelwright.entities.schema import load_schema
from labelwright.models.decisions import BALANCED, LabelQuery, Predictions
from labelwright.models.features.space import FeatureRows
from labelwright.models.labeler import Labeler
from labelwright.models.stages.linear import Scores, candidates
from labelwright.models.stages.reranker import calibrated
from labelwright.training.data import read_labelled
from labelwright.training.evaluation.metrics import evaluate
from labelwright.training.fitting import fit, linear
from labelwright.training.fitting.fit import Configuration, fit_labeler
from labelwright.training.fitting.linear import CONSTANT, START, Floats, Halves

EXACT = "the exact model"
CHUNK = 4_096

Weights = dict[int, tuple[Halves, Floats]]
"""For the first label of each block: the weights of the block, and of its constant feature."""


@dataclasses.dataclass(frozen=True)
class Quality:
    """Precision of one method on one part of the data, in percent."""

    part: str
    method: str
    p_at_1: float
    p_at_5: float


def qualities(train: Path, tests: Sequence[tuple[str, Path]]) -> Iterator[Quality]:
    """Fit a model with the default configuration, and evaluate both methods on each part."""
    schema = load_schema("places")
    with fitted_weights() as weights:
        labeler = fit_labeler(read_labelled([train], schema), Configuration())
    for part, file in tests:
        data = read_labelled([file], schema)
        truth = data.matrix(labeler.labels)
        rows = labeler.features.transform(data.entities)
        for method, predictions in (
            (OWN, labeler.label(data.entities, LabelQuery())),
            (EXACT, exact_predictions(labeler, rows, weights)),
        ):
            metrics = evaluate(predictions, truth).metrics
            yield Quality(part, method, metrics.p_at_1, metrics.p_at_5)


@contextlib.contextmanager
def fitted_weights() -> Iterator[Weights]:
    """Record the weights of the linear stage that is fitted last in the body of `with`."""
    recorded: Weights = {}

    def record(first: int, weights: Halves, constant: Floats) -> None:
        recorded[first] = weights, constant

    recording = functools.partial(linear.fit_linear, fitted=record)
    with mock.patch.object(fit, "fit_linear", recording):
        yield recorded


def exact_predictions(labeler: Labeler, rows: FeatureRows, weights: Weights) -> Predictions:
    """The exact model's predictions: all candidates of each row, the most probable first."""
    booster = lightgbm.Booster(model_str=labeler.reranker.trees)
    ids, probabilities = [], []
    for start in range(0, len(rows.names), CHUNK):
        part = rows.take(np.arange(start, min(start + CHUNK, len(rows.names))))
        scores = exact_scores(labeler, part, weights)
        labeler.implications.raise_scores(scores)
        chosen = candidates(scores, labeler.decisions.candidates)
        raw = np.asarray(booster.predict(labeler.pairs(part, scores, chosen), raw_score=True))
        probable = calibrated(raw, labeler.reranker.knots).reshape(chosen.shape)
        labeler.implications.raise_probabilities(chosen, probable)
        order = np.argsort(-probable, axis=1, kind="stable")
        ids.append(np.take_along_axis(chosen, order, axis=1))
        probabilities.append(np.take_along_axis(probable, order, axis=1))
    labels, values = np.concatenate(ids), np.concatenate(probabilities)
    thresholds = labeler.decisions.policies[BALANCED]
    indptr = np.arange(len(labels) + 1, dtype=np.int64) * labels.shape[1]
    asserted = values >= thresholds[labels]
    return Predictions(labeler.labels, indptr, labels.ravel(), values.ravel(), asserted.ravel())


def exact_scores(labeler: Labeler, rows: FeatureRows, weights: Weights) -> Scores:
    """The exact model's scores of all labels (entities x labels).

    Raises ValueError if the weights and the labeler have different numbers of labels.
    """
    matrix = as_matrix(rows, len(labeler.features.keys))
    scores = [
        matrix @ weights[first][0].view(np.float16).astype(np.float32)
        + (START + CONSTANT * weights[first][1])
        for first in sorted(weights)
    ]
    found: Scores = np.concatenate(scores, axis=1).astype(np.float32)
    if found.shape[1] != len(labeler.labels):
        raise ValueError(
            f"weights of {found.shape[1]} labels: the model has {len(labeler.labels)}; "
            "expected the weights of the same fit"
        )
    return np.ascontiguousarray(found)
