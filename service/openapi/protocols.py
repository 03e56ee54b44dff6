"""OpenAPI of the Open Inference Protocol and of MLflow's scoring protocol for a model."""

import orjson

from labelwright.entities.schema import EntitySchema
from labelwright.models.registry import Model
from labelwright.service.http.query import ROWS_LIMIT, LabelQueryForm
from labelwright.service.openapi.native import entity_schema, example_entity
from labelwright.service.openapi.operations import BINARY, Part, content, json_schema, operation
from labelwright.service.protocols.mlflow_messages import (
    CSV,
    JSON,
    PARAMS,
    PARQUET,
    ScoringResponse,
)
from labelwright.service.protocols.v2_messages import (
    LABELS,
    OUTPUTS,
    InferenceRequest,
    InferenceResponse,
    input_datatypes,
)
from labelwright.service.protocols.v2_tensors import NUMBERS, TEXT


def describe_inference(model: Model) -> Part:
    """Request and response of `POST /v2/models/{name}/infer`: parts of its OpenAPI operation."""
    schema = model.bundle.labeler.schema
    example = {"inputs": _example_tensors(schema), "outputs": [{"name": LABELS}]}
    return operation(
        {
            "application/json": content(_inference_request(schema), labels=example),
            "application/octet-stream": BINARY,
        },
        {
            "application/json": content(json_schema(InferenceResponse)),
            "application/octet-stream": BINARY,
        },
        "One element for each row, in order.",
    )


def describe_scoring(model: Model) -> Part:
    """Request and response of `POST /invocations`: parts of its OpenAPI operation."""
    schema = model.bundle.labeler.schema
    rows = {"type": "array", "items": entity_schema(schema)}
    forms = {
        "dataframe_records": rows,
        "dataframe_split": _SPLIT,
        "instances": rows,
        "inputs": {"anyOf": [rows, {"type": "object"}]},
    }
    params = {PARAMS: json_schema(LabelQueryForm)}
    request = {
        "oneOf": [
            {"type": "object", "required": [name], "properties": {name: form, **params}}
            for name, form in forms.items()
        ]
    }
    example = {"dataframe_records": [example_entity(schema)], PARAMS: {"top_k": 3}}
    return operation(
        {
            JSON: content(request, records=example),
            CSV: content({"type": "string"}),
            PARQUET: BINARY,
        },
        {JSON: content(json_schema(ScoringResponse))},
        "One result for each row, in order.",
    )


def _inference_request(schema: EntitySchema) -> Part:
    """The JSON schema of an inference request, with the input names of the model."""
    request = json_schema(InferenceRequest)
    request["properties"]["parameters"] = json_schema(LabelQueryForm)
    tensor = request["properties"]["inputs"]["items"]["properties"]
    tensor["name"]["enum"] = [*input_datatypes(schema)]
    tensor["datatype"]["enum"] = [TEXT, *NUMBERS]
    tensor["shape"]["items"]["maximum"] = ROWS_LIMIT
    outputs = request["properties"]["outputs"]
    (lists,) = (part for part in outputs["anyOf"] if part["type"] == "array")
    output = lists["items"]["properties"]
    output["name"]["enum"] = [*OUTPUTS]
    output["parameters"]["properties"] = {"binary_data": {"type": "boolean"}}
    return request


def _example_tensors(schema: EntitySchema) -> list[Part]:
    """The example entity of a schema as input tensors."""
    datatypes = input_datatypes(schema)
    return [
        {"name": name, "datatype": datatypes[name], "shape": [1], "data": [_element(value)]}
        for name, value in example_entity(schema).items()
    ]


def _element(value: object) -> str | float:
    """A value as an element of a tensor: lists and objects become JSON."""
    return value if isinstance(value, str | float | int) else orjson.dumps(value).decode()


_SPLIT: Part = {
    "type": "object",
    "required": ["columns", "data"],
    "properties": {
        "columns": {"type": "array", "items": {"type": "string"}},
        "data": {"type": "array", "items": {"type": "array"}},
        "index": {"type": "array"},
    },
}
"""The JSON schema of rows in the form of pandas' `DataFrame.to_dict(orient="split")`."""
