"""OpenAPI document of the service, completed with the columns and examples of the loaded model."""

import copy
import threading
from collections.abc import Callable, Mapping
from typing import Any

import fastapi

from labelwright.models.registry import Model, Resolved
from labelwright.service.rollout.manager import ModelManager

Describe = Callable[[Model], Mapping[str, Any]]
"""A function that returns the parts of an OpenAPI operation that depend on the model."""


class OpenApiDocument:
    """The OpenAPI document of an application, with columns, policies and examples of the champion.

    `operations` maps paths to the descriptions of their POST operations.
    """

    def __init__(
        self, app: fastapi.FastAPI, manager: ModelManager, operations: Mapping[str, Describe]
    ) -> None:
        self._app = app
        self._manager = manager
        self._operations = operations
        self._described: Resolved | None = None
        self._content: dict[str, Any] = {}
        self._lock = threading.Lock()

    def current(self) -> dict[str, Any]:
        """The document for the champion; without a champion, the parts that all models share.

        A new champion labels its examples when the document is built, once for each champion.
        Therefore call this outside the event loop.
        """
        with self._lock:
            champion = self._manager.champion if self._manager.ready else None
            if champion and champion.resolved != self._described:
                self._content = self._complete(champion.model)
                self._described = champion.resolved
            return self._content or self._app.openapi()

    def _complete(self, model: Model) -> dict[str, Any]:
        """The document of the application with the parts that depend on the model."""
        content = copy.deepcopy(self._app.openapi())
        for path, describe in self._operations.items():
            operation, found = content["paths"][path]["post"], describe(model)
            responses = operation["responses"] | found.get("responses", {})
            operation.update(found, responses=responses)
        return content
