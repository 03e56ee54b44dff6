"""Application factory of the HTTP service."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import fastapi

from labelwright.entities.corrections import CorrectionStore
from labelwright.entities.errors import LabelwrightError
from labelwright.service.engine.engine import Engine
from labelwright.service.engine.shutdown import drain_on_signal
from labelwright.service.http.errors import PROBLEM, add_error_handlers
from labelwright.service.middleware.access import (
    Access,
    AccessMiddleware,
    client_finder,
    keyring,
)
from labelwright.service.middleware.head import HeadMiddleware
from labelwright.service.middleware.keys import KeyVerifier
from labelwright.service.middleware.pacing import PacingMiddleware
from labelwright.service.middleware.request_log import RequestLogMiddleware
from labelwright.service.openapi.document import OpenApiDocument
from labelwright.service.openapi.native import describe_labels
from labelwright.service.openapi.protocols import describe_inference, describe_scoring
from labelwright.service.protocols.mlflow import INVOCATIONS, mlflow_routes
from labelwright.service.protocols.v2 import INFER, INFER_VERSION, v2_routes
from labelwright.service.routes.docs import docs_routes
from labelwright.service.routes.drift import drift_routes
from labelwright.service.routes.feedback import describe_feedback, feedback_routes
from labelwright.service.routes.health import health_routes
from labelwright.service.routes.labels import label_routes
from labelwright.service.routes.model import model_routes
from labelwright.service.routes.review import describe_review, review_routes
from labelwright.service.routes.ui import page_routes
from labelwright.service.telemetry.tracing import configured_tracing

_DESCRIBED = {
    "/v1/labels": describe_labels,
    "/v1/review": describe_review,
    "/v1/feedback": describe_feedback,
    INFER: describe_inference,
    INFER_VERSION: describe_inference,
    INVOCATIONS: describe_scoring,
}
"""For each path, the function that describes its requests and responses in the OpenAPI document,
with the labels of the model in service."""


def create_app(engine: Engine, access: Access, corrections: CorrectionStore) -> fastapi.FastAPI:
    """The application that serves the models of an engine; its startup loads the model.

    Raises StorageError if the API keys cannot be read, and LabelwrightError if tracing is enabled
    but the exporter is not installed.
    """
    manager, tracing = engine.manager, configured_tracing()
    key_verifier = KeyVerifier(keyring()) if access.keys else None

    @contextlib.asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        # If loading fails, the manager tries again later. Until then, /readyz responds with 503.
        with contextlib.suppress(LabelwrightError):
            await asyncio.to_thread(manager.load)
        manager.start()
        with drain_on_signal(engine):
            yield {"engine": engine, "identify": client_finder(key_verifier)}
        manager.stop()
        engine.close()
        if tracing:
            tracing.close()
        corrections.close()

    app = fastapi.FastAPI(
        title="labelwright",
        summary="Categorical labels for places and other entities.",
        openapi_url=None,  # FastAPI would label the examples on the event loop
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # behind a proxy, the address of the redirection would be wrong
        lifespan=lifespan,
        responses={
            "default": {
                "description": "A problem document (RFC 9457).",
                "content": {"application/problem+json": {"schema": PROBLEM}},
            }
        },
    )
    document = OpenApiDocument(app, manager, _DESCRIBED)
    add_error_handlers(app)
    app.add_middleware(HeadMiddleware)
    app.add_middleware(PacingMiddleware, engine=engine)
    app.add_middleware(AccessMiddleware, access=access, key_verifier=key_verifier)
    app.add_middleware(RequestLogMiddleware, metrics=engine.metrics, tracing=tracing)
    app.include_router(label_routes(engine))  # first, because most requests are for it
    app.include_router(health_routes(engine))
    app.include_router(docs_routes(document.current))
    app.include_router(model_routes(engine))
    app.include_router(drift_routes(engine))
    app.include_router(review_routes(engine))
    app.include_router(feedback_routes(engine, corrections))
    app.include_router(page_routes())
    app.include_router(v2_routes(engine))
    app.include_router(mlflow_routes(engine))
    return app
