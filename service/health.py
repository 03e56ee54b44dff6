"""Whether the process lives, and whether it is ready."""

import fastapi
from fastapi import Response

from service.engine import Engine
from service.problems import problem


def health(engine: Engine) -> fastapi.APIRouter:
    """`GET /livez` and `GET /readyz`."""
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
