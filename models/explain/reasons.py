"""Reasons: the contributions that raise or lower the log-odds of a label of an entity.

The reasons of a label add up to its log-odds before calibration. For a candidate, they are the
exact contributions of the reranker's features (TreeSHAP: Lundberg et al. 2020). The contributions
of the scores of the linear stage are divided further among the spans of the input. For any other
label, the reasons are the terms of the linear stage.
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
from labelwright.models.labeler import CHUNK, Labeler, propose_candidates
from labelwright.models.labels import LabelSet
from labelwright.models.stages.linear import LabelIds, Scores
from labelwright.models.stages.reranker import LABEL_FEATURE, PAIR_FEATURES, Pairs

LARGEST = 10
"""At most so many reasons of a label are listed. The sum of all others is one more reason."""
NEGLIGIBLE = 1e-3
"""Reasons with smaller log-odds are part of the rest. The listed reasons add up to the log-odds,
with an error below this."""
TEXT_LIMIT = 100
"""Maximum length of the text of a reason, in code points."""

ABOUT = {
    "field": "the part of the input that field, text, start and end name",
    "company": "the other labels that the entity may have; label is the one that matters most",
    "namesakes": "the training entities with the same name, and whether they have the label",
    "frequency": "how frequent the label is, independent of the entity",
    "competition": "how the label's score compares with other scores, and which labels imply it",
    "rest": "the sum of all smaller reasons",
}
"""The kinds of reasons, with their descriptions."""
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
"""A reason: `weight` is in log-odds; the other fields are null where they do not apply.

`start` and `end` are positions (in code points) in the value as text, where the items of a list are
joined by semicolons. They are null for tags and numbers, because their values are not text.
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
    """Predictions, with the log-odds and the reasons of each label prediction.

    `log_odds` (float64) are the values before calibration. For labels that are not candidates, they
    are the values before the limit to the probability of the candidates. `reasons` is list<REASON>,
    the largest reason first and the rest last. `log_odds` and `reasons` have one item for each item
    of `predictions.ids`.
    """

    predictions: Predictions
    log_odds: Weights
    reasons: pa.ListArray

    def to_arrow(self, rejected: Sequence[int] = ()) -> pa.ListArray:
        """The array of `Predictions.to_arrow`, with the additional fields log_odds and reasons."""
        lists = self.predictions.to_arrow()
        labels = lists.values
        structs = pa.StructArray.from_arrays(
            [*labels.flatten(), pa.array(self.log_odds), self.reasons],
            names=[*(field.name for field in labels.type), "log_odds", "reasons"],
        )
        missing = np.zeros(len(lists), np.bool_)
        missing[list(rejected)] = True
        return pa.ListArray.from_arrays(lists.offsets, structs, mask=pa.array(missing))

    def to_records(self) -> list[list[dict[str, Any]]]:
        """For each label prediction, the reasons as JSON objects without null fields."""
        return [
            [
                {name: value for name, value in reason.items() if value is not None}
                for reason in reasons
            ]
            for reasons in self.reasons.to_pylist()
        ]


class Reasons(NamedTuple):
    """All reasons of m labels of one entity, in log-odds.

    `words` (m x spans) are the contributions of the spans of the input. `co_occurrence` (called
    "company" in ABOUT), `namesakes`, `frequency` and `competition` (m each) are described in ABOUT.
    `co_occurring` (int32[m]) is for each label the other label that contributes most to
    `co_occurrence`, or -1 if there is none.
    """

    spans: list[Span]
    words: Weights
    co_occurrence: Weights
    namesakes: Weights
    frequency: Weights
    competition: Weights
    co_occurring: LabelIds

    @property
    def log_odds(self) -> Weights:
        """The log-odds before calibration: the sums of all reasons."""
        total: Weights = self.words.sum(axis=1) + np.sum(self.others, axis=0)
        return total

    @property
    def others(self) -> tuple[Weights, Weights, Weights, Weights]:
        """The reasons that are not spans, in the order of ABOUT."""
        return self.co_occurrence, self.namesakes, self.frequency, self.competition


def explain(labeler: Labeler, entities: Entities, query: LabelQuery) -> Explanation:
    """The predictions of `labeler.label`, with log-odds and reasons.

    Rejected rows get the predictions of an empty entity. Raises RequestError for a query that this
    model does not support.
    """
    return explain_predictions(labeler, entities, labeler.label(entities, query))


def explain_predictions(
    labeler: Labeler, entities: Entities, predictions: Predictions
) -> Explanation:
    """Explain predictions of the labeler for the entities."""
    log_odds, largest = [np.zeros(0)], [pa.array([], pa.list_(REASON))]
    for reasons in all_reasons(labeler, entities, predictions):
        log_odds.append(np.round(reasons.log_odds, _DECIMALS))
        largest.append(_largest_reasons(reasons, labeler.labels))
    return Explanation(predictions, np.concatenate(log_odds), pa.concat_arrays(largest))


def all_reasons(
    labeler: Labeler, entities: Entities, predictions: Predictions
) -> Iterator[Reasons]:
    """For each entity, all reasons of the labels that `predictions` has for it."""
    for start in range(0, len(entities), CHUNK):
        part = entities.slice(start, CHUNK)
        rows = labeler.features.transform(part)
        scores, chosen = propose_candidates(
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
    """The spans of one entity, and their contributions to log-odds, labels x spans."""
    origins = trace(labeler.features, entity, row.indices)
    weights = labeler.linear.weights(row.indices, labels)
    terms = labeler.decisions.slope * row.values[:, None] * weights.astype(np.float64)
    words = np.zeros((len(origins.spans), len(labels)))
    np.add.at(words, origins.places, origins.shares[:, None] * terms[origins.features])
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
    """All reasons of some labels of one entity. `chosen` are the entity's candidates.

    For a candidate, the frequency is the expected raw score plus the contribution of the pair
    feature `label`. For any other label, it is the log-odds of the bias. The competition is the
    remaining contribution of scores, without the contributions of the words.
    """
    slope, intercept = labeler.decisions.slope, labeler.decisions.intercept
    co_occurrence, namesakes = np.zeros(len(labels)), np.zeros(len(labels))
    frequency = slope * labeler.linear.bias[labels].astype(np.float64) + intercept
    competition = slope * scores[labels] + intercept - frequency - words.sum(axis=1)
    co_occurring = np.full(len(labels), -1, np.int32)
    among, places = np.nonzero(labels[:, None] == chosen)
    trees = labeler.reranker.trees
    shares = contributions(trees, len(PAIR_FEATURES), pairs[places])
    co_occurrence[among] = shares[:, _COMPANY].sum(axis=1)
    namesakes[among] = shares[:, _NAMESAKES].sum(axis=1)
    frequency[among] = shares[:, _FREQUENCY].sum(axis=1)
    competition[among] = shares[:, _SCORES].sum(axis=1) - words[among].sum(axis=1)
    lifts = labeler.reranker.lifts(scores, chosen, labels[among])
    co_occurring[among] = _co_occurring(lifts, co_occurrence[among], chosen)
    return Reasons(spans, words, co_occurrence, namesakes, frequency, competition, co_occurring)


def _co_occurring(lifts: Scores, co_occurrence: Weights, chosen: LabelIds) -> LabelIds:
    """For each label, the candidate whose lift contributes most to the co-occurrence reason.

    It is -1 if no lift has the sign of the reason.
    """
    agreeing = lifts * np.sign(co_occurrence)[:, None]
    most = agreeing.argmax(axis=1)
    return np.where(agreeing.max(axis=1) > 0, chosen[most], -1)


def _largest_reasons(reasons: Reasons, labels: LabelSet) -> pa.ListArray:
    """The largest reasons of each label, followed by the rest, as list<REASON>."""
    weights = np.column_stack([reasons.words, *reasons.others])
    largest = np.argsort(-np.abs(weights), axis=1, kind="stable")[:, :LARGEST]
    listed = _rounded(np.take_along_axis(weights, largest, axis=1))
    rest = _rounded(np.round(reasons.log_odds, _DECIMALS) - listed.sum(axis=1))
    listed = np.column_stack([listed, rest])
    places = np.column_stack([largest, np.full(len(rest), weights.shape[1])])
    rows = np.nonzero(listed)[0]
    bounds = np.concatenate([[0], np.cumsum((listed != 0).sum(axis=1))]).astype(np.int32)
    structs = _structs(reasons, rows, places[listed != 0], listed[listed != 0], labels)
    return pa.ListArray.from_arrays(pa.array(bounds), structs)


def _rounded(weights: Weights) -> Weights:
    """Rounded weights. Negligible weights become 0."""
    rounded = np.round(weights, _DECIMALS)
    return np.where(np.abs(rounded) < NEGLIGIBLE, 0, rounded)


def _structs(
    reasons: Reasons,
    rows: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    weights: Weights,
    labels: LabelSet,
) -> pa.StructArray:
    """Reasons as structs.

    For each reason, `rows` is the number of its label among the m labels. `places` is the number of
    its span; the other kinds of reasons follow the spans, in the order of ABOUT.
    """
    spans = reasons.spans
    about = np.maximum(places - len(spans) + 1, 0)
    of_span = pa.array(places, mask=about > 0)
    co_occurring = reasons.co_occurring[rows]
    named = pa.array(co_occurring, mask=(about != _ABOUT.index("company")) | (co_occurring < 0))
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
