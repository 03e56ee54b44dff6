"""The Open Inference Protocol, version 2, over REST, with its binary extension."""

from importlib.metadata import version
from typing import Annotated, Any

import fastapi
import pydantic
from fastapi import Depends, Header, Request, Response

from labelwright.entities.errors import ModelNotFoundError
from labelwright.entities.tables import Entities
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.registry import Model
from labelwright.service.engine.engine import Engine
from labelwright.service.http.body import request_body
from labelwright.service.http.compression import compressed
from labelwright.service.http.error_formats import V2_ERRORS
from labelwright.service.http.errors import not_ready, validation_problem
from labelwright.service.protocols.v2_messages import OUTPUTS, SHAPES, Inference, inputs_of, name_of

INFER = "/v2/models/{name}/infer"
INFER_VERSION = "/v2/models/{name}/versions/{number}/infer"
HEADER_SIZE = "Inference-Header-Content-Length"
"""How many bytes of a body are JSON; the others are binary tensors."""
HeaderSize = Annotated[int | None, Header(alias=HEADER_SIZE, ge=0)]
_VERSIONED: dict[str, Any] = {
    "parameters": [{"name": "number", "in": "path", "required": True, "schema": {"type": "string"}}]
}
"""What the description of a path has beside that of the same path without a version."""


def _number(request: Request) -> str | None:
    number: str | None = request.path_params.get("number")
    return number


Number = Annotated[str | None, Depends(_number)]
"""The version that a path asks for, if it does."""
Encodings = Annotated[str, Header(alias="Accept-Encoding", include_in_schema=False)]


def inference(engine: Engine) -> fastapi.APIRouter:
    """Everything under `/v2`."""
    router = fastapi.APIRouter(tags=["Open Inference Protocol"], responses={**V2_ERRORS})
    router.include_router(_health(engine))
    router.include_router(_model(engine))

    @router.post(INFER_VERSION, response_model=None, openapi_extra=_VERSIONED)
    @router.post(INFER, response_model=None)
    async def infer(
        request: Request,
        name: str,
        number: Number,
        header_size: HeaderSize = None,
        accepted: Encodings = "",
    ) -> Response:
        """The labels of up to 16,384 rows, one tensor for each column; absent ones are missing.

        A row that is rejected has its error in `labels`, and no label in the other outputs.
        """
        _check(engine.model, name, number)
        async with request_body(request, engine) as body:
            asked = Inference(body.content, header_size)

            def read(model: Model) -> tuple[Entities, LabelQuery]:
                return asked.read(_check(model, name, number))

            def write(model: Model, entities: Entities, predictions: Predictions) -> Response:
                return _response(*asked.write(model, entities, predictions), accepted)

            key = b"" if number else body.key  # a version that is asked for is not exchanged
            try:
                return await engine.label(read, write, asked.rows, body.deadline, key)
            except pydantic.ValidationError as error:
                return validation_problem(error)

    return router


def _response(content: bytes, json_size: int | None, accepted: str) -> Response:
    """An answer, of which the first bytes may be JSON and all others tensors."""
    kind = "application/json" if json_size is None else "application/octet-stream"
    headers = {} if json_size is None else {HEADER_SIZE: str(json_size)}
    packed, encoding = compressed(content, accepted)
    return Response(packed, headers=headers | encoding, media_type=kind)


def _health(engine: Engine) -> fastapi.APIRouter:
    router = fastapi.APIRouter()

    @router.get("/v2")
    async def server() -> dict[str, Any]:
        """What this server is."""
        return {
            "name": "labelwright",
            "version": version("labelwright"),
            "extensions": ["binary_tensor_data"],
        }

    @router.get("/v2/health/live")
    async def live() -> dict[str, bool]:
        """The process answers."""
        return {"live": True}

    @router.get("/v2/health/ready", response_model=None)
    async def ready() -> dict[str, bool] | Response:
        """A model serves."""
        if not engine.ready:
            return not_ready(engine)
        return {"live": True, "ready": True}

    return router


def _model(engine: Engine) -> fastapi.APIRouter:
    router = fastapi.APIRouter(prefix="/v2/models/{name}")

    @router.get("/versions/{number}", openapi_extra=_VERSIONED)
    @router.get("")
    async def describe(name: str, number: Number) -> dict[str, Any]:
        """The tensors that the model takes and gives; all inputs are optional."""
        model = _check(engine.model, name, number)
        inputs = inputs_of(model.bundle.labeler.schema)
        return {
            "name": name_of(model),
            "versions": [] if model.version is None else [model.version],
            "platform": "labelwright",
            "inputs": [
                {"name": field, "datatype": datatype, "shape": [-1]}
                for field, datatype in inputs.items()
            ],
            "outputs": [
                {"name": output, "datatype": datatype, "shape": SHAPES[output]}
                for output, datatype in OUTPUTS.items()
            ],
        }

    @router.get("/versions/{number}/ready", response_model=None, openapi_extra=_VERSIONED)
    @router.get("/ready", response_model=None)
    async def ready(name: str, number: Number) -> dict[str, Any] | Response:
        """The model serves."""
        model = _check(engine.model, name, number)
        if not engine.ready:
            return not_ready(engine)
        return {"name": name_of(model), "ready": True}

    return router


def _check(model: Model, name: str, number: str | None) -> Model:
    """The model, if it goes by that name and version; raises ModelNotFoundError."""
    if name != name_of(model):
        raise ModelNotFoundError(f"the model that is served is {name_of(model)!r}")
    if number is not None and number != model.version:
        raise ModelNotFoundError(f"the version that is served is {model.version!r}")
    return model
