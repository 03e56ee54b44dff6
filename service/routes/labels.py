"""`POST /v1/labels`: one answer to a JSON request, or a stream of answers to a stream of rows."""

from collections.abc import Callable, Coroutine
from typing import Any

import fastapi
import pydantic
from fastapi import Request, Response
from fastapi.routing import APIRoute

from labelwright.entities.errors import RequestError
from labelwright.service.engine.engine import Engine
from labelwright.service.http.body import request_body
from labelwright.service.http.errors import validation_problem
from labelwright.service.http.query import LabelQueryForm
from labelwright.service.http.streaming import LabelStreamResponse, StreamFormat
from labelwright.service.protocols.arrow import ARROW, ArrowStream
from labelwright.service.protocols.label_messages import Labels
from labelwright.service.protocols.ndjson import NDJSON, JsonLines


class DirectRoute(APIRoute):
    """Of a function from a request to a response, for which FastAPI has nothing to prepare."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The function itself: what is asked most is answered with the least around it."""
        return self.endpoint


def labelling(engine: Engine) -> fastapi.APIRouter:
    """`POST /v1/labels`."""
    router = fastapi.APIRouter(prefix="/v1", tags=["labels"], route_class=DirectRoute)

    @router.post("/labels", response_model=None, openapi_extra=LabelQueryForm.openapi_parameters())
    async def label(request: Request) -> Response:
        """The labels of up to 1,000 entities; a bad entity gets its error in its own place.

        With `explain`, up to 100 entities, and for each label why. As a stream of JSON lines or of
        Arrow batches, any number of entities: answers come while entities are still sent. What is
        asked about the entities of a stream stands in the query, otherwise in the body.
        """
        try:
            if form := _format(request, engine):
                answer = LabelStreamResponse(request, engine, form)
                await answer.begin()
                return answer
            if request.scope["query_string"]:
                raise RequestError("only streams are asked in the query: put it into the body")
            async with request_body(request, engine) as body:
                labels = Labels(body.content)
                content = await engine.label(
                    labels.read, labels.write, labels.rows, body.deadline, body.key
                )
        except pydantic.ValidationError as error:
            return validation_problem(error)
        return Response(content, media_type="application/json")

    return router


def _format(request: Request, engine: Engine) -> StreamFormat | None:
    """How the rows of a stream are written, by its content type; None of a single request.

    Raises pydantic.ValidationError for a query that does not say what is asked about them.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (NDJSON, ARROW):
        return None
    query = LabelQueryForm.from_query_params(request.query_params).query
    if kind == NDJSON:
        return JsonLines(query)
    return ArrowStream(query, engine.model.bundle.labeler.schema)
