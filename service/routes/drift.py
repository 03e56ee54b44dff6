"""Route `GET /v1/drift`: differences between recent rows and the rows of the evaluation."""

from collections.abc import Sequence
from typing import Annotated, NotRequired, cast

import fastapi
from pydantic import Field
from typing_extensions import TypedDict  # pydantic needs this TypedDict before Python 3.12

from labelwright.models.monitoring.drift import ALARM, LEAST_ROWS, Shift
from labelwright.models.registry import Model
from labelwright.service.engine.engine import Engine
from labelwright.service.protocols.results import ModelIdentity, identity

SHOWN = 10
"""Maximum number of fields, of scores and of labels in a report."""


class Figure(TypedDict):
    """A number of the evaluation and the same number of the recent rows."""

    before: float
    now: float


class ShiftReport(TypedDict):
    """The drift of a field, a score or a label."""

    name: str
    psi: float
    moved: Annotated[
        bool, Field(description=f"The PSI is at least {ALARM} and too large to be due to chance.")
    ]
    filled: NotRequired[
        Annotated[Figure, Field(description="Fields: the share of rows that have the field.")]
    ]
    unseen: NotRequired[
        Annotated[Figure, Field(description="Fields: the share of rows with an unknown value.")]
    ]
    mean: NotRequired[Annotated[Figure, Field(description="Scores: the mean.")]]
    asserted: NotRequired[
        Annotated[Figure, Field(description="Labels: the share of rows that get the label.")]
    ]


class DriftReport(TypedDict):
    """The response of `GET /v1/drift`."""

    model: ModelIdentity
    verdict: str
    rows: Annotated[int, Field(description="The number of recent rows.")]
    profile_rows: Annotated[int, Field(description="The number of rows of the evaluation.")]
    least_rows: Annotated[int, Field(description="The number of rows that a verdict needs.")]
    alarm: Annotated[float, Field(description="The smallest PSI of drift.")]
    fields: list[ShiftReport]
    scores: list[ShiftReport]
    labels: list[ShiftReport]


def drift_routes(engine: Engine) -> fastapi.APIRouter:
    """Router of `GET /v1/drift`."""
    router = fastapi.APIRouter(prefix="/v1", tags=["model"])

    @router.get("/drift")
    def drift() -> DriftReport:
        """Drift of fields, scores and labels in recent rows: population stability indexes (PSI).

        Each distribution is compared with its distribution in the evaluation of the model.
        `moved` is true if the PSI is at least 0.25 and too large to be due to chance. These
        distributions come first.
        """
        return report(engine.model, *engine.traffic.shifts(engine.model))

    return router


def report(model: Model, rows: int, shifts: Sequence[Shift]) -> DriftReport:
    """The response of `GET /v1/drift`; `rows` is the number of recent rows."""
    profile_rows = model.bundle.profile.rows
    verdict = "moved" if any(shift.moved for shift in shifts) else "stable"
    if profile_rows < LEAST_ROWS:
        verdict = "the model has too few rows to compare with"
    elif rows < LEAST_ROWS:
        verdict = "not enough rows yet"
    return {
        "model": identity(model),
        "verdict": verdict,
        "rows": rows,
        "profile_rows": profile_rows,
        "least_rows": LEAST_ROWS,
        "alarm": ALARM,
        "fields": _shown("field", shifts),
        "scores": _shown("score", shifts),
        "labels": _shown("label", shifts),
    }


def _shown(kind: str, shifts: Sequence[Shift]) -> list[ShiftReport]:
    return [_to_json(shift) for shift in shifts if shift.kind == kind][:SHOWN]


def _to_json(shift: Shift) -> ShiftReport:
    figures = {
        name: {"before": round(before, 4), "now": round(now, 4)}
        for name, (before, now) in shift.figures.items()
    }
    known = {"name": shift.name, "psi": round(shift.psi, 4), "moved": shift.moved}
    return cast(ShiftReport, {**known, **figures})
