"""What the protocols of other servers take and give, for OpenAPI, in the loaded model's columns."""

from collections.abc import Mapping
from typing import Any

import orjson

from labelwright.entities.schema import EntitySchema
from labelwright.models.registry import Model
from labelwright.service.http.query import ROWS_LIMIT, LabelQueryForm
from labelwright.service.openapi.native import entity_schema, example_entity
from labelwright.service.protocols.mlflow_messages import CSV, JSON, PARAMS, PARQUET
from labelwright.service.protocols.v2_messages import LABELS, OUTPUTS, inputs_of
from labelwright.service.protocols.v2_tensors import NUMBERS, TEXT

Description = dict[str, Any]

_BINARY: Mapping[str, Any] = {"schema": {"type": "string", "format": "binary"}}


def describe_inference(model: Model) -> Description:
    """What `POST /v2/models/{name}/infer` takes and gives, for FastAPI's `openapi_extra`."""
    schema = model.bundle.labeler.schema
    asked = {"inputs": list(_example_tensors(schema)), "outputs": [{"name": LABELS}]}
    content = {
        "application/json": {"schema": _inference_request(schema), "example": asked},
        "application/octet-stream": _BINARY,
    }
    answered = {
        "application/json": {"schema": _INFERENCE_ANSWER},
        "application/octet-stream": _BINARY,
    }
    return _operation(content, answered, "One element for each row, in order.")


def describe_scoring(model: Model) -> Description:
    """What `POST /invocations` takes and gives, for FastAPI's `openapi_extra`."""
    schema = model.bundle.labeler.schema
    entity = entity_schema(schema)
    rows = {"type": "array", "items": entity}
    forms = {
        "dataframe_records": rows,
        "dataframe_split": _SPLIT,
        "instances": rows,
        "inputs": {"anyOf": [rows, {"type": "object"}]},
    }
    params = {PARAMS: LabelQueryForm.model_json_schema()}
    request = {
        "oneOf": [
            {"type": "object", "required": [name], "properties": {name: form, **params}}
            for name, form in forms.items()
        ]
    }
    example = {"dataframe_records": [example_entity(schema)], PARAMS: {"top_k": 3}}
    content = {
        JSON: {"schema": request, "example": example},
        CSV: {"schema": {"type": "string"}},
        PARQUET: _BINARY,
    }
    answered = {JSON: {"schema": _SCORING_ANSWER}}
    return _operation(content, answered, "One result for each row, in order.")


def _operation(content: Description, answered: Description, words: str) -> Description:
    return {
        "requestBody": {"required": True, "content": content},
        "responses": {"200": {"description": words, "content": answered}},
    }


def _inference_request(schema: EntitySchema) -> Description:
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"type": "string", "enum": list(inputs_of(schema))},
            "shape": {
                "type": "array",
                "items": {"type": "integer", "minimum": 0, "maximum": ROWS_LIMIT},
                "minItems": 1,
                "maxItems": 2,
            },
            "datatype": {"type": "string", "enum": [TEXT, *NUMBERS]},
            "data": {"type": "array"},
            "parameters": {"type": "object"},
        },
    }
    output = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "enum": list(OUTPUTS)},
            "parameters": {
                "type": "object",
                "properties": {"binary_data": {"type": "boolean"}},
            },
        },
    }
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string", "maxLength": 1_000},
            "inputs": {"type": "array", "items": tensor},
            "outputs": {"type": "array", "items": output},
            "parameters": LabelQueryForm.model_json_schema(),
        },
    }


def _example_tensors(schema: EntitySchema) -> list[Description]:
    datatypes = inputs_of(schema)
    return [
        {"name": name, "datatype": datatypes[name], "shape": [1], "data": [_plain(value)]}
        for name, value in example_entity(schema).items()
    ]


def _plain(value: object) -> str | float:
    return value if isinstance(value, str | float | int) else orjson.dumps(value).decode()


_SPLIT: Mapping[str, Any] = {
    "type": "object",
    "required": ["columns", "data"],
    "properties": {
        "columns": {"type": "array", "items": {"type": "string"}},
        "data": {"type": "array", "items": {"type": "array"}},
        "index": {"type": "array"},
    },
}
_INFERENCE_ANSWER: Mapping[str, Any] = {
    "type": "object",
    "required": ["model_name", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "parameters": {"type": "object", "properties": {"warnings": {"type": "string"}}},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "shape", "datatype"],
                "properties": {
                    "name": {
                        "type": "string",
                        "description": "labels: a result of /v1/labels for each row, as JSON; "
                        "probabilities and label_ids: of the top_k most probable labels, whose "
                        "number is their place in /v1/labels, and -1 where there is none.",
                    },
                    "shape": {"type": "array", "items": {"type": "integer"}},
                    "datatype": {"type": "string"},
                    "data": {"type": "array"},
                },
            },
        },
    },
}
_SCORING_ANSWER: Mapping[str, Any] = {
    "type": "object",
    "required": ["predictions"],
    "properties": {
        "predictions": {"type": "array", "items": {"type": "object", "required": ["id"]}},
        "warnings": {"type": "array", "items": {"type": "string"}},
    },
}
