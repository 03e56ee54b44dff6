"""Route `GET /v1/drift`: how much recent traffic differs from the rows of the evaluation."""

from collections.abc import Sequence
from typing import Any

import fastapi

from labelwright.models.monitoring.drift import ALARM, LEAST_ROWS, Shift
from labelwright.models.registry import Model
from labelwright.service.engine.engine import Engine

SHOWN = 10
"""Maximum number of fields, and of labels, in a report."""


def drift_routes(engine: Engine) -> fastapi.APIRouter:
    """`GET /v1/drift`."""
    router = fastapi.APIRouter(prefix="/v1", tags=["model"])

    @router.get("/drift")
    def drift() -> dict[str, Any]:
        """The population stability index (PSI) of fields, scores and labels in recent rows.

        The reference is the distribution in the evaluation of the model. A distribution counts as
        moved if its PSI is at least 0.25 and chance does not explain it. Moved ones come first.
        """
        return report(engine.model, *engine.traffic.shifts(engine.model))

    return router


def report(model: Model, rows: int, shifts: Sequence[Shift]) -> dict[str, Any]:
    """The response of `GET /v1/drift`."""
    profile_rows = model.bundle.profile.rows
    verdict = "moved" if any(shift.moved for shift in shifts) else "stable"
    if profile_rows < LEAST_ROWS:
        verdict = "the model has too few rows to compare with"
    elif rows < LEAST_ROWS:
        verdict = "not enough rows yet"
    return {
        "model": model.identity,
        "verdict": verdict,
        "rows": rows,
        "profile_rows": profile_rows,
        "least_rows": LEAST_ROWS,
        "alarm": ALARM,
        **{
            f"{kind}s": [_to_json(shift) for shift in shifts if shift.kind == kind][:SHOWN]
            for kind in ("field", "score", "label")
        },
    }


def _to_json(shift: Shift) -> dict[str, Any]:
    figures = {
        name: {"before": round(before, 4), "now": round(now, 4)}
        for name, (before, now) in shift.figures.items()
    }
    return {"name": shift.name, "psi": round(shift.psi, 4), "moved": shift.moved, **figures}
