"""Parts of OpenAPI operations: JSON schemas of types, and the content of requests and responses."""

from collections.abc import Mapping
from typing import Any

import pydantic

Part = dict[str, Any]
"""A part of an OpenAPI document."""
BINARY: Mapping[str, Any] = {"schema": {"type": "string", "format": "binary"}}
"""Binary content of a request or a response."""


def json_schema(kind: type[Any]) -> Part:
    """The JSON schema of a pydantic model or a typed dictionary; definitions replace references."""
    schema = pydantic.TypeAdapter(kind).json_schema()
    inlined: Part = _inlined(schema, schema.get("$defs", {}))
    return inlined


def content(schema: Part, **examples: Any) -> Part:
    """The content of one media type: its schema, and its examples by name."""
    named = {name: {"value": value} for name, value in examples.items()}
    return {"schema": schema, "examples": named} if named else {"schema": schema}


def operation(
    request: Mapping[str, Any], response: Mapping[str, Any], description: str, status: str = "200"
) -> Part:
    """Request body and successful response of an operation.

    `request` and `response` map media types to their content. `description` and `status` are those
    of the response.
    """
    return {
        "requestBody": {"required": True, "content": {**request}},
        "responses": {status: {"description": description, "content": {**response}}},
    }


def _inlined(part: Any, definitions: Mapping[str, Any]) -> Any:
    """A part of a schema in which each reference is replaced by its definition."""
    if isinstance(part, list):
        return [_inlined(item, definitions) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        referred = definitions[part["$ref"].rsplit("/", 1)[-1]]
        siblings = {name: value for name, value in part.items() if name != "$ref"}
        return _inlined({**referred, **siblings}, definitions)
    return {name: _inlined(value, definitions) for name, value in part.items() if name != "$defs"}
