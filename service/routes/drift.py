"""Route `GET /v1/drift`: differences between recent rows and the rows of the evaluation."""

from collections.abc import Sequence
from typing import Any

import fastapi

from labelwright.models.monitoring.drift import ALARM, LEAST_ROWS, Shift
from labelwright.models.registry import Model
from labelwright.service.engine.engine import Engine

SHOWN = 10
"""Maximum number of fields, of scores and of labels in a report."""


def drift_routes(engine: Engine) -> fastapi.APIRouter:
    """Router of `GET /v1/drift`."""
    router = fastapi.APIRouter(prefix="/v1", tags=["model"])

    @router.get("/drift")
    def drift() -> dict[str, Any]:
        """Drift of fields, scores and labels in recent rows: population stability indexes (PSI).

        Each distribution is compared with its distribution in the evaluation of the model.
        `moved` is true if the PSI is at least 0.25 and too large to be due to chance. These
        distributions come first.
        """
        return report(engine.model, *engine.traffic.shifts(engine.model))

    return router


def report(model: Model, rows: int, shifts: Sequence[Shift]) -> dict[str, Any]:
    """The response of `GET /v1/drift`; `rows` is the number of recent rows."""
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
