"""The HTTP service: an app factory that is given the engine it serves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

import fastapi

from entities.corrections import CorrectionStore
from entities.errors import LabelwrightError
from service.access import Access, Guard, keyring
from service.description import describe
from service.drift import drifting
from service.engine import Engine
from service.feedback import describe_feedback, feedback
from service.health import health
from service.keys import Doorkeeper
from service.labels import labelling
from service.model import model_and_labels
from service.observer import Observer
from service.openapi import describe_labels
from service.pages import page
from service.problems import PROBLEM, answer_errors
from service.protocols.describing import describe_inference, describe_scoring
from service.protocols.mlflow import INVOCATIONS, scoring
from service.protocols.v2 import INFER, INFER_VERSION, inference
from service.reference import reference
from service.review import describe_review, reviewing
from service.stopping import drained_by_signals
from service.tracing import tracing

_DESCRIBED = {
    "/v1/labels": describe_labels,
    "/v1/review": describe_review,
    "/v1/feedback": describe_feedback,
    INFER: describe_inference,
    INFER_VERSION: describe_inference,
    INVOCATIONS: describe_scoring,
}
"""What the model of the moment takes and gives at these paths."""


def create_app(engine: Engine, access: Access, corrections: CorrectionStore) -> fastapi.FastAPI:
    """An application that answers with the engine's model, which is loaded when it starts.

    Raises StorageError for keys that cannot be read, LabelwrightError for traces that cannot be
    sent.
    """
    serving, metrics, traces = engine.serving, engine.metrics, tracing()
    doorkeeper = Doorkeeper(keyring()) if access.keys else None

    @contextlib.asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[Mapping[str, Engine]]:
        with contextlib.suppress(LabelwrightError):  # said at /readyz, while it is tried again
            await asyncio.to_thread(serving.load)
        serving.start()
        with drained_by_signals(engine):
            yield {"engine": engine}
        serving.stop()
        engine.close()
        if traces:
            traces.close()
        corrections.close()

    app = fastapi.FastAPI(
        title="labelwright",
        summary="Categorical labels for places and other entities.",
        openapi_url=None,  # FastAPI's own would label the examples on the event loop
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses={
            "default": {
                "description": "A problem document (RFC 9457).",
                "content": {"application/problem+json": {"schema": PROBLEM}},
            }
        },
    )
    answer_errors(app)
    app.add_middleware(Guard, access=access, doorkeeper=doorkeeper)
    app.add_middleware(Observer, metrics=metrics, tracing=traces)
    app.include_router(labelling(engine))  # first, because most is asked there
    app.include_router(health(engine))
    app.include_router(reference(app))
    app.include_router(model_and_labels(engine))
    app.include_router(drifting(engine))
    app.include_router(reviewing(engine))
    app.include_router(feedback(engine, corrections))
    app.include_router(page())
    app.include_router(inference(engine))
    app.include_router(scoring(engine))
    describe(app, serving, _DESCRIBED)
    return app
