"""The OpenAPI description of a loaded model: its own columns, with examples it really answers."""

import json
from collections.abc import Mapping
from typing import Any

from labelwright.entities.schema import NUMERIC, Column, EntitySchema, Kind
from labelwright.models.explain.reasons import ABOUT
from labelwright.models.registry import Model
from labelwright.service.protocols.arrow import ARROW
from labelwright.service.protocols.label_messages import LabelRequest, answer
from labelwright.service.protocols.ndjson import NDJSON

_REASON: Mapping[str, Any] = {
    "type": "object",
    "required": ["about", "weight"],
    "properties": {
        "about": {
            "type": "string",
            "enum": list(ABOUT),
            "description": "; ".join(f"{about}: {what}" for about, what in ABOUT.items()),
        },
        "field": {"type": "string"},
        "text": {"type": "string", "description": "The words, shortened where they are long."},
        "start": {
            "type": "integer",
            "minimum": 0,
            "description": "Where the words begin in the field, in code points; in a list, in its "
            "items joined by semicolons. Tags and numbers have none.",
        },
        "end": {"type": "integer", "minimum": 0},
        "label": {"type": "string", "description": "The other label that says most."},
        "weight": {"type": "number", "description": "What it adds to the log-odds."},
    },
}

_LABEL: Mapping[str, Any] = {
    "type": "object",
    "required": ["label", "probability", "asserted"],
    "properties": {
        "label": {"type": "string"},
        "probability": {"type": "number", "minimum": 0, "maximum": 1},
        "asserted": {"type": "boolean"},
        "log_odds": {"type": "number", "description": "With explain: before calibration."},
        "reasons": {
            "type": "array",
            "items": _REASON,
            "description": "With explain: their weights sum to log_odds, to a thousandth; the "
            "largest first, the rest last.",
        },
    },
}

IDENTITY: Mapping[str, Any] = {
    "type": "object",
    "required": ["name", "version", "content"],
    "properties": {
        "name": {"type": ["string", "null"]},
        "version": {"type": ["string", "null"]},
        "content": {"type": "string"},
    },
}
"""The JSON schema of `identity`."""

RESULT: Mapping[str, Any] = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": {"type": "string"},
        "labels": {"type": "array", "items": _LABEL},
        "error": {
            "type": "object",
            "required": ["detail"],
            "properties": {"detail": {"type": "string"}},
        },
    },
}
"""The JSON schema of what is said of one entity."""

_ANSWER: Mapping[str, Any] = {
    "type": "object",
    "required": ["model", "results"],
    "properties": {
        "model": IDENTITY,
        "results": {"type": "array", "items": RESULT},
        "warnings": {"type": "array", "items": {"type": "string"}},
    },
}


def describe_labels(model: Model) -> dict[str, Any]:
    """What `POST /v1/labels` takes and gives: parts of its OpenAPI operation."""
    schema = model.bundle.labeler.schema
    request = LabelRequest.model_json_schema()
    request["properties"]["entities"]["items"] = entity_schema(schema)
    request["properties"]["policy"]["enum"] = model.bundle.labeler.decisions.policy_names
    asked = _questions(schema)
    answered = {
        name: {"value": json.loads(answer(json.dumps(example["value"]).encode(), model))}
        for name, example in asked.items()
    }
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": request, "examples": asked},
                **_streams("entities"),
            },
        },
        "responses": {
            "200": {
                "description": "One result for each entity, in order.",
                "content": {
                    "application/json": {"schema": _ANSWER, "examples": answered},
                    **_streams("results"),
                },
            }
        },
    }


def _streams(what: str) -> dict[str, Any]:
    """The content types of streams."""
    return {
        NDJSON: {"schema": {"type": "string", "description": f"JSON lines: the {what}."}},
        ARROW: {"schema": {"type": "string", "format": "binary"}},
    }


def _questions(schema: EntitySchema) -> dict[str, dict[str, Any]]:
    """The examples of requests, by name."""
    entities = [example_entity(schema)]
    return {
        "labels": {"value": {"entities": entities, "top_k": 3}},
        "reasons": {"value": {"entities": entities, "top_k": 1, "explain": True}},
    }


def entity_schema(schema: EntitySchema) -> dict[str, Any]:
    """The JSON schema of one entity."""
    properties: dict[str, Any] = {
        "id": {"type": ["string", "integer", "null"], "description": "Given back with the labels."}
    }
    for column in schema.columns:
        for field in column.fields:
            properties[field] = _field(column)
    return {"type": "object", "title": "Entity", "properties": properties}


def example_entity(schema: EntitySchema) -> dict[str, Any]:
    """An entity made of the examples in the schema."""
    examples = {c.name: c.example for c in schema.columns if c.example is not None}
    return {"id": "a", **examples}


def _field(column: Column) -> dict[str, Any]:
    if column.kind in NUMERIC:
        kind: dict[str, Any] = {"type": ["number", "null"]}
    elif column.kind is Kind.TAGS:
        values = {"type": ["string", "number", "boolean", "null"]}
        kind = {"type": ["object", "null"], "additionalProperties": values}
    elif column.kind in (Kind.CATEGORY, Kind.PHONE):
        kind = {"type": ["string", "integer", "array", "null"], "items": {"type": "string"}}
    else:
        kind = {"type": ["string", "array", "null"], "items": {"type": "string"}}
    if column.example is not None:
        kind["examples"] = [column.example]
    return kind | ({"description": column.about} if column.about else {})
