"""The one implementation of labelling: training, HTTP, files and MLflow all call it."""

import dataclasses

from entities.schema import EntitySchema
from entities.tables import Entities
from models.decisions import (
    TOP_K_LIMIT,
    Answers,
    Decisions,
    Probabilities,
    Question,
    concatenated,
)
from models.features import FeatureRows, FeatureSpace
from models.implications import Implications
from models.labels import LabelSet
from models.linear import LabelIds, LinearStage, Scores, candidates
from models.namesakes import Namesakes
from models.reranker import Pairs, Reranker

CHUNK = 1_024
"""Entities whose scores are held at a time, so that memory does not grow with the request."""


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

    def label(self, entities: Entities, question: Question) -> Answers:
        """The labels of each entity; a rejected row's answer is that of an empty entity.

        Raises RequestError for a question that this model cannot answer.
        """
        self.check(question)
        parts = [
            self._label_chunk(entities.slice(start, CHUNK), question)
            for start in range(0, len(entities), CHUNK)
        ]
        return parts[0] if len(parts) == 1 else concatenated(parts, self.labels)

    def check(self, question: Question) -> None:
        """Raise RequestError for a question that this model cannot answer."""
        self.decisions.thresholds(question)
        self.labels.matching(question.only)

    def stages(self, rows: FeatureRows) -> tuple[Scores, LabelIds, Probabilities]:
        """Scores of all labels, the candidates, and the probabilities of the candidates."""
        scores, chosen = proposed(self.linear, self.implications, rows, self.decisions.candidates)
        pairs = self.pairs(rows, scores, chosen)
        probabilities = self.reranker.probabilities(pairs).reshape(chosen.shape)
        self.implications.raise_probabilities(chosen, probabilities)
        return scores, chosen, probabilities

    def pairs(self, rows: FeatureRows, scores: Scores, chosen: LabelIds) -> Pairs:
        """What the reranker looks at: (n * candidates) x features."""
        recalled = self.namesakes.recall(rows.names, chosen)
        return self.reranker.pairs(rows, scores, chosen, recalled)

    def _label_chunk(self, entities: Entities, question: Question) -> Answers:
        stages = self.stages(self.features.transform(entities))
        return self.decisions.answer(question, self.labels, self.implications, *stages)

    def warm_up(self) -> None:
        """Compile or load all kernels and build all tables, by labelling one empty entity."""
        self.label(
            Entities.empty(self.schema, 1), Question(top_k=min(len(self.labels), TOP_K_LIMIT))
        )
