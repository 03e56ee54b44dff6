"""Routes of the Open Inference Protocol, version 2, with its binary tensor extension."""

from importlib.metadata import version
from typing import Annotated, Any

import fastapi
import pydantic
from fastapi import Depends, Header, Request, Response

from labelwright.entities.errors import ModelNotFoundError
from labelwright.models.decisions import Predictions
from labelwright.models.registry import Model
from labelwright.service.engine.engine import Engine
from labelwright.service.http.body import request_body
from labelwright.service.http.compression import compressed
from labelwright.service.http.error_formats import V2_ERRORS
from labelwright.service.http.errors import not_ready, validation_problem
from labelwright.service.http.query import estimated_rows
from labelwright.service.protocols.v2_messages import (
    OUTPUTS,
    SHAPES,
    ParsedInferenceRequest,
    input_datatypes,
    parse,
    serialise,
    served_name,
)

INFER = "/v2/models/{name}/infer"
INFER_VERSION = "/v2/models/{name}/versions/{number}/infer"
HEADER_SIZE = "Inference-Header-Content-Length"
"""The header with the size of the JSON in bytes; binary tensors follow the JSON in the body."""
JsonSize = Annotated[int | None, Header(alias=HEADER_SIZE, ge=0)]
_VERSIONED: dict[str, Any] = {
    "parameters": [{"name": "number", "in": "path", "required": True, "schema": {"type": "string"}}]
}
"""The path parameter `number` in the OpenAPI document, for paths that name a version."""


def _number(request: Request) -> str | None:
    number: str | None = request.path_params.get("number")
    return number


Number = Annotated[str | None, Depends(_number)]
"""The version in a path, None for a path without a version."""
Encodings = Annotated[str, Header(alias="Accept-Encoding", include_in_schema=False)]


def v2_routes(engine: Engine) -> fastapi.APIRouter:
    """Router of all paths under `/v2`."""
    router = fastapi.APIRouter(tags=["Open Inference Protocol"], responses={**V2_ERRORS})
    router.include_router(_health(engine))
    router.include_router(_model(engine))

    @router.post(INFER_VERSION, response_model=None, openapi_extra=_VERSIONED)
    @router.post(INFER, response_model=None)
    async def infer(
        request: Request,
        name: str,
        number: Number,
        json_size: JsonSize = None,
        accepted: Encodings = "",
    ) -> Response:
        """Label up to 16,384 rows. Each input tensor is one column. At least one column is needed.

        For a rejected row, `labels` has the error, `label_ids` has -1 and `probabilities` has 0.
        """
        _check(engine.model, name, number)
        async with request_body(request, engine) as body:

            def parsed(model: Model) -> ParsedInferenceRequest:
                return parse(body.content, json_size, _check(model, name, number))

            def response(
                model: Model, request: ParsedInferenceRequest, predictions: Predictions
            ) -> Response:
                return _response(*serialise(model, request, predictions), accepted)

            key = b"" if number else body.key  # no challenger responds to a request for a version
            rows = estimated_rows(body.content)
            try:
                return await engine.label(parsed, response, rows, body.deadline, key)
            except pydantic.ValidationError as error:
                return validation_problem(error)

    return router


def _response(content: bytes, json_size: int | None, accepted: str) -> Response:
    """A response: JSON, or `json_size` bytes of JSON followed by binary tensors."""
    media_type = "application/json" if json_size is None else "application/octet-stream"
    headers = {} if json_size is None else {HEADER_SIZE: str(json_size)}
    packed, encoding = compressed(content, accepted)
    return Response(packed, headers=headers | encoding, media_type=media_type)


def _health(engine: Engine) -> fastapi.APIRouter:
    router = fastapi.APIRouter()

    @router.get("/v2")
    async def server() -> dict[str, Any]:
        """Name, version and extensions of the server."""
        return {
            "name": "labelwright",
            "version": version("labelwright"),
            "extensions": ["binary_tensor_data"],
        }

    @router.get("/v2/health/live")
    async def live() -> dict[str, bool]:
        """200 if the process responds."""
        return {"live": True}

    @router.get("/v2/health/ready", response_model=None)
    async def ready() -> dict[str, bool] | Response:
        """200 if a model is in service and the service is not stopping; otherwise 503."""
        if not engine.ready:
            return not_ready(engine)
        return {"live": True, "ready": True}

    return router


def _model(engine: Engine) -> fastapi.APIRouter:
    router = fastapi.APIRouter(prefix="/v2/models/{name}")

    @router.get("/versions/{number}", openapi_extra=_VERSIONED)
    @router.get("")
    async def describe(name: str, number: Number) -> dict[str, Any]:
        """The input and output tensors of the model. A request needs at least one input."""
        model = _check(engine.model, name, number)
        inputs = input_datatypes(model.bundle.labeler.schema)
        return {
            "name": served_name(model),
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
        """200 if the model with this name and version is ready; otherwise 404 or 503."""
        model = _check(engine.model, name, number)
        if not engine.ready:
            return not_ready(engine)
        return {"name": served_name(model), "ready": True}

    return router


def _check(model: Model, name: str, number: str | None) -> Model:
    """The model, if it has this name and version; raises ModelNotFoundError."""
    if name != served_name(model):
        raise ModelNotFoundError(
            f"no model of this name is served; the model that is served is {served_name(model)!r}"
        )
    if number is not None and number != model.version:
        raise ModelNotFoundError(
            f"this version is not served; the version that is served is {model.version!r}"
        )
    return model
