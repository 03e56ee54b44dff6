"""Canned questions: what a bundle is known to answer, to tell whether it still does.

The entities are made of the schema's examples and of the words of the model's own labels, which the
bundle states anyway: no row that was learned from is among them.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from labelwright.entities.errors import BundleError
from labelwright.entities.schema import EntitySchema, Kind
from labelwright.entities.tables import from_records
from labelwright.models.decisions import LabelQuery
from labelwright.models.labeler import Labeler

if TYPE_CHECKING:
    from labelwright.models.bundle.format import Bundle

QUESTION = LabelQuery(top_k=20)
"""What is asked: more labels than are reranked by default, so that both stages speak."""
TOLERANCE = 1e-5
"""Probabilities may differ by so much: another kind of processor sums in another order."""
_OF_LABELS = 6
_LONGEST = 200

Record = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Canned:
    """Entities as records, and for each the list of its labels as the service states them."""

    entities: Sequence[Record]
    labels: Sequence[Sequence[Record]]

    @classmethod
    def of(cls, labeler: Labeler) -> "Canned":
        """The answers of a model as it is now."""
        entities = _entities(labeler)
        return cls(entities, _answers(labeler, entities))

    @classmethod
    def from_json(cls, text: bytes) -> "Canned":
        """The inverse of `to_json`; raises ValueError, TypeError or KeyError for anything else."""
        content = json.loads(text)
        if not isinstance(content, list) or not content:
            raise ValueError("the canned questions must be a list")
        predictions = [
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
        return cls([dict(query["entity"]) for query in content], predictions)

    def to_json(self) -> str:
        """A list of objects with `entity` and `labels`."""
        pairs = zip(self.entities, self.labels, strict=True)
        content = [{"entity": entity, "labels": labels} for entity, labels in pairs]
        return json.dumps(content, ensure_ascii=False)


def check(bundle: "Bundle") -> None:
    """Raise BundleError that names the first difference unless all answers are as they were."""
    canned = bundle.canned
    found = _answers(bundle.labeler, canned.entities)
    for number, (was, now) in enumerate(zip(canned.labels, found, strict=True), 1):
        if difference := _difference(was, now):
            raise BundleError(
                f"the model does not answer canned question {number} as when it was made: "
                f"{difference}"
            )


def _entities(labeler: Labeler) -> list[Record]:
    """The schema's examples, nothing at all, and the words of some labels with and without them."""
    schema, names = labeler.schema, labeler.labels.names
    examples = {c.name: c.example for c in schema.columns if c.example is not None}
    spread = sorted({number * len(names) // _OF_LABELS for number in range(_OF_LABELS)})
    worded = [
        {**(examples if turn % 2 else {}), **_worded(schema, names[at], turn)}
        for turn, at in enumerate(spread)
    ]
    return [examples, {}, *worded]


def _worded(schema: EntitySchema, label: str, turn: int) -> Record:
    """What a label says, as the column that tells entities apart; numbers of growing size."""
    words = " ".join(re.findall(r"\w+", label.partition("=")[2] or label))[:_LONGEST]
    numbers = {c.name: 10.0**turn for c in schema.columns if c.kind is Kind.NUMBER}
    return numbers if schema.identity is None else {**numbers, schema.identity: words}


def _answers(labeler: Labeler, records: Sequence[Record]) -> list[list[Record]]:
    entities = from_records(records, labeler.schema)
    predictions = labeler.label(entities, QUESTION)
    stated: list[list[Record]] = predictions.to_arrow().to_pylist()
    return stated


def _difference(was: Sequence[Record], now: Sequence[Record]) -> str | None:
    """What is not the same, or None; the order of labels as probable as each other is left open."""
    before, after = ({given["label"]: given for given in labels} for labels in (was, now))
    if other := sorted(set(before) ^ set(after)):
        return f"label {other[0]!r} is {'not ' if other[0] in before else ''}among the labels"
    for label, given in before.items():
        found = after[label]
        if given["asserted"] != found["asserted"]:
            return f"label {label!r} is {'' if found['asserted'] else 'not '}asserted"
        if not abs(given["probability"] - found["probability"]) <= TOLERANCE:
            change = f"{found['probability']:.6f} instead of {given['probability']:.6f}"
            return f"label {label!r} has probability {change}"
    return None
