"""The summary of a report that a bundle carries, for those who see the model and not the run."""

import math
from typing import Any

import pyarrow as pa

from labelwright.training.evaluation.metrics import DEPTH, bins_of, correctness
from labelwright.training.reporting.contents import Findings, Subject

_PER_LABEL = ("training_rows", "entities", "precision", "recall", "f1")
_DIGITS = 4


def summary(subject: Subject, findings: Findings) -> dict[str, Any]:
    """JSON: `labels`, columns in the order of the label set; `slices` and `promises`, rows; and
    `reliability`, the bins of the calibration error with `stated`, `true` and `count`.
    """
    per_label = findings.per_label
    return {
        "labels": {name: _plain(per_label[name].to_pylist()) for name in _PER_LABEL},
        "slices": _rows(findings.slices),
        "promises": _rows(findings.promises),
        "reliability": _reliability(subject),
    }


def _reliability(subject: Subject) -> list[dict[str, Any]]:
    predictions = subject.predictions
    _, position, correct = correctness(predictions, subject.truth)
    stated, true = predictions.probabilities[position < DEPTH], correct[position < DEPTH]
    return [
        {
            "stated": _rounded(float(stated[part].mean())),
            "true": _rounded(float(true[part].mean())),
            "count": len(part),
        }
        for part in bins_of(stated)
    ]


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    return [{name: _rounded(value) for name, value in row.items()} for row in table.to_pylist()]


def _plain(values: list[Any]) -> list[Any]:
    return [_rounded(value) for value in values]


def _rounded(value: Any) -> Any:
    """Numbers as JSON can have them, with as many digits as are shown."""
    if not isinstance(value, float):
        return value
    return round(value, _DIGITS) if math.isfinite(value) else None
