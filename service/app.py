"""The HTTP service: an app factory that is given the engine it serves."""

import contextlib
from collections.abc import AsyncIterator

import fastapi

from service.drift import drifting
from service.engine import Engine
from service.health import health
from service.labels import labelling
from service.model import model_and_labels
from service.pages import page
from service.problems import PROBLEM, answer_errors


def create_app(engine: Engine) -> fastapi.FastAPI:
    """An application that answers with the engine's model; it warms up when it starts."""

    @contextlib.asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
        await engine.warm_up()
        yield
        engine.ready = False
        engine.close()

    app = fastapi.FastAPI(
        title="labelwright",
        summary="Categorical labels for places and other entities.",
        lifespan=lifespan,
        responses={
            "default": {
                "description": "A problem document (RFC 9457).",
                "content": {"application/problem+json": {"schema": PROBLEM}},
            }
        },
    )
    answer_errors(app)
    app.include_router(health(engine))
    app.include_router(model_and_labels(engine.model))
    app.include_router(labelling(engine))
    app.include_router(drifting(engine))
    app.mount("/", page())
    return app
