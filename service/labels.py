"""`POST /v1/labels`."""

import fastapi
import pydantic
from fastapi import Request, Response

from service.answers import Labels
from service.bodies import body_of
from service.engine import Engine
from service.problems import invalid


def labelling(engine: Engine) -> fastapi.APIRouter:
    """`POST /v1/labels`."""
    router = fastapi.APIRouter(prefix="/v1", tags=["labels"])

    @router.post("/labels", response_model=None)
    async def label(request: Request) -> Response:
        """The labels of up to 1,000 entities; a bad entity gets its error in its own place.

        With `explain`, up to 100 entities, and for each label why.
        """
        async with body_of(request, engine) as body:
            asked = Labels(body.content)
            try:
                content = await engine.label(
                    asked.read, asked.write, asked.rows, body.deadline, body.key
                )
            except pydantic.ValidationError as error:
                return invalid(error)
        return Response(content, media_type="application/json")

    return router
