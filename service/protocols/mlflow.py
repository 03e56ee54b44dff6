"""Routes of MLflow's scoring protocol."""

import asyncio
import functools
import time
from importlib.metadata import version as version_of
from typing import Any

import fastapi
import pydantic
from fastapi import Request, Response
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException

from labelwright.entities.errors import OverloadedError
from labelwright.entities.io.uploads import decode_parquet
from labelwright.models.decisions import Predictions
from labelwright.models.registry import Model
from labelwright.service.engine.engine import Division, Engine
from labelwright.service.engine.turns import Turns
from labelwright.service.http.body import Body, request_body
from labelwright.service.http.error_formats import MLFLOW_ERRORS
from labelwright.service.http.errors import not_ready, validation_problem
from labelwright.service.http.headers import model_headers
from labelwright.service.http.query import ROWS_LIMIT, estimated_rows
from labelwright.service.protocols.mlflow_messages import (
    JSON,
    PARQUET,
    TABLES,
    join,
    parse,
    serialise,
)
from labelwright.service.protocols.results import results
from labelwright.service.request import ParsedRequest

INVOCATIONS = "/invocations"


def mlflow_routes(engine: Engine) -> fastapi.APIRouter:
    """Router of `POST /invocations`, `GET /ping`, `GET /health` and `GET /version`."""
    router, turns = fastapi.APIRouter(tags=["MLflow"]), Turns()

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
            with engine.holding_memory() as held:
                content, rows = body.content, estimated_rows(body.content)
                if content_type == PARQUET:
                    content = await _decode(body, engine, turns)
                    engine.hold(held, content.nbytes)
                    rows = len(content)
                try:
                    return await engine.label(
                        functools.partial(parse, content, content_type),
                        _response,
                        rows,
                        body.deadline,
                        body.key,
                        division=_DIVISION,
                    )
                except pydantic.ValidationError as error:
                    return validation_problem(error)

    return router


async def _decode(body: Body, engine: Engine, turns: Turns) -> Any:
    """The table in a Parquet file.

    One file at a time is decoded, and not on a compute thread, because it may take seconds. Raises
    DataError, and OverloadedError at the deadline.
    """
    models = (engine.model, engine.manager.challenger and engine.manager.challenger.model)
    fields = {field for model in models if model for field in model.bundle.labeler.schema.fields}
    try:
        async with asyncio.timeout(body.deadline - time.monotonic()), turns.turn():
            return await asyncio.to_thread(
                decode_parquet, body.content, ["id", *sorted(fields)], ROWS_LIMIT
            )
    except TimeoutError:
        engine.metrics.count_shed()
        raise OverloadedError(engine.queue.retry_after) from None


def _response(model: Model, request: ParsedRequest, predictions: Predictions) -> Response:
    return _json(model, serialise(request, predictions))


def _json(model: Model, content: bytes) -> Response:
    return Response(content, headers=model_headers(model), media_type=JSON)


_DIVISION = Division[ParsedRequest, Response](
    lambda model, request, predictions: results(request.entities, predictions),
    lambda model, request, predictions, found: _json(model, join(request, found)),
)


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
