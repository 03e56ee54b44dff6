"""The labeler: all stages of a model. Training, the service, bulk jobs and MLflow all use it."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from labelwright.entities.errors import RequestError
from labelwright.entities.label_book import LabelBook
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
from labelwright.models.stages.groups import GroupArrays, Groups, apply_groups
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
"""The number of entities labelled at a time. Their features are in memory, so this number limits
the memory that labelling needs."""


def propose_candidates(
    linear: LinearStage, implications: Implications, rows: FeatureRows, count: int
) -> tuple[Scores, LabelIds]:
    """Run the linear stage, with implications.

    Returns the scores of all labels (n x labels) and the candidates: the ids of the `count` best
    labels of each row (n x count, or n x labels if there are fewer labels).
    """
    scores = linear.scores(rows)
    implications.raise_scores(scores)
    return scores, candidates(scores, count)


@dataclasses.dataclass(frozen=True)
class Labeler:
    """A trained model. It is immutable, and many threads may use it at once.

    `book` is the label book of its training. It is empty if there was none, or if it was built in.
    """

    labels: LabelSet
    features: FeatureSpace
    linear: LinearStage
    implications: Implications
    namesakes: Namesakes
    reranker: Reranker
    groups: Groups
    decisions: Decisions
    book: LabelBook = dataclasses.field(default_factory=LabelBook)

    @property
    def schema(self) -> EntitySchema:
        """The schema of the entities that this model labels."""
        return self.features.schema

    @property
    def one_exclusive_group(self) -> bool:
        """Whether all labels are one exclusive group: each entity has one label."""
        exclusive = self.groups.memberships.exclusive
        return bool((exclusive == 0).all())

    def label(self, entities: Entities, query: LabelQuery) -> Predictions:
        """The predictions for some entities; rejected rows get the predictions of an empty entity.

        Raises RequestError for a query that this model does not support.
        """
        kernel_query = self.kernel_query(query)
        parts = [
            self._label_chunk(entities.slice(start, CHUNK), kernel_query)
            for start in range(0, len(entities), CHUNK)
        ]
        return parts[0] if len(parts) == 1 else Predictions.joined(parts, self.labels)

    def label_together(self, parts: Sequence[Entities], query: LabelQuery) -> Predictions:
        """The predictions for several tables, one after another. Faster than one call for each."""
        return self.label(parts[0] if len(parts) == 1 else concatenate(parts), query)

    def check(self, query: LabelQuery) -> None:
        """Raise RequestError for a query that this model does not support."""
        self.kernel_query(query)

    def kernel_query(self, query: LabelQuery) -> KernelQuery:
        """Convert a query for kernels. Its patterns may use former names of labels.

        Raises RequestError for a query that this model does not support.
        """
        current = [self.schema.redirects.current(pattern) for pattern in query.only]
        if None in current:
            raise RequestError("a label in 'only' is retired: no label replaces it; leave it out")
        only = tuple(pattern for pattern in current if pattern is not None)
        return self.decisions.kernel_query(dataclasses.replace(query, only=only), self.labels)

    def pairs(self, rows: FeatureRows, scores: Scores, chosen: LabelIds) -> Pairs:
        """The input of the reranker: the features of the pairs, (n * candidates) x features.

        `scores` (n x labels) and `chosen` (n x candidates) come from `propose_candidates`.
        """
        recalled = self.namesakes.recall(rows.names, chosen)
        return pair_features(rows, scores, chosen, recalled, self.reranker.relations)

    def _label_chunk(self, entities: Entities, kernel_query: KernelQuery) -> Predictions:
        rows = self.features.transform(entities)
        count = min(self.decisions.candidates, len(self.labels))
        buffers = new_buffers(
            len(entities), count, kernel_query, bool(self.groups.arrays.kinds.size)
        )
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
            self.groups.arrays,
        )
        return cast(_Stages, _read_only(stages))

    def warm_up(self) -> None:
        """Label an empty entity: it compiles the kernels of `label` and builds look-up tables."""
        self.label(
            Entities.empty(self.schema, 1), LabelQuery(top_k=min(len(self.labels), TOP_K_LIMIT))
        )


class _Stages(NamedTuple):
    """The parts of the model that the kernel `_label` reads."""

    linear: LinearStage
    implications: Implications
    arrays: NamesakeArrays
    relations: Relations
    forest: Forest
    knots: Knots
    groups: GroupArrays


def _read_only(part: Any) -> Any:
    """A part of a model with read-only views of its arrays.

    The arrays of a bundle on disk are read-only. Numba would compile the kernels a second time for
    writable arrays.
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
    """Run all stages for one entity before the next, so that its data stay in the cache."""
    linear, implications, arrays, relations, forest, knots, groups = stages
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
        apply_groups(groups, implications, chosen, probabilities)
        predict_row(
            kernel_query, implications, groups, row_scores, chosen, probabilities, buffers, row
        )
