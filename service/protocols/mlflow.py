"""Routes of MLflow's scoring protocol."""

import functools
from importlib.metadata import version as version_of

import fastapi
import pydantic
from fastapi import Request, Response
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException

from labelwright.models.decisions import Predictions
from labelwright.models.registry import Model
from labelwright.service.engine.engine import Engine
from labelwright.service.http.body import request_body
from labelwright.service.http.error_formats import MLFLOW_ERRORS
from labelwright.service.http.errors import not_ready, validation_problem
from labelwright.service.http.headers import model_headers
from labelwright.service.http.query import estimated_rows
from labelwright.service.protocols.mlflow_messages import JSON, TABLES, parse, serialise
from labelwright.service.request import ParsedRequest

INVOCATIONS = "/invocations"


def mlflow_routes(engine: Engine) -> fastapi.APIRouter:
    """Router of `POST /invocations`, `GET /ping`, `GET /health` and `GET /version`."""
    router = fastapi.APIRouter(tags=["MLflow"])

    @router.get("/health", response_class=PlainTextResponse)
    @router.get("/ping", response_class=PlainTextResponse)
    async def ping() -> Response:
        """200 if a model is in service and the service is not stopping; otherwise 503."""
        if not engine.ready:
            return not_ready(engine)
        return PlainTextResponse("\n")

    @router.get("/version", response_class=PlainTextResponse)
    async def version() -> Response:
        """The version of MLflow whose scoring protocol the service implements."""
        return PlainTextResponse(version_of("mlflow-skinny"))

    @router.post(INVOCATIONS, responses={**MLFLOW_ERRORS}, response_model=None)
    async def invocations(request: Request) -> Response:
        """Label up to 16,384 rows. The body is JSON in one of MLflow's forms, CSV or Parquet.

        The result of a rejected row has the reason of the rejection in place of labels.
        """
        content_type = _content_type(request.headers.get("content-type", JSON))
        async with request_body(request, engine) as body:
            try:
                return await engine.label(
                    functools.partial(parse, body.content, content_type),
                    _response,
                    estimated_rows(body.content),
                    body.deadline,
                    body.key,
                )
            except pydantic.ValidationError as error:
                return validation_problem(error)

    return router


def _response(model: Model, request: ParsedRequest, predictions: Predictions) -> Response:
    content = serialise(request, predictions)
    return Response(content, headers=model_headers(model), media_type=JSON)


def _content_type(header: str) -> str:
    """The media type in a Content-Type header.

    Raises HTTPException with status 415 for a media type or charset that is not supported.
    """
    media_type, *parameters = (part.strip().lower() for part in header.split(";"))
    if media_type not in (JSON, *TABLES):
        raise HTTPException(415, f"the Content-Type must be one of {', '.join((JSON, *TABLES))}")
    if any(part and part.replace('"', "") != "charset=utf-8" for part in parameters):
        raise HTTPException(415, "the charset of the Content-Type must be utf-8")
    return media_type
