"""Why an entity has a label, or has it not: what raised and lowered the label's log-odds.

The reasons of a label sum to its log-odds before calibration. Those of a candidate are the exact
contributions of the reranker's features (TreeSHAP: Lundberg et al. 2020), told in the words of the
input as far as they rest on the scores of the linear stage; those of any other label are the terms
of the linear stage itself.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from labelwright.entities.schema import NUMERIC, Kind
from labelwright.entities.tables import Entities
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.explain.shap import contributions
from labelwright.models.explain.spans import Span, trace
from labelwright.models.features.space import FeatureRows
from labelwright.models.labeler import CHUNK, Labeler, proposed
from labelwright.models.labels import LabelSet
from labelwright.models.stages.linear import LabelIds, Scores
from labelwright.models.stages.reranker import LABEL_FEATURE, PAIR_FEATURES, Pairs

LARGEST = 10
"""Reasons of one label that are told; all others are one."""
NEGLIGIBLE = 1e-3
"""Log-odds so small that they are told with the rest; also how exact the sum of the reasons is."""
TEXT_LIMIT = 100
"""Code points of a span that are repeated in a reason."""

ABOUT = {
    "field": "the part of the input that field, text, start and end name",
    "company": "the other labels that the entity may have; label names the one that says most",
    "namesakes": "the training entities that are called the same, and whether they have the label",
    "frequency": "where the label starts from, whatever the entity: how frequent it is",
    "competition": "how the label's score stands among those of all labels, and what implies it",
    "rest": "all reasons too small to be told",
}
"""What a reason can be about."""
_ABOUT = list(ABOUT)
REASON = pa.struct(
    [
        ("about", pa.string()),
        ("field", pa.string()),
        ("text", pa.string()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("label", pa.string()),
        ("weight", pa.float64()),
    ]
)
"""A reason: `weight` in log-odds; the others are null where they do not apply.

`start` and `end` are code points of the value as text, where the items of a list are joined by
semicolons; tags and numbers, which are no text, have none.
"""

_COMPANY = [
    PAIR_FEATURES.index(name)
    for name in (
        "support",
        "strongest_support",
        "lift",
        "missing_company",
        "brought_by_first",
        "brings_first",
        "specialisation",
    )
]
_NAMESAKES = [PAIR_FEATURES.index(name) for name in ("namesakes", "namesakes_with_label")]
_FREQUENCY = [LABEL_FEATURE, len(PAIR_FEATURES)]
_SCORES = sorted({*range(len(PAIR_FEATURES))} - {*_COMPANY, *_NAMESAKES, LABEL_FEATURE})
_DECIMALS = 4

Weights = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Answers with the log-odds and the reasons of each label that they list.

    `log_odds` (float64) are those before calibration, and before a label that is no candidate is
    held below the candidates; `reasons` is list<REASON>, the largest first and the rest last. Both
    have one item for each item of `predictions.ids`.
    """

    predictions: Predictions
    log_odds: Weights
    reasons: pa.ListArray

    def to_arrow(self, rejected: Sequence[int] = ()) -> pa.ListArray:
        """The structs of `Predictions.to_arrow` with log_odds and reasons, null if rejected."""
        lists = self.predictions.to_arrow()
        labels = lists.values
        structs = pa.StructArray.from_arrays(
            [*labels.flatten(), pa.array(self.log_odds), self.reasons],
            names=[*(field.name for field in labels.type), "log_odds", "reasons"],
        )
        missing = np.zeros(len(lists), np.bool_)
        missing[list(rejected)] = True
        return pa.ListArray.from_arrays(lists.offsets, structs, mask=pa.array(missing))

    def stated(self) -> list[list[dict[str, Any]]]:
        """The reasons of each label as JSON has them: without what is null."""
        return [
            [
                {name: value for name, value in reason.items() if value is not None}
                for reason in reasons
            ]
            for reasons in self.reasons.to_pylist()
        ]


class Reasons(NamedTuple):
    """All reasons of m labels of one entity, in log-odds.

    `words` (m x spans) is what each span of the input says; the others (m) are what ABOUT says.
    `companions` (int32[m]) are the labels that say most of the company, -1 where none does.
    """

    spans: list[Span]
    words: Weights
    company: Weights
    namesakes: Weights
    frequency: Weights
    competition: Weights
    companions: LabelIds

    @property
    def log_odds(self) -> Weights:
        """The log-odds before calibration: the sum of all reasons."""
        total: Weights = self.words.sum(axis=1) + np.sum(self.others, axis=0)
        return total

    @property
    def others(self) -> tuple[Weights, Weights, Weights, Weights]:
        """The reasons that are not about words, in the order of ABOUT."""
        return self.company, self.namesakes, self.frequency, self.competition


def explain(labeler: Labeler, entities: Entities, query: LabelQuery) -> Explanation:
    """The labels that `labeler.label` gives, with their reasons.

    A rejected row's answer is that of an empty entity. Raises RequestError for a question that
    this model cannot answer.
    """
    return explained(labeler, entities, labeler.label(entities, query))


def explained(labeler: Labeler, entities: Entities, predictions: Predictions) -> Explanation:
    """Answers with the reasons of their labels."""
    log_odds, told = [np.zeros(0)], [pa.array([], pa.list_(REASON))]
    for reasons in all_reasons(labeler, entities, predictions):
        log_odds.append(np.round(reasons.log_odds, _DECIMALS))
        told.append(_told(reasons, labeler.labels))
    return Explanation(predictions, np.concatenate(log_odds), pa.concat_arrays(told))


def all_reasons(
    labeler: Labeler, entities: Entities, predictions: Predictions
) -> Iterator[Reasons]:
    """For each entity, all reasons of the labels that `predictions` lists for it."""
    for start in range(0, len(entities), CHUNK):
        part = entities.slice(start, CHUNK)
        rows = labeler.features.transform(part)
        scores, chosen = proposed(
            labeler.linear, labeler.implications, rows, labeler.decisions.candidates
        )
        pairs = labeler.pairs(rows, scores, chosen).reshape(*chosen.shape, len(PAIR_FEATURES))
        for row in range(len(part)):
            first, end = predictions.indptr[start + row : start + row + 2]
            labels = predictions.ids[first:end]
            features = rows.take(np.array([row]))
            spans, words = _words(labeler, part.slice(row, 1), features, labels)
            yield _reasons(labeler, spans, words, scores[row], chosen[row], pairs[row], labels)


def _words(
    labeler: Labeler, entity: Entities, row: FeatureRows, labels: LabelIds
) -> tuple[list[Span], Weights]:
    """What each span of one entity adds to the log-odds of some labels, labels x spans."""
    origins = trace(labeler.features, entity, row.indices)
    weights = labeler.linear.weights(row.indices, labels)
    said = labeler.decisions.slope * row.values[:, None] * weights.astype(np.float64)
    words = np.zeros((len(origins.spans), len(labels)))
    np.add.at(words, origins.places, origins.shares[:, None] * said[origins.features])
    return origins.spans, words.T


def _reasons(
    labeler: Labeler,
    spans: list[Span],
    words: Weights,
    scores: Scores,
    chosen: LabelIds,
    pairs: Pairs,
    labels: LabelIds,
) -> Reasons:
    """All reasons of some labels of one entity, whose candidates are `chosen`.

    The expected score of a pair stands for the frequency of a candidate, its bias for that of any
    other label. What its score adds beyond that and its own words is the competition.
    """
    slope, intercept = labeler.decisions.slope, labeler.decisions.intercept
    company, namesakes = np.zeros(len(labels)), np.zeros(len(labels))
    frequency = slope * labeler.linear.bias[labels].astype(np.float64) + intercept
    competition = slope * scores[labels] + intercept - frequency - words.sum(axis=1)
    companions = np.full(len(labels), -1, np.int32)
    among, places = np.nonzero(labels[:, None] == chosen)
    trees = labeler.reranker.trees
    shares = contributions(trees, len(PAIR_FEATURES), pairs[places])
    company[among] = shares[:, _COMPANY].sum(axis=1)
    namesakes[among] = shares[:, _NAMESAKES].sum(axis=1)
    frequency[among] = shares[:, _FREQUENCY].sum(axis=1)
    competition[among] = shares[:, _SCORES].sum(axis=1) - words[among].sum(axis=1)
    lifts = labeler.reranker.lifts(scores, chosen, labels[among])
    companions[among] = _companions(lifts, company[among], chosen)
    return Reasons(spans, words, company, namesakes, frequency, competition, companions)


def _companions(lifts: Scores, company: Weights, chosen: LabelIds) -> LabelIds:
    """The candidate whose lift says most of what the company says, -1 where none says it."""
    agreeing = lifts * np.sign(company)[:, None]
    most = agreeing.argmax(axis=1)
    return np.where(agreeing.max(axis=1) > 0, chosen[most], -1)


def _told(reasons: Reasons, labels: LabelSet) -> pa.ListArray:
    """The largest reasons of each label and one for the rest, as list<REASON>."""
    weights = np.column_stack([reasons.words, *reasons.others])
    largest = np.argsort(-np.abs(weights), axis=1, kind="stable")[:, :LARGEST]
    told = _rounded(np.take_along_axis(weights, largest, axis=1))
    rest = _rounded(np.round(reasons.log_odds, _DECIMALS) - told.sum(axis=1))
    told = np.column_stack([told, rest])
    places = np.column_stack([largest, np.full(len(rest), weights.shape[1])])
    rows = np.nonzero(told)[0]
    bounds = np.concatenate([[0], np.cumsum((told != 0).sum(axis=1))]).astype(np.int32)
    structs = _structs(reasons, rows, places[told != 0], told[told != 0], labels)
    return pa.ListArray.from_arrays(pa.array(bounds), structs)


def _rounded(weights: Weights) -> Weights:
    """Weights as they are told, 0 for those that are not."""
    rounded = np.round(weights, _DECIMALS)
    return np.where(np.abs(rounded) < NEGLIGIBLE, 0, rounded)


def _structs(
    reasons: Reasons,
    rows: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    weights: Weights,
    labels: LabelSet,
) -> pa.StructArray:
    """Reasons of the labels at `rows`; places are those of spans, then those of the others."""
    spans = reasons.spans
    about = np.maximum(places - len(spans) + 1, 0)
    of_span = pa.array(places, mask=about > 0)
    companions = reasons.companions[rows]
    named = pa.array(companions, mask=(about != _ABOUT.index("company")) | (companions < 0))
    bounds = [(s.start, s.end) if _has_bounds(s) else (None, None) for s in spans]
    columns = [
        pa.array(_ABOUT).take(pa.array(about)),
        pa.array([span.column.name for span in spans], pa.string()).take(of_span),
        pa.array([span.text[:TEXT_LIMIT] for span in spans], pa.string()).take(of_span),
        pa.array([start for start, _ in bounds], pa.int32()).take(of_span),
        pa.array([end for _, end in bounds], pa.int32()).take(of_span),
        labels.array.take(named),
        pa.array(weights),
    ]
    return pa.StructArray.from_arrays(columns, fields=list(REASON))


def _has_bounds(span: Span) -> bool:
    return span.column.kind is not Kind.TAGS and span.column.kind not in NUMERIC
