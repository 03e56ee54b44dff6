"""`POST /v1/review`: labels of entities, and what makes each of them worth a reviewer's glance."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import fastapi
import numpy as np
import orjson
import pyarrow as pa
import pydantic
from fastapi import Request, Response
from pydantic import Field

from labelwright.entities.tables import Entities, from_records
from labelwright.models.decisions import BALANCED, LabelQuery
from labelwright.models.labeler import Labeler
from labelwright.models.labels import LabelMatrix, label_matrix
from labelwright.models.monitoring.review_priority import ABOUT, JUDGED, Reason, review_reasons
from labelwright.models.registry import Model
from labelwright.service.engine.engine import Engine
from labelwright.service.http.body import request_body
from labelwright.service.http.errors import validation_problem
from labelwright.service.http.query import ROW_BYTES
from labelwright.service.openapi.native import IDENTITY, RESULT, entity_schema, example_entity
from labelwright.service.protocols.label_messages import ENTITIES_LIMIT, parsed, results
from labelwright.service.routes.feedback import LABEL_LIMIT, LABELS_LIMIT

COST = 3
"""Rows that are labelled in the time that one is looked at in; a challenger takes one more."""
_BAD = f"labels must be a list of up to {LABELS_LIMIT} texts of up to {LABEL_LIMIT} characters"

_REASON: Mapping[str, Any] = {
    "type": "object",
    "required": ["about", "rank"],
    "properties": {
        "about": {
            "type": "string",
            "enum": list(ABOUT),
            "description": "; ".join(f"{about}: {what}" for about, what in ABOUT.items()),
        },
        "rank": {"type": "number", "minimum": 0, "maximum": 1},
        "label": {"type": "string", "description": "The label that is undecided."},
        "probability": {"type": "number", "description": "Of the most probable label."},
        "field": {"type": "string", "description": "The field of which little was ever seen."},
        "share": {"type": "number", "description": "How much of it was never seen."},
        "missing": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Labels that the model does not assert.",
        },
        "surplus": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Labels that only the model asserts.",
        },
    },
}
_WORTH: Mapping[str, Any] = {
    "type": "object",
    "required": ["rank", "reasons"],
    "properties": {
        "rank": {"type": "number", "description": "The larger, the sooner it should be seen."},
        "reasons": {"type": "array", "items": _REASON},
    },
}
_ANSWER: Mapping[str, Any] = {
    "type": "object",
    "required": ["model", "challenger", "results"],
    "properties": {
        "model": IDENTITY,
        "challenger": {**IDENTITY, "type": ["object", "null"]},
        "results": {
            "type": "array",
            "items": {**RESULT, "properties": {**RESULT["properties"], "worth": _WORTH}},
        },
        "warnings": {"type": "array", "items": {"type": "string"}},
    },
}


class ReviewRequest(pydantic.BaseModel):
    """Entities to look at; one may have `labels`, a list of those that it is said to have."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    entities: list[Any] = Field(min_length=1, max_length=ENTITIES_LIMIT)
    top_k: int = Field(8, ge=1, le=JUDGED)
    policy: str = Field(BALANCED, max_length=100)


def reviewing(engine: Engine) -> fastapi.APIRouter:
    """`POST /v1/review`."""
    router = fastapi.APIRouter(prefix="/v1", tags=["feedback"])

    @router.post("/review", response_model=None)
    async def review(request: Request) -> Response:
        """Labels of up to 1,000 entities, and what makes each of them worth a reviewer's glance.

        An entity is worth it where the model is undecided, knows nothing that is probable or has
        met little of what the entity says, and where its given `labels` or the challenger say
        something else. Results come in the order of the entities, each with a rank.
        """
        async with request_body(request, engine) as body:
            served = engine.serving.challenger
            challenger = served.model if served else None
            size = max(body.content.count(b"{"), len(body.content) // ROW_BYTES)
            try:
                content = await engine.compute(
                    lambda model: reviewed(body.content, model, challenger),
                    (COST + bool(challenger)) * min(size, ENTITIES_LIMIT),
                    body.deadline,
                )
            except pydantic.ValidationError as error:
                return validation_problem(error)
        return Response(content, media_type="application/json")

    return router


def reviewed(body: bytes, model: Model, challenger: Model | None = None) -> bytes:
    """The answer to a request.

    Raises pydantic.ValidationError for a body that is no such request, MalformedError, DataError
    and RequestError for what cannot be answered.
    """
    request = ReviewRequest.model_validate(parsed(body))
    labeler = model.bundle.labeler
    entities, given = _read(request.entities, labeler)
    predictions = labeler.label(entities, LabelQuery(JUDGED, request.policy))
    others = _others(request, challenger) if challenger else ()
    reasons = review_reasons(labeler, entities, request.policy, predictions, given, others)
    content: dict[str, Any] = {
        "model": model.identity,
        "challenger": challenger.identity if challenger and others else None,
        "results": [
            result if "error" in result else {**result, "worth": _stated(why)}
            for result, why in zip(
                results(entities, predictions.first(request.top_k)), reasons, strict=True
            )
        ],
    }
    if entities.warnings:
        content["warnings"] = entities.warnings
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def _read(records: Sequence[Any], labeler: Labeler) -> tuple[Entities, LabelMatrix]:
    """The entities, and the labels they are said to have; bad ones are rejected."""
    entities = from_records(records, labeler.schema)
    lists = [record.get("labels") if isinstance(record, dict) else None for record in records]
    bad = {row: _BAD for row, given in enumerate(lists) if given is not None and not _fits(given)}
    given = [
        [] if row in bad else _current(labeler, names or []) for row, names in enumerate(lists)
    ]
    matrix = label_matrix(
        pa.array(given, pa.list_(pa.string())),
        labeler.labels,
        labeler.schema.open_world,
        partial=np.array([names is None for names in lists]),
    )
    return dataclasses.replace(entities, rejected={**bad, **entities.rejected}), matrix


def _fits(given: Any) -> bool:
    return (
        isinstance(given, list)
        and len(given) <= LABELS_LIMIT
        and all(isinstance(label, str) and len(label) <= LABEL_LIMIT for label in given)
    )


def _current(labeler: Labeler, given: Sequence[str]) -> list[str]:
    """Labels as they are called now, with those that they imply."""
    names, ids = labeler.labels.names, labeler.labels.ids
    renamed = map(labeler.schema.redirects.current, given)
    current = {label for label in renamed if label is not None}
    known = [ids[label] for label in current if label in ids]
    implied = {
        names[other] for label in known for other in labeler.implications.ancestors_of(label)
    }
    return sorted(implied | current)


def _others(request: ReviewRequest, challenger: Model) -> list[set[str] | None]:
    """What the challenger asserts of each entity, None of those that it rejects.

    Nothing at all where it fails: whatever it is, the champion has its answer.
    """
    labeler = challenger.bundle.labeler
    try:
        entities = from_records(request.entities, labeler.schema)
        found = labeler.label(entities, LabelQuery(policy=request.policy)).asserted_names()
    except Exception:  # noqa: BLE001
        return []
    return [None if row in entities.rejected else said for row, said in enumerate(found)]


def _stated(reasons: Sequence[Reason]) -> dict[str, Any]:
    rank = sum(reason.rank for reason in reasons)
    return {"rank": round(rank, 4), "reasons": [reason.to_json() for reason in reasons]}


def describe_review(model: Model) -> dict[str, Any]:
    """What `POST /v1/review` takes and gives: parts of its OpenAPI operation."""
    labeler = model.bundle.labeler
    entity = entity_schema(labeler.schema)
    entity["properties"]["labels"] = {
        "type": ["array", "null"],
        "items": {"type": "string"},
        "description": "Those that it is said to have.",
    }
    schema = ReviewRequest.model_json_schema()
    schema["properties"]["entities"]["items"] = entity
    schema["properties"]["policy"]["enum"] = labeler.decisions.policy_names
    asked = {
        "entities": [{**example_entity(labeler.schema), "labels": [labeler.labels.names[0]]}],
        "top_k": 3,
    }
    answered = orjson.loads(reviewed(orjson.dumps(asked), model))
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schema, "examples": {"review": {"value": asked}}}
            },
        },
        "responses": {
            "200": {
                "description": "One result for each entity, in order.",
                "content": {
                    "application/json": {
                        "schema": _ANSWER,
                        "examples": {"review": {"value": answered}},
                    }
                },
            }
        },
    }
