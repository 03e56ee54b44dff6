"""Results: one JSON object for each entity of a request, the same in every protocol.

The typed dictionaries are the types of the serialisers, and the source of the OpenAPI document.
"""

import itertools
from collections.abc import Callable
from typing import Annotated, Any, NotRequired, cast

import numpy as np
import orjson
from pydantic import Field
from typing_extensions import TypedDict  # pydantic needs this TypedDict before Python 3.12

from labelwright.entities.tables import Entities
from labelwright.models.decisions import Predictions
from labelwright.models.explain.reasons import ABOUT, Explanation
from labelwright.models.registry import Model

_BOOLEANS = np.array([b"false", b"true"], object)


class ModelIdentity(TypedDict):
    """The model that labelled the entities; `name` and `version` are null outside a registry."""

    name: str | None
    version: str | None
    content: Annotated[str, Field(description="The first 12 digits of the bundle's content hash.")]


class Reason(TypedDict):
    """A part of a label's log-odds, and the part of the input that contributes it."""

    about: Annotated[
        str,
        Field(
            description="; ".join(f"{about}: {meaning}" for about, meaning in ABOUT.items()),
            json_schema_extra={"enum": [*ABOUT]},
        ),
    ]
    field: NotRequired[str]
    text: NotRequired[
        Annotated[str, Field(description="The text that contributes; a long text is shortened.")]
    ]
    start: NotRequired[
        Annotated[
            int,
            Field(
                ge=0,
                description="Position of the first character in the field, in code points. The "
                "items of a list are joined by semicolons. Tags and numbers have no positions.",
            ),
        ]
    ]
    end: NotRequired[Annotated[int, Field(ge=0, description="Position after the last character.")]]
    label: NotRequired[
        Annotated[str, Field(description="The other label that contributes the most.")]
    ]
    weight: Annotated[float, Field(description="The contribution to the log-odds.")]


class Label(TypedDict):
    """A label of one entity."""

    label: str
    probability: Annotated[float, Field(ge=0, le=1)]
    asserted: bool
    log_odds: NotRequired[
        Annotated[float, Field(description="With explain: the log-odds before calibration.")]
    ]
    reasons: NotRequired[
        Annotated[
            list[Reason],
            Field(
                description="With explain: the reasons, the largest first. Their weights sum to "
                "log_odds within 0.001. The last reason is the sum of all smaller ones."
            ),
        ]
    ]


class EntityError(TypedDict):
    """The reason why an entity was rejected."""

    detail: str


class Result(TypedDict):
    """The labels of one entity, the most probable first, or the reason why it was rejected."""

    id: str
    labels: NotRequired[list[Label]]
    error: NotRequired[EntityError]


def identity(model: Model) -> ModelIdentity:
    """The model as responses name it."""
    return cast(ModelIdentity, model.identity)


def results(entities: Entities, predictions: Predictions) -> list[Result]:
    """The result of each entity, in order."""
    labels = _labels(predictions)
    return _by_entity(entities, predictions, lambda first, end: labels[first:end])


def explained_results(entities: Entities, explanation: Explanation) -> list[Result]:
    """The result of each entity, in order, with the log-odds and the reasons of each label."""
    labels: list[Label] = [
        {**label, "log_odds": log_odds, "reasons": cast(list[Reason], reasons)}
        for label, log_odds, reasons in zip(
            _labels(explanation.predictions),
            explanation.log_odds.tolist(),
            explanation.to_records(),
            strict=True,
        )
    ]
    return _by_entity(entities, explanation.predictions, lambda first, end: labels[first:end])


def encoded_results(entities: Entities, predictions: Predictions) -> list[Result]:
    """The result of each entity, in order, with labels that are encoded as JSON already.

    orjson serialises them several times as fast as those of `results`. They have no other use.
    """
    labels = _encoded_labels(predictions)
    return _by_entity(
        entities,
        predictions,
        lambda first, end: orjson.Fragment(b"[%b]" % b",".join(labels[first:end])),
    )


def lines(entities: Entities, predictions: Predictions) -> list[bytes]:
    """The result of each entity as JSON."""
    return [orjson.dumps(result) for result in encoded_results(entities, predictions)]


def _labels(predictions: Predictions) -> list[Label]:
    names = predictions.labels.names
    return [
        {"label": names[label], "probability": probability, "asserted": asserted}
        for label, probability, asserted in zip(
            predictions.ids.tolist(),
            predictions.probabilities,
            predictions.asserted.tolist(),
            strict=True,
        )
    ]


def _encoded_labels(predictions: Predictions) -> list[bytes]:
    """The labels of all entities, each encoded as JSON."""
    if not predictions.ids.size:
        return []
    numbers = orjson.dumps(predictions.probabilities, option=orjson.OPT_SERIALIZE_NUMPY)
    return [
        b'{"label":%b,"probability":%b,"asserted":%b}' % members
        for members in zip(
            predictions.labels.encoded[predictions.ids].tolist(),
            numbers[1:-1].split(b","),
            _BOOLEANS[predictions.asserted.view(np.int8)].tolist(),
            strict=True,
        )
    ]


def _by_entity(
    entities: Entities, predictions: Predictions, labels: Callable[[int, int], Any]
) -> list[Result]:
    """The result of each entity; its labels are `labels(first, end)`, given their positions."""
    bounds = itertools.pairwise(predictions.indptr.tolist())
    rejected = entities.rejected
    return [
        {"id": entity_id, "error": {"detail": rejected[row]}}
        if row in rejected
        else {"id": entity_id, "labels": labels(first, end)}
        for row, (entity_id, (first, end)) in enumerate(
            zip(entities.ids.to_pylist(), bounds, strict=True)
        )
    ]
