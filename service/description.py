"""`/openapi.json`: the description of the application, true to the model that serves."""

from collections.abc import Callable, Mapping
from typing import Any

import fastapi

from models.registry import Model
from service.serving import Served, Serving

Describe = Callable[[Model], Mapping[str, Any]]


def describe(app: fastapi.FastAPI, serving: Serving, parts: Mapping[str, Describe]) -> None:
    """Let the application describe what the model of the moment takes and gives.

    `parts` describe the POST operations of their paths.
    """
    described: Served | None = None
    generate = app.openapi  # keeps what it has made as the application's schema

    def openapi() -> dict[str, Any]:
        nonlocal described
        served = serving.champion if serving.ready else None
        if served is not described:
            app.openapi_schema, described = None, served
        if app.openapi_schema is None and served:
            paths = generate()["paths"]
            for path, describe_one in parts.items():
                _complete(paths[path]["post"], describe_one(served.model))
        return generate()

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(operation: dict[str, Any], parts: Mapping[str, Any]) -> None:
    responses = operation["responses"] | parts.get("responses", {})
    operation.update(parts, responses=responses)
