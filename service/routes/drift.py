"""`GET /v1/drift`: whether callers still ask about the like of what the model was judged on."""

from collections.abc import Sequence
from typing import Any

import fastapi

from labelwright.models.monitoring.drift import ALARM, LEAST_ROWS, Shift
from labelwright.models.registry import Model
from labelwright.service.engine.engine import Engine

SHOWN = 10
"""Fields, and labels, that are shown at most."""


def drift_routes(engine: Engine) -> fastapi.APIRouter:
    """`GET /v1/drift`."""
    router = fastapi.APIRouter(prefix="/v1", tags=["model"])

    @router.get("/drift")
    def drift() -> dict[str, Any]:
        """Which fields, scores and labels have moved since the model was judged, and how far.

        By the population stability index of the rows seen last; those that moved come first. It
        counts as moved from 0.25 on, where chance does not explain it.
        """
        return report(engine.model, *engine.traffic.shifts(engine.model))

    return router


def report(model: Model, rows: int, found: Sequence[Shift]) -> dict[str, Any]:
    """The answer of `GET /v1/drift`."""
    known = model.bundle.profile.rows
    verdict = "moved" if any(shift.moved for shift in found) else "stable"
    if known < LEAST_ROWS:
        verdict = "the model has too few rows to compare with"
    elif rows < LEAST_ROWS:
        verdict = "not enough rows yet"
    return {
        "model": model.identity,
        "verdict": verdict,
        "rows": rows,
        "profile_rows": known,
        "least_rows": LEAST_ROWS,
        "alarm": ALARM,
        **{
            f"{kind}s": [_stated(shift) for shift in found if shift.kind == kind][:SHOWN]
            for kind in ("field", "score", "label")
        },
    }


def _stated(shift: Shift) -> dict[str, Any]:
    figures = {
        name: {"before": round(before, 4), "now": round(now, 4)}
        for name, (before, now) in shift.figures.items()
    }
    return {"name": shift.name, "psi": round(shift.psi, 4), "moved": shift.moved, **figures}
