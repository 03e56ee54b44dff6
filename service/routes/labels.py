"""Route `POST /v1/labels`: JSON requests, and streams of entities."""

import functools

import fastapi
import pydantic
from fastapi import Request, Response

from labelwright.entities.errors import RequestError
from labelwright.service.engine.engine import Engine
from labelwright.service.http.body import request_body
from labelwright.service.http.errors import validation_problem
from labelwright.service.http.query import LabelQueryForm
from labelwright.service.http.streaming import LabelStreamResponse, StreamFormat
from labelwright.service.protocols.arrow import ARROW, ArrowStream
from labelwright.service.protocols.label_messages import DIVISION, estimated_rows, parse, serialise
from labelwright.service.protocols.ndjson import NDJSON, JsonLines


def label_routes(engine: Engine) -> fastapi.APIRouter:
    """Router of `POST /v1/labels`."""
    router = fastapi.APIRouter(prefix="/v1", tags=["labels"])

    @router.post("/labels", response_model=None, openapi_extra=LabelQueryForm.openapi_parameters())
    async def label(request: Request) -> Response:
        """Label up to 1,000 entities. The result of an invalid entity is an error.

        With `explain`, a request may have up to 100 entities, and each label in the response has
        its reasons. A stream of JSON lines or Arrow batches may have any number of entities;
        results are sent while further entities are received. The query of a stream is in the URL.
        The query of a JSON request is in the body.
        """
        try:
            if stream := _stream_format(request, engine):
                response = LabelStreamResponse(request, engine, stream)
                await response.begin()
                return response
            if request.scope["query_string"]:
                raise RequestError("a query in the URL is for streams only: put it into the body")
            async with request_body(request, engine) as body:
                content = await engine.label(
                    functools.partial(parse, body.content),
                    serialise,
                    estimated_rows(body.content),
                    body.deadline,
                    body.key,
                    division=DIVISION,
                )
        except pydantic.ValidationError as error:
            return validation_problem(error)
        return Response(content, media_type="application/json")

    return router


def _stream_format(request: Request, engine: Engine) -> StreamFormat | None:
    """The stream format that the Content-Type names, None for a request that is not a stream.

    Raises pydantic.ValidationError if the parameters of the URL are not a valid query.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (NDJSON, ARROW):
        return None
    query = LabelQueryForm.from_query_params(request.query_params).query
    if media_type == NDJSON:
        return JsonLines(query)
    return ArrowStream(query, engine.model.bundle.labeler.schema)
