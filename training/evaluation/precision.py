"""Are promises of precision kept? What was promised, held against what was achieved."""

from typing import Any

import numpy as np
import pyarrow as pa
import scipy.stats

from labelwright.models.decisions import NEVER, Decisions, Predictions
from labelwright.models.labels import LabelMatrix
from labelwright.training.evaluation.metrics import correctness

CONFIDENCE = 0.95


def measure_guarantees(
    predictions: Predictions, truth: LabelMatrix, decisions: Decisions
) -> pa.Table:
    """One row for each promise, over answers that list all candidates.

    Columns: `promise`; `labels` that have the evidence for it; `asserted`, how many pairs reach
    their label's threshold; `precision`, the share of these that is right, with its bounds `low`
    and `high`; `recall`; `broken`, how many labels fall short by more than chance. Bounds are those
    of Clopper & Pearson (1934) at CONFIDENCE.
    """
    _, _, correct = correctness(predictions, truth)
    true = len(truth.ids) + int(truth.foreign.sum())
    lines = []
    for promise, thresholds in decisions.promises.items():
        asserted = predictions.probabilities >= thresholds[predictions.ids]
        given = np.bincount(predictions.ids[asserted], minlength=truth.labels)
        right = np.bincount(predictions.ids[asserted & correct], minlength=truth.labels)
        low, high = (float(bound) for bound in _bounds(right.sum(), given.sum()))
        _, highest = _bounds(right[given > 0], given[given > 0])
        lines.append(
            {
                "promise": promise,
                "labels": int((thresholds < NEVER).sum()),
                "asserted": int(given.sum()),
                "precision": float(right.sum() / given.sum()) if given.any() else None,
                "low": low if given.any() else None,
                "high": high if given.any() else None,
                "recall": float(right.sum() / max(true, 1)),
                "broken": int((highest < promise).sum()),
            }
        )
    return pa.Table.from_pylist(lines, _COLUMNS)


_COLUMNS = pa.schema(
    [
        ("promise", pa.float64()),
        ("labels", pa.int64()),
        ("asserted", pa.int64()),
        *((name, pa.float64()) for name in ("precision", "low", "high", "recall")),
        ("broken", pa.int64()),
    ]
)


def _bounds(right: Any, given: Any) -> tuple[Any, Any]:
    """Bounds of shares, 0 and 1 where there is nothing to go by."""
    risk = (1 - CONFIDENCE) / 2
    low = scipy.stats.beta.ppf(risk, right, given - right + 1)
    high = scipy.stats.beta.ppf(1 - risk, right + 1, given - right)
    return np.nan_to_num(low, nan=0.0), np.nan_to_num(high, nan=1.0)
