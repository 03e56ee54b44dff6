"""The labeler: all stages of a model. Training, HTTP, files and MLflow use this class to label."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from labelwright.entities.errors import RequestError
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities, concatenate
from labelwright.models.decisions import (
    TOP_K_LIMIT,
    Decisions,
    KernelQuery,
    LabelQuery,
    PredictionBuffers,
    Predictions,
    new_buffers,
    predict_row,
)
from labelwright.models.features.space import FeatureRows, FeatureSpace
from labelwright.models.kernels.jit import compiled
from labelwright.models.labels import LabelSet
from labelwright.models.stages.implications import Implications, choose_with_ancestors, raise_row
from labelwright.models.stages.linear import (
    LabelIds,
    LinearStage,
    Scores,
    candidates,
    new_lookahead,
    new_row_scores,
    score_row,
)
from labelwright.models.stages.namesakes import NamesakeArrays, Namesakes, recall_row
from labelwright.models.stages.reranker import (
    Knots,
    Pairs,
    Relations,
    Reranker,
    calibrate,
    describe_pairs,
    pair_features,
)
from labelwright.models.stages.trees import Forest, new_workspace, walk, whole_lanes

CHUNK = 16_384
"""Entities labelled at a time: their features are in memory, so this bounds the memory needed."""


def propose_candidates(
    linear: LinearStage, implications: Implications, rows: FeatureRows, count: int
) -> tuple[Scores, LabelIds]:
    """The first stage: scores of all labels, and the `count` best labels as candidates."""
    scores = linear.scores(rows)
    implications.raise_scores(scores)
    return scores, candidates(scores, count)


@dataclasses.dataclass(frozen=True)
class Labeler:
    """A trained model. It is immutable, and many threads may use it at once."""

    labels: LabelSet
    features: FeatureSpace
    linear: LinearStage
    implications: Implications
    namesakes: Namesakes
    reranker: Reranker
    decisions: Decisions

    @property
    def schema(self) -> EntitySchema:
        """The schema of the entities that this model labels."""
        return self.features.schema

    def label(self, entities: Entities, query: LabelQuery) -> Predictions:
        """The labels of each entity; a rejected row gets the labels of an empty entity.

        Raises RequestError for a query that this model does not support.
        """
        kernel_query = self.kernel_query(query)
        parts = [
            self._label_chunk(entities.slice(start, CHUNK), kernel_query)
            for start in range(0, len(entities), CHUNK)
        ]
        return parts[0] if len(parts) == 1 else Predictions.joined(parts, self.labels)

    def label_together(self, parts: Sequence[Entities], query: LabelQuery) -> Predictions:
        """The labels of the entities of several tables; faster than one call for each table."""
        return self.label(parts[0] if len(parts) == 1 else concatenate(parts), query)

    def check(self, query: LabelQuery) -> None:
        """Raise RequestError for a query that this model does not support."""
        self.kernel_query(query)

    def kernel_query(self, query: LabelQuery) -> KernelQuery:
        """A query for kernels; its patterns may use former names of labels.

        Raises RequestError for a query that this model does not support.
        """
        current = [self.schema.redirects.current(pattern) for pattern in query.only]
        if None in current:
            raise RequestError(
                "a label in 'only' is retired: the schema no longer has it; leave it out"
            )
        only = tuple(pattern for pattern in current if pattern is not None)
        return self.decisions.kernel_query(dataclasses.replace(query, only=only), self.labels)

    def pairs(self, rows: FeatureRows, scores: Scores, chosen: LabelIds) -> Pairs:
        """The input of the reranker: (n * candidates) x features."""
        recalled = self.namesakes.recall(rows.names, chosen)
        return pair_features(rows, scores, chosen, recalled, self.reranker.relations)

    def _label_chunk(self, entities: Entities, kernel_query: KernelQuery) -> Predictions:
        rows = self.features.transform(entities)
        count = min(self.decisions.candidates, len(self.labels))
        buffers = new_buffers(len(entities), count, kernel_query)
        _label(self._stages, rows, kernel_query, count, buffers)
        return buffers.predictions(self.labels)

    @functools.cached_property
    def _stages(self) -> "_Stages":
        reranker = self.reranker
        stages = _Stages(
            self.linear,
            self.implications,
            self.namesakes.arrays,
            reranker.relations,
            reranker.forest,
            reranker.knots,
        )
        return cast(_Stages, _read_only(stages))

    def warm_up(self) -> None:
        """Label an empty entity, so that all kernels are compiled and all tables are built."""
        self.label(
            Entities.empty(self.schema, 1), LabelQuery(top_k=min(len(self.labels), TOP_K_LIMIT))
        )


class _Stages(NamedTuple):
    """All parts of the model that the kernel reads."""

    linear: LinearStage
    implications: Implications
    arrays: NamesakeArrays
    relations: Relations
    forest: Forest
    knots: Knots


def _read_only(part: Any) -> Any:
    """The same part with read-only arrays, as in a bundle on disk.

    Kernels are compiled once for each kind of array; so there is only one kind.
    """
    if isinstance(part, tuple):
        return type(part)(*(_read_only(field) for field in part))
    if not isinstance(part, np.ndarray):
        return part
    array = part.view(np.ndarray)
    array.flags.writeable = False
    return array


@compiled
def _label(
    stages: _Stages,
    rows: FeatureRows,
    kernel_query: KernelQuery,
    count: int,
    buffers: PredictionBuffers,
) -> None:
    """Run all stages for one entity after another, so its data stay in the processor's cache."""
    linear, implications, arrays, relations, forest, knots = stages
    lookahead, row_scores, work = (
        new_lookahead(rows),
        new_row_scores(linear.bias.size),
        new_workspace(forest),
    )
    chosen = np.empty(count, np.int32)
    recalled = np.empty((count, 2), np.float32)
    pairs = np.zeros((forest.features, whole_lanes(count)), np.float32)
    raw = np.empty(count, np.float64)
    probabilities = np.empty(count, np.float32)
    for row in range(rows.names.size):
        score_row(linear, rows, row, lookahead, row_scores)
        choose_with_ancestors(implications, row_scores, chosen)
        recall_row(arrays, rows.names[row], chosen, recalled)
        known = rows.indptr[row + 1] - rows.indptr[row]
        describe_pairs(known, row_scores.scores, chosen, recalled, relations, pairs)
        walk(forest, pairs, work, raw)
        calibrate(raw, knots, probabilities)
        raise_row(implications, chosen, probabilities)
        predict_row(kernel_query, implications, row_scores, chosen, probabilities, buffers, row)
