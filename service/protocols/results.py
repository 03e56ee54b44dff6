"""Results: one JSON object for each entity of a request, the same in every protocol.

The typed dictionaries are the types of the serialisers, and the source of the OpenAPI document.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NotRequired, cast

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import Field
from typing_extensions import TypedDict  # pydantic needs this TypedDict before Python 3.12

from labelwright.entities.tables import Entities
from labelwright.models.decisions import Predictions
from labelwright.models.explain.reasons import ABOUT, Explanation
from labelwright.models.labels import LabelSet
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


class Primary(TypedDict):
    """The most probable kind of one entity: the answer to what it is."""

    label: str
    probability: Annotated[float, Field(ge=0, le=1)]
    asserted: bool


class EntityError(TypedDict):
    """The reason why an entity was rejected."""

    detail: str


class Result(TypedDict):
    """The labels of one entity, the most probable first, or the reason why it was rejected."""

    id: str
    labels: NotRequired[list[Label]]
    primary: NotRequired[
        Annotated[
            Primary | None,
            Field(
                description="The most probable label of the groups of kinds, even if it is not "
                "listed; null if the model has no kinds."
            ),
        ]
    ]
    error: NotRequired[EntityError]


def identity(model: Model) -> ModelIdentity:
    """The model as responses name it."""
    return cast(ModelIdentity, model.identity)


def results(entities: Entities, predictions: Predictions) -> list[Result]:
    """The result of each entity, in order."""
    labels = _labels(predictions)
    return _by_entity(
        entities, predictions, lambda first, end: labels[first:end], _primaries(predictions)
    )


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
    return _by_entity(
        entities,
        explanation.predictions,
        lambda first, end: labels[first:end],
        _primaries(explanation.predictions),
    )


def encoded_results(entities: Entities, predictions: Predictions) -> list[Result]:
    """The result of each entity, in order, with labels that are encoded as JSON already.

    orjson serialises them several times as fast as those of `results`. They have no other use.
    """
    return _encoded(entities, predictions, encoded_primaries(predictions))


def lines(entities: Entities, predictions: Predictions, primaries: bool = True) -> list[bytes]:
    """The result of each entity as JSON, with its primary if `primaries` is true."""
    encoded = encoded_primaries(predictions) if primaries else None
    return [orjson.dumps(result) for result in _encoded(entities, predictions, encoded)]


def encoded_primaries(predictions: Predictions) -> list[bytes]:
    """The primary of each entity as JSON; null for a model without kinds."""
    if not predictions.primaries.ids.size:
        return [b"null"] * len(predictions)
    return _encoded_labels(predictions.labels, *predictions.primaries)


def _encoded(
    entities: Entities, predictions: Predictions, primaries: Sequence[bytes] | None
) -> list[Result]:
    labels = _encoded_labels(
        predictions.labels, predictions.ids, predictions.probabilities, predictions.asserted
    )
    return _by_entity(
        entities,
        predictions,
        lambda first, end: orjson.Fragment(b"[%b]" % b",".join(labels[first:end])),
        None if primaries is None else [orjson.Fragment(primary) for primary in primaries],
    )


def _labels(predictions: Predictions) -> list[Label]:
    return _records(
        predictions.labels, predictions.ids, predictions.probabilities, predictions.asserted
    )


def _primaries(predictions: Predictions) -> Sequence[Any]:
    """The primary of each entity; None for a model without kinds."""
    if not predictions.primaries.ids.size:
        return [None] * len(predictions)
    return _records(predictions.labels, *predictions.primaries)


def _records(
    labels: LabelSet,
    ids: npt.NDArray[np.int32],
    probabilities: npt.NDArray[np.float32],
    asserted: npt.NDArray[np.bool_],
) -> list[Label]:
    names = labels.names
    return [
        {"label": names[label], "probability": probability, "asserted": flag}
        for label, probability, flag in zip(
            ids.tolist(), probabilities, asserted.tolist(), strict=True
        )
    ]


def _encoded_labels(
    labels: LabelSet,
    ids: npt.NDArray[np.int32],
    probabilities: npt.NDArray[np.float32],
    asserted: npt.NDArray[np.bool_],
) -> list[bytes]:
    """Label predictions, each encoded as JSON."""
    if not ids.size:
        return []
    numbers = orjson.dumps(probabilities, option=orjson.OPT_SERIALIZE_NUMPY)
    return [
        b'{"label":%b,"probability":%b,"asserted":%b}' % members
        for members in zip(
            labels.encoded[ids].tolist(),
            numbers[1:-1].split(b","),
            _BOOLEANS[asserted.view(np.int8)].tolist(),
            strict=True,
        )
    ]


def _by_entity(
    entities: Entities,
    predictions: Predictions,
    labels: Callable[[int, int], Any],
    primaries: Sequence[Any] | None,
) -> list[Result]:
    """The result of each entity; its labels are `labels(first, end)`, given their positions.

    `primaries` has the primary of each entity; if it is None, the results have none.
    """
    bounds = itertools.pairwise(predictions.indptr.tolist())
    rejected = entities.rejected
    return [
        {"id": entity_id, "error": {"detail": rejected[row]}}
        if row in rejected
        else {"id": entity_id, "labels": labels(first, end)}
        if primaries is None
        else {"id": entity_id, "labels": labels(first, end), "primary": primaries[row]}
        for row, (entity_id, (first, end)) in enumerate(
            zip(entities.ids.to_pylist(), bounds, strict=True)
        )
    ]
