"""The HTTP service: an app factory that is given the engine it serves."""

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

import fastapi
import pydantic
from fastapi import Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from entities.errors import LabelwrightError
from models.decisions import NEVER, Question
from models.registry import Model
from service.answers import answer, identity
from service.engine import Engine
from service.openapi import describe_labels
from service.problems import (
    PROBLEM,
    ProblemResponse,
    domain_problem,
    problem,
    unexpected_problem,
)

BODY_LIMIT = 16 << 20
"""The largest request body, in bytes."""

log = logging.getLogger("labelwright.service")


def create_app(engine: Engine) -> fastapi.FastAPI:
    """An application that answers with the engine's model; it warms up when it starts."""

    @contextlib.asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
        await engine.warm_up()
        yield
        engine.ready = False

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
    app.include_router(_health(engine))
    app.include_router(_model(engine.model))
    app.include_router(_labels(engine))
    app.add_exception_handler(LabelwrightError, domain_problem)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(RequestValidationError, _invalid_parameters)
    app.add_exception_handler(ClientDisconnect, _nobody_there)
    app.add_exception_handler(Exception, unexpected_problem)
    return app


def _health(engine: Engine) -> fastapi.APIRouter:
    router = fastapi.APIRouter(tags=["health"])

    @router.get("/livez")
    async def live() -> dict[str, str]:
        """The process answers."""
        return {"status": "live"}

    @router.get("/readyz", response_model=None)
    async def ready() -> dict[str, str] | Response:
        """A model serves."""
        return {"status": "ready"} if engine.ready else problem(503, "no model serves yet")

    return router


def _model(model: Model) -> fastapi.APIRouter:
    router = fastapi.APIRouter(prefix="/v1", tags=["model"])
    labeler, manifest = model.bundle.labeler, model.bundle.manifest
    folded = [name.casefold() for name in labeler.labels.names]
    thresholds = {
        policy: labeler.decisions.thresholds(Question(policy=policy))
        for policy in labeler.decisions.policy_names
    }

    @router.get("/model")
    async def describe() -> dict[str, Any]:
        """Which model serves, how good it is, and what its entities look like."""
        return {
            **identity(model),
            "uri": model.uri,
            "run_id": model.run_id,
            "labels": len(labeler.labels),
            "policies": labeler.decisions.policy_names,
            "metrics": manifest.details.get("metrics", {}),
            "schema": manifest.schema,
            "labelwright": manifest.labelwright,
        }

    @router.get("/labels")
    async def search(
        search: Annotated[str, Query(max_length=200)] = "",
        offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    ) -> dict[str, Any]:
        """The labels whose name contains the words searched for, with what decides about them.

        A threshold of null says that the policy never asserts the label, for want of evidence.
        """
        words = search.casefold().split()
        found = [i for i, name in enumerate(folded) if all(word in name for word in words)]
        labels = [
            {
                "label": labeler.labels.names[i],
                "rate": float(labeler.reranker.rate[i]),
                "thresholds": {
                    policy: None if given[i] == NEVER else float(given[i])
                    for policy, given in thresholds.items()
                },
                "implies": [labeler.labels.names[a] for a in labeler.implications.ancestors_of(i)],
            }
            for i in found[offset : offset + limit]
        ]
        return {"total": len(found), "labels": labels}

    return router


def _labels(engine: Engine) -> fastapi.APIRouter:
    router = fastapi.APIRouter(prefix="/v1", tags=["labels"])

    @router.post("/labels", openapi_extra=describe_labels(engine.model), response_model=None)
    async def label(request: Request) -> Response:
        """The labels of up to 1,000 entities; a bad entity gets its error in its own place.

        With `explain`, up to 100 entities, and for each label why.
        """
        body = await limited_body(request)
        try:
            content = await engine.compute(lambda model: answer(body, model))
        except pydantic.ValidationError as error:
            return invalid(error)
        return Response(content, media_type="application/json")

    return router


async def limited_body(request: Request) -> bytes:
    """The body of a request; raises HTTPException 413 as soon as it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise HTTPException(413, f"a body may have {BODY_LIMIT:,} bytes")
    return bytes(body)


def invalid(error: pydantic.ValidationError) -> ProblemResponse:
    """What is wrong with a body, by place and rule, without the values that were sent."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return problem(400, "the body is not valid JSON")
    misfits = [(e["loc"], e["msg"]) for e in found if e["type"] != "extra_forbidden"]
    if len(misfits) < len(found):  # whose name is the caller's
        misfits.append(((), "a member is not known"))
    return _misfits(misfits)


async def _invalid_parameters(request: Request, error: Exception) -> ProblemResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    return _misfits([(e["loc"][1:], e["msg"]) for e in error.errors()])


def _misfits(found: list[tuple[tuple[int | str, ...], str]]) -> ProblemResponse:
    parts = [f"{'.'.join(map(str, place)) or 'body'}: {rule}" for place, rule in found[:10]]
    return problem(422, "; ".join(parts))


async def _nobody_there(request: Request, error: Exception) -> Response:
    """A caller who has gone away reads no answer, and is no mistake of ours."""
    return Response(status_code=499)


async def _http_problem(request: Request, error: Exception) -> ProblemResponse:
    if not isinstance(error, HTTPException):
        raise error
    return problem(error.status_code, error.detail, error.headers)
