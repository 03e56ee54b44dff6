"""The OpenAPI description of a loaded model: its own columns, with examples it really answers."""

import json
from collections.abc import Mapping
from typing import Any

from entities.schema import NUMERIC, Column, EntitySchema, Kind
from models.registry import Model
from service.answers import LabelRequest, answer

_ANSWER: Mapping[str, Any] = {
    "type": "object",
    "required": ["model", "results"],
    "properties": {
        "model": {
            "type": "object",
            "required": ["name", "version", "content"],
            "properties": {
                "name": {"type": ["string", "null"]},
                "version": {"type": ["string", "null"]},
                "content": {"type": "string"},
            },
        },
        "results": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id"],
                "properties": {
                    "id": {"type": "string"},
                    "labels": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["label", "probability", "asserted"],
                            "properties": {
                                "label": {"type": "string"},
                                "probability": {"type": "number", "minimum": 0, "maximum": 1},
                                "asserted": {"type": "boolean"},
                            },
                        },
                    },
                    "error": {
                        "type": "object",
                        "required": ["detail"],
                        "properties": {"detail": {"type": "string"}},
                    },
                },
            },
        },
        "warnings": {"type": "array", "items": {"type": "string"}},
    },
}


def describe_labels(model: Model) -> dict[str, Any]:
    """What `POST /v1/labels` takes and gives, for FastAPI's `openapi_extra`."""
    schema = model.bundle.labeler.schema
    request = LabelRequest.model_json_schema()
    request["properties"]["entities"]["items"] = entity_schema(schema)
    request["properties"]["policy"]["enum"] = model.bundle.labeler.decisions.policy_names
    example = {"entities": [example_entity(schema)], "top_k": 3}
    answered = json.loads(answer(json.dumps(example).encode(), model))
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": request, "example": example}},
        },
        "responses": {
            "200": {
                "description": "One result for each entity, in order.",
                "content": {"application/json": {"schema": _ANSWER, "example": answered}},
            }
        },
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
