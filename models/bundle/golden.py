"""Golden queries: entities with the results that the model gave when it was trained.

Golden queries show whether a model gives the same results on this machine. The entities are made of
the examples in the schema and of words of the model's labels. The bundle contains both of these
anyway. Golden queries contain no training row.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from labelwright.entities.errors import BundleError
from labelwright.entities.schema import EntitySchema, Kind
from labelwright.entities.tables import from_records
from labelwright.models.decisions import LabelQuery
from labelwright.models.labeler import Labeler

QUERY = LabelQuery(top_k=20)
"""By default, fewer than 20 labels are reranked. Therefore the results also contain labels that
only the linear stage scores."""
TOLERANCE = 1e-5
"""Allowed difference of probabilities, as only some processors fuse multiplication and addition."""
MOST_QUERIES = 100
"""A bundle with more queries is refused: all are computed before the model is in service."""
_LABELS_USED = 6
_LONGEST_TEXT = 200

Record = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class GoldenQueries:
    """Entities as records, and for each entity the labels in the form that the service returns."""

    entities: Sequence[Record]
    results: Sequence[Sequence[Record]]

    @classmethod
    def of(cls, labeler: Labeler) -> "GoldenQueries":
        """Golden queries for a model, with the results that it gives now."""
        entities = _entities(labeler)
        return cls(entities, _results(labeler, entities))

    @classmethod
    def from_json(cls, text: bytes) -> "GoldenQueries":
        """Read the output of `to_json`; raises ValueError, TypeError or KeyError for other text."""
        content = json.loads(text)
        if not isinstance(content, list) or not 0 < len(content) <= MOST_QUERIES:
            raise ValueError(f"the golden queries must be a list of 1 to {MOST_QUERIES} queries")
        results = [
            [
                {
                    "label": str(given["label"]),
                    "probability": float(given["probability"]),
                    "asserted": bool(given["asserted"]),
                }
                for given in query["labels"]
            ]
            for query in content
        ]
        return cls([dict(query["entity"]) for query in content], results)

    def to_json(self) -> str:
        """A JSON list of objects with the keys `entity` and `labels`."""
        pairs = zip(self.entities, self.results, strict=True)
        content = [{"entity": entity, "labels": labels} for entity, labels in pairs]
        return json.dumps(content, ensure_ascii=False)

    def check(self, labeler: Labeler) -> None:
        """Raise BundleError with the first difference if a model gives other results."""
        results = _results(labeler, self.entities)
        for number, (expected, found) in enumerate(zip(self.results, results, strict=True), 1):
            if difference := _difference(expected, found):
                raise BundleError(
                    f"the model does not give the result of golden query {number} that it gave "
                    f"after training: {difference}; train it again, or copy the bundle again from "
                    "where it was trained"
                )


def _entities(labeler: Labeler) -> list[Record]:
    """One entity with the examples of the schema, one empty, and some with words of labels.

    Every second entity with words of a label also has the examples of the other columns.
    """
    schema, names = labeler.schema, labeler.labels.names
    examples = {c.name: c.example for c in schema.columns if c.example is not None}
    spread = sorted({number * len(names) // _LABELS_USED for number in range(_LABELS_USED)})
    worded = [
        {**(examples if turn % 2 else {}), **_words_of(names[at], schema, turn)}
        for turn, at in enumerate(spread)
    ]
    return [examples, {}, *worded]


def _words_of(label: str, schema: EntitySchema, turn: int) -> Record:
    """An entity with the words of a label in the identity column and 10^turn in number columns."""
    words = " ".join(re.findall(r"\w+", label.partition("=")[2] or label))[:_LONGEST_TEXT]
    numbers = {c.name: 10.0**turn for c in schema.columns if c.kind is Kind.NUMBER}
    return numbers if schema.identity is None else {**numbers, schema.identity: words}


def _results(labeler: Labeler, records: Sequence[Record]) -> list[list[Record]]:
    predictions = labeler.label(from_records(records, labeler.schema), QUERY)
    results: list[list[Record]] = predictions.to_arrow().to_pylist()
    return results


def _difference(expected: Sequence[Record], found: Sequence[Record]) -> str | None:
    """The first difference between two lists of labels, or None. Their order does not matter."""
    before, now = ({given["label"]: given for given in labels} for labels in (expected, found))
    if other := sorted(set(before) ^ set(now)):
        return f"label {other[0]!r} is {'not ' if other[0] in before else ''}among the labels"
    for label, was in before.items():
        given = now[label]
        if was["asserted"] != given["asserted"]:
            return f"label {label!r} is {'' if given['asserted'] else 'not '}asserted"
        if not abs(was["probability"] - given["probability"]) <= TOLERANCE:
            change = f"{given['probability']:.6f} instead of {was['probability']:.6f}"
            return f"label {label!r} has probability {change}"
    return None
