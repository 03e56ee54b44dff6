"""`/openapi.json`: the description of the application, true to the model that serves."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import fastapi

from labelwright.models.registry import Model, Resolved
from labelwright.service.rollout.manager import Serving

Describe = Callable[[Model], Mapping[str, Any]]


def describe(app: fastapi.FastAPI, serving: Serving, parts: Mapping[str, Describe]) -> None:
    """Let the application describe what the model of the moment takes and gives.

    `parts` describe the POST operations of their paths. They label examples, once for each model:
    not for the event loop.
    """
    described: Resolved | None = None
    generate, lock = app.openapi, threading.Lock()  # what was made stays the application's schema

    def openapi() -> dict[str, Any]:
        nonlocal described
        with lock:
            served = serving.champion if serving.ready else None
            if served and served.resolved != described:
                app.openapi_schema = None
                paths = generate()["paths"]
                for path, describe_one in parts.items():
                    _complete(paths[path]["post"], describe_one(served.model))
                described = served.resolved
            return generate()

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(operation: dict[str, Any], parts: Mapping[str, Any]) -> None:
    responses = operation["responses"] | parts.get("responses", {})
    operation.update(parts, responses=responses)
