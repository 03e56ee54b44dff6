"""OpenAPI of `POST /v1/labels`: columns of the loaded model, and examples that it labelled."""

import json
from typing import Any

from labelwright.entities.schema import NUMERIC, Column, EntitySchema, Kind
from labelwright.models.registry import Model
from labelwright.service.openapi.operations import BINARY, Part, content, json_schema, operation
from labelwright.service.protocols.arrow import ARROW
from labelwright.service.protocols.label_messages import LabelRequest, LabelResponse, respond
from labelwright.service.protocols.ndjson import NDJSON


def describe_labels(model: Model) -> Part:
    """Request and response of `POST /v1/labels`: parts of its OpenAPI operation."""
    labeler = model.bundle.labeler
    schema = json_schema(LabelRequest)
    schema["properties"]["entities"]["items"] = entity_schema(labeler.schema)
    schema["properties"]["policy"]["enum"] = labeler.decisions.policy_names
    entities = [example_entity(labeler.schema)]
    requests = {
        "labels": {"entities": entities, "top_k": 3},
        "reasons": {"entities": entities, "top_k": 1, "explain": True},
    }
    responses = {
        name: json.loads(respond(json.dumps(request).encode(), model))
        for name, request in requests.items()
    }
    return operation(
        {
            "application/json": content(schema, **requests),
            NDJSON: content(
                {"type": "string", "description": "JSON lines: one entity in each line."}
            ),
            ARROW: BINARY,
        },
        {
            "application/json": content(json_schema(LabelResponse), **responses),
            NDJSON: content(
                {"type": "string", "description": "JSON lines: one result in each line."}
            ),
            ARROW: BINARY,
        },
        "One result for each entity, in order.",
    )


def entity_schema(schema: EntitySchema) -> Part:
    """The JSON schema of one entity."""
    properties: Part = {
        "id": {
            "type": ["string", "integer", "null"],
            "description": "The id of the entity; its result has the same id.",
        }
    }
    for column in schema.columns:
        for field in column.fields:
            properties[field] = _field(column)
    return {"type": "object", "title": "Entity", "properties": properties}


def example_entity(schema: EntitySchema) -> dict[str, Any]:
    """An entity with the example values of the schema's columns."""
    examples = {c.name: c.example for c in schema.columns if c.example is not None}
    return {"id": "a", **examples}


def _field(column: Column) -> Part:
    """The JSON schema of a field of the column."""
    if column.kind in NUMERIC:
        kind: Part = {"type": ["number", "null"]}
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
