"""Reference implementation of the labeler, which runs each stage over all entities.

The labeler itself runs all stages for one entity before the next entity. Both must give the same
results.
"""

import itertools

import lightgbm
import numpy as np
import numpy.typing as npt

from labelwright.models.decisions import (
    Decisions,
    LabelQuery,
    Predictions,
    new_buffers,
    predict_row,
)
from labelwright.models.features.space import FeatureRows
from labelwright.models.labeler import Labeler, propose_candidates
from labelwright.models.labels import LabelSet
from labelwright.models.stages.groups import Groups
from labelwright.models.stages.implications import Implications
from labelwright.models.stages.linear import (
    LabelIds,
    LinearStage,
    Scores,
    fill_row_scores,
    new_row_scores,
)
from labelwright.models.stages.reranker import Pairs, calibrated

Probabilities = npt.NDArray[np.float32]


def candidates_of(labeler: Labeler, rows: FeatureRows) -> tuple[Scores, LabelIds]:
    """The scores of all labels and the candidates of each row."""
    return propose_candidates(
        labeler.linear, labeler.implications, rows, labeler.decisions.candidates
    )


def pairs_of(labeler: Labeler, rows: FeatureRows) -> Pairs:
    """Features of the (entity, candidate) pairs."""
    return labeler.pairs(rows, *candidates_of(labeler, rows))


def raw_scores(labeler: Labeler, pairs: Pairs) -> npt.NDArray[np.float64]:
    """Raw scores of pairs by LightGBM's own prediction."""
    if not len(pairs):
        return np.zeros(0)
    booster = lightgbm.Booster(model_str=labeler.reranker.trees)
    return np.asarray(booster.predict(pairs, raw_score=True))


def stages(labeler: Labeler, rows: FeatureRows) -> tuple[Scores, LabelIds, Probabilities]:
    """Scores of all labels, the candidates, and the candidates' probabilities."""
    scores, chosen = candidates_of(labeler, rows)
    raw = raw_scores(labeler, labeler.pairs(rows, scores, chosen))
    probabilities = calibrated(raw, labeler.reranker.knots).reshape(chosen.shape)
    labeler.implications.raise_probabilities(chosen, probabilities)
    labeler.groups.apply(labeler.implications, chosen, probabilities)
    return scores, chosen, probabilities


def predict(
    decisions: Decisions,
    query: LabelQuery,
    labels: LabelSet,
    implications: Implications,
    scores: Scores,
    chosen: LabelIds,
    probabilities: Probabilities,
    groups: Groups | None = None,
) -> Predictions:
    """Predictions for n entities from their scores (n x labels) and reranked candidates."""
    kernel_query = decisions.kernel_query(query, labels)
    arrays = (groups or Groups.none(labels)).arrays
    kinds = bool(arrays.kinds.size)
    buffers = new_buffers(len(chosen), chosen.shape[1], kernel_query, kinds)
    line = new_row_scores(scores.shape[1])
    for row in range(len(chosen)):
        fill_row_scores(scores[row], line)
        predict_row(
            kernel_query,
            implications,
            arrays,
            line,
            chosen[row],
            probabilities[row],
            buffers,
            row,
        )
    return buffers.predictions(labels)


def rounding(stage: LinearStage, rows: FeatureRows) -> npt.NDArray[np.float64]:
    """The largest error of the scores of each row that quantising the factors can cause."""
    errors = []
    for begin, end in itertools.pairwise(rows.indptr):
        features = rows.indices[begin:end]
        dense = features < len(stage.dense)
        factors = np.abs(rows.values[begin:end] * stage.scales[features])[dense]
        step = max(factors.max(initial=0) / (2**15 - 1), factors.sum() / 2**23)
        errors.append(127 * len(factors) * step / 2)
    return np.array(errors)
