"""What speed costs in quality: answers as they are given, beside those of the exact model.

The exact model has the weights as they were fitted, in half precision: none is dropped and none is
rounded to 8 bits. All of them are multiplied by SciPy, and all candidates are scored by LightGBM's
own prediction.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import lightgbm
import numpy as np

from benchmarks.kernels import OWN, as_matrix
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
"""Of each block of labels, by its first label: the weights, and those of the constant feature."""


@dataclasses.dataclass(frozen=True)
class Quality:
    """How good one way of answering is on one part of the data, in percent."""

    part: str
    way: str
    p_at_1: float
    p_at_5: float


def qualities(train: Path, tests: Sequence[tuple[str, Path]]) -> Iterator[Quality]:
    """Fit one model with the default configuration, and ask it both ways about each part."""
    schema = load_schema("places")
    with unrounded() as weights:
        labeler = fit_labeler(read_labelled([train], schema), Configuration())
    for part, file in tests:
        data = read_labelled([file], schema)
        truth = data.matrix(labeler.labels)
        rows = labeler.features.transform(data.entities)
        for way, predictions in (
            (OWN, labeler.label(data.entities, LabelQuery())),
            (EXACT, exact_answers(labeler, rows, weights)),
        ):
            metrics = evaluate(predictions, truth).metrics
            yield Quality(part, way, metrics.p_at_1, metrics.p_at_5)


@contextlib.contextmanager
def unrounded() -> Iterator[Weights]:
    """Take note of the weights of the linear stage that is fitted last in the body."""
    noted: Weights = {}

    def note(first: int, weights: Halves, constant: Floats) -> None:
        noted[first] = weights, constant

    noting = functools.partial(linear.fit_linear, fitted=note)
    with mock.patch.object(fit, "fit_linear", noting):
        yield noted


def exact_answers(labeler: Labeler, rows: FeatureRows, weights: Weights) -> Predictions:
    """The candidates of each row as answers, the most probable first."""
    booster = lightgbm.Booster(model_str=labeler.reranker.trees)
    ids, probabilities = [], []
    for start in range(0, len(rows.names), CHUNK):
        part = rows.take(np.arange(start, min(start + CHUNK, len(rows.names))))
        scores = exact_scores(labeler, part, weights)
        labeler.implications.raise_scores(scores)
        chosen = candidates(scores, labeler.decisions.candidates)
        raw = np.asarray(booster.predict(labeler.pairs(part, scores, chosen), raw_score=True))
        found = calibrated(raw, labeler.reranker.knots).reshape(chosen.shape)
        labeler.implications.raise_probabilities(chosen, found)
        order = np.argsort(-found, axis=1, kind="stable")
        ids.append(np.take_along_axis(chosen, order, axis=1))
        probabilities.append(np.take_along_axis(found, order, axis=1))
    labels, certain = np.concatenate(ids), np.concatenate(probabilities)
    thresholds = labeler.decisions.policies[BALANCED]
    indptr = np.arange(len(labels) + 1, dtype=np.int64) * labels.shape[1]
    asserted = certain >= thresholds[labels]
    return Predictions(labeler.labels, indptr, labels.ravel(), certain.ravel(), asserted.ravel())


def exact_scores(labeler: Labeler, rows: FeatureRows, weights: Weights) -> Scores:
    """The scores of all labels, by a product of matrices."""
    matrix = as_matrix(rows, len(labeler.features.keys))
    scores = [
        matrix @ weights[first][0].view(np.float16).astype(np.float32)
        + (START + CONSTANT * weights[first][1])
        for first in sorted(weights)
    ]
    found: Scores = np.concatenate(scores, axis=1).astype(np.float32)
    if found.shape[1] != len(labeler.labels):
        raise ValueError("these are not the weights of this model")
    return np.ascontiguousarray(found)
