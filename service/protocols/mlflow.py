"""MLflow's scoring protocol."""

from importlib.metadata import version

import fastapi
import pydantic
from fastapi import Request, Response
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException

from labelwright.entities.tables import Entities
from labelwright.models.decisions import Predictions
from labelwright.models.registry import Model
from labelwright.service.engine.engine import Engine
from labelwright.service.http.body import request_body
from labelwright.service.http.error_formats import MLFLOW_ERRORS
from labelwright.service.http.errors import not_ready, validation_problem
from labelwright.service.http.headers import model_headers
from labelwright.service.protocols.mlflow_messages import JSON, TABLES, Scoring

INVOCATIONS = "/invocations"


def scoring(engine: Engine) -> fastapi.APIRouter:
    """`POST /invocations`, `GET /ping`, `GET /health` and `GET /version`."""
    router = fastapi.APIRouter(tags=["MLflow"])

    @router.get("/health", response_class=PlainTextResponse)
    @router.get("/ping", response_class=PlainTextResponse)
    async def ping() -> Response:
        """A model serves."""
        if not engine.ready:
            return not_ready(engine)
        return PlainTextResponse("\n")

    @router.get("/version", response_class=PlainTextResponse)
    async def told() -> Response:
        """The version of MLflow whose protocol this is."""
        return PlainTextResponse(version("mlflow-skinny"))

    @router.post(INVOCATIONS, responses={**MLFLOW_ERRORS}, response_model=None)
    async def invocations(request: Request) -> Response:
        """The labels of up to 16,384 rows, in one of MLflow's forms of JSON, CSV or Parquet.

        A row that is rejected has its error in its own place.
        """
        kind = _content_type(request.headers.get("content-type", JSON))
        async with request_body(request, engine) as body:
            asked = Scoring(body.content, kind)

            def write(model: Model, entities: Entities, predictions: Predictions) -> Response:
                content = asked.write(model, entities, predictions)
                return Response(content, headers=model_headers(model), media_type=JSON)

            try:
                return await engine.label(asked.read, write, asked.rows, body.deadline, body.key)
            except pydantic.ValidationError as error:
                return validation_problem(error)

    return router


def _content_type(header: str) -> str:
    """The type of a body; raises HTTPException 415."""
    kind, *parameters = (part.strip().lower() for part in header.split(";"))
    if kind not in (JSON, *TABLES):
        raise HTTPException(415, f"a body is {', '.join((JSON, *TABLES))}")
    if any(part and part.replace('"', "") != "charset=utf-8" for part in parameters):
        raise HTTPException(415, "a body is UTF-8")
    return kind
