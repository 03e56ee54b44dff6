"""Routes for probes and monitoring: liveness, readiness and metrics."""

import fastapi
from fastapi import Response
from fastapi.responses import PlainTextResponse

from labelwright.service.engine.engine import Engine
from labelwright.service.http.errors import not_ready, problem
from labelwright.service.telemetry.metrics import CONTENT_TYPE


def health_routes(engine: Engine) -> fastapi.APIRouter:
    """Router of `GET /livez`, `GET /readyz` and `GET /metrics`."""
    metrics = engine.metrics
    router = fastapi.APIRouter(tags=["health"])

    @router.get("/livez", response_model=None)
    async def live() -> dict[str, str] | Response:
        """200 if the process responds and no computation hangs; otherwise 503."""
        return problem(503, "a computation hangs") if engine.queue.stalled else {"status": "live"}

    @router.get("/readyz", response_model=None)
    async def ready() -> dict[str, str] | Response:
        """200 if a model is in service and the service is not stopping; otherwise 503."""
        return {"status": "ready"} if engine.ready else not_ready(engine)

    @router.get("/metrics", response_class=PlainTextResponse)
    def figures() -> Response:
        """Metrics for Prometheus, summed over all workers."""
        if engine.manager.ready:
            metrics.set_drift(engine.traffic.psi_by_name(engine.model))
        return Response(metrics.exposition(), media_type=CONTENT_TYPE)

    return router
