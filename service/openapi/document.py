"""OpenAPI document of the service, completed with the columns and examples of the loaded model."""

import copy
import threading
from collections.abc import Callable, Mapping
from typing import Any

import fastapi

from labelwright.models.registry import Model, Resolved
from labelwright.service.rollout.manager import ModelManager

Describe = Callable[[Model], Mapping[str, Any]]
"""Returns the parts of an OpenAPI operation that depend on the model."""


class OpenApiDocument:
    """The OpenAPI document of an application, true to the champion that it serves.

    `operations` describe the POST operations of their paths.
    """

    def __init__(
        self, app: fastapi.FastAPI, manager: ModelManager, operations: Mapping[str, Describe]
    ) -> None:
        self._app = app
        self._serving = manager
        self._operations = operations
        self._described: Resolved | None = None
        self._content: dict[str, Any] = {}
        self._lock = threading.Lock()

    def current(self) -> dict[str, Any]:
        """The document of the champion, made once for each; without one, that of all models.

        The examples are labelled by the model: call this outside the event loop.
        """
        with self._lock:
            champion = self._serving.champion if self._serving.ready else None
            if champion and champion.resolved != self._described:
                self._content = self._complete(champion.model)
                self._described = champion.resolved
            return self._content or self._app.openapi()

    def _complete(self, model: Model) -> dict[str, Any]:
        content = copy.deepcopy(self._app.openapi())
        for path, describe in self._operations.items():
            operation, found = content["paths"][path]["post"], describe(model)
            responses = operation["responses"] | found.get("responses", {})
            operation.update(found, responses=responses)
        return content
