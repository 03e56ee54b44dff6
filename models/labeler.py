"""The one implementation of labelling: training, HTTP, files and MLflow all call it."""

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
    Asked,
    Decisions,
    LabelQuery,
    Lists,
    Predictions,
    answer_row,
    new_lists,
)
from labelwright.models.features.space import FeatureRows, FeatureSpace
from labelwright.models.kernels.jit import compiled
from labelwright.models.labels import LabelSet
from labelwright.models.stages.implications import Implications, choose_implied, raise_row
from labelwright.models.stages.linear import (
    LabelIds,
    LinearStage,
    Scores,
    candidates,
    new_ahead,
    new_line,
    score_row,
)
from labelwright.models.stages.namesakes import Memory, Namesakes, recall_row
from labelwright.models.stages.reranker import (
    Knots,
    Pairs,
    Relations,
    Reranker,
    calibrate,
    describe,
    pair_features,
)
from labelwright.models.stages.trees import Forest, new_workspace, walk, whole_lanes

CHUNK = 16_384
"""Entities whose features are held at a time, so that memory does not grow with the request."""


def proposed(
    linear: LinearStage, implications: Implications, rows: FeatureRows, count: int
) -> tuple[Scores, LabelIds]:
    """What the first stage says: scores of all labels, and the `count` best as candidates."""
    scores = linear.scores(rows)
    implications.raise_scores(scores)
    return scores, candidates(scores, count)


@dataclasses.dataclass(frozen=True)
class Labeler:
    """A model: immutable, and safe to use from many threads at once."""

    labels: LabelSet
    features: FeatureSpace
    linear: LinearStage
    implications: Implications
    namesakes: Namesakes
    reranker: Reranker
    decisions: Decisions

    @property
    def schema(self) -> EntitySchema:
        """The schema of the entities it labels."""
        return self.features.schema

    def label(self, entities: Entities, query: LabelQuery) -> Predictions:
        """The labels of each entity; a rejected row's answer is that of an empty entity.

        Raises RequestError for a question that this model cannot answer.
        """
        asked = self.asked(query)
        parts = [
            self._label_chunk(entities.slice(start, CHUNK), asked)
            for start in range(0, len(entities), CHUNK)
        ]
        return parts[0] if len(parts) == 1 else Predictions.joined(parts, self.labels)

    def label_together(self, parts: Sequence[Entities], query: LabelQuery) -> Predictions:
        """The same for several tables in one go, which small ones take less time for."""
        return self.label(parts[0] if len(parts) == 1 else concatenate(parts), query)

    def check(self, query: LabelQuery) -> None:
        """Raise RequestError for a question that this model cannot answer."""
        self.asked(query)

    def asked(self, query: LabelQuery) -> Asked:
        """A question as the kernels read it, which may name labels as they were called before.

        Raises RequestError for a question that this model cannot answer.
        """
        current = [self.schema.redirects.current(pattern) for pattern in query.only]
        if None in current:
            raise RequestError("a label in 'only' is retired")
        only = tuple(pattern for pattern in current if pattern is not None)
        return self.decisions.asked(dataclasses.replace(query, only=only), self.labels)

    def pairs(self, rows: FeatureRows, scores: Scores, chosen: LabelIds) -> Pairs:
        """What the reranker looks at: (n * candidates) x features."""
        recalled = self.namesakes.recall(rows.names, chosen)
        return pair_features(rows, scores, chosen, recalled, self.reranker.relations)

    def _label_chunk(self, entities: Entities, asked: Asked) -> Predictions:
        rows = self.features.transform(entities)
        count = min(self.decisions.candidates, len(self.labels))
        lists = new_lists(len(entities), count, asked)
        _label(self._stages, rows, asked, count, lists)
        return lists.predictions(self.labels)

    @functools.cached_property
    def _stages(self) -> "_Stages":
        reranker = self.reranker
        stages = _Stages(
            self.linear,
            self.implications,
            self.namesakes.memory,
            reranker.relations,
            reranker.forest,
            reranker.knots,
        )
        return cast(_Stages, _read_only(stages))

    def warm_up(self) -> None:
        """Compile or load what labelling takes and build all tables, with an empty entity."""
        self.label(
            Entities.empty(self.schema, 1), LabelQuery(top_k=min(len(self.labels), TOP_K_LIMIT))
        )


class _Stages(NamedTuple):
    """All that the kernel looks at."""

    linear: LinearStage
    implications: Implications
    memory: Memory
    relations: Relations
    forest: Forest
    knots: Knots


def _read_only(part: Any) -> Any:
    """A part with arrays like those of a bundle on disk: kernels are compiled for no others."""
    if isinstance(part, tuple):
        return type(part)(*(_read_only(field) for field in part))
    if not isinstance(part, np.ndarray):
        return part
    array = part.view(np.ndarray)
    array.flags.writeable = False
    return array


@compiled
def _label(stages: _Stages, rows: FeatureRows, asked: Asked, count: int, lists: Lists) -> None:
    """All stages for one entity after another, so that what is known of one stays in the cache."""
    linear, implications, memory, relations, forest, knots = stages
    ahead, line, work = new_ahead(rows), new_line(linear.bias.size), new_workspace(forest)
    chosen = np.empty(count, np.int32)
    recalled = np.empty((count, 2), np.float32)
    pairs = np.zeros((forest.features, whole_lanes(count)), np.float32)
    raw = np.empty(count, np.float64)
    probabilities = np.empty(count, np.float32)
    for row in range(rows.names.size):
        score_row(linear, rows, row, ahead, line)
        choose_implied(implications, line, chosen)
        recall_row(memory, rows.names[row], chosen, recalled)
        known = rows.indptr[row + 1] - rows.indptr[row]
        describe(known, line.scores, chosen, recalled, relations, pairs)
        walk(forest, pairs, work, raw)
        calibrate(raw, knots, probabilities)
        raise_row(implications, chosen, probabilities)
        answer_row(asked, implications, line, chosen, probabilities, lists, row)
