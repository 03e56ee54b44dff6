"""Summary of a report. The bundle contains it, for users who cannot access the run."""

import math
from typing import Any

import pyarrow as pa

from labelwright.training.evaluation.metrics import DEPTH, correctness, equal_mass_bins
from labelwright.training.reporting.contents import ReportTables, TrainedModel

_PER_LABEL = ("training_rows", "entities", "precision", "recall", "f1")
_DIGITS = 4


def summary(trained: TrainedModel, tables: ReportTables) -> dict[str, Any]:
    """The summary as JSON values.

    `labels` has columns with one value for each label, in the order of the label set. `slices` and
    `promises` have the rows of the tables of the same name. `reliability` has the bins of the
    calibration error: `stated` is the mean probability, `true` the share of true labels, and
    `count` the number of labels.
    """
    per_label = tables.per_label
    return {
        "labels": {name: _plain(per_label[name].to_pylist()) for name in _PER_LABEL},
        "slices": _rows(tables.slices),
        "promises": _rows(tables.guarantees),
        "reliability": _reliability(trained),
    }


def _reliability(trained: TrainedModel) -> list[dict[str, Any]]:
    predictions = trained.predictions
    _, position, correct = correctness(predictions, trained.truth)
    stated, true = predictions.probabilities[position < DEPTH], correct[position < DEPTH]
    return [
        {
            "stated": _rounded(float(stated[part].mean())),
            "true": _rounded(float(true[part].mean())),
            "count": len(part),
        }
        for part in equal_mass_bins(stated)
    ]


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    return [{name: _rounded(value) for name, value in row.items()} for row in table.to_pylist()]


def _plain(values: list[Any]) -> list[Any]:
    return [_rounded(value) for value in values]


def _rounded(value: Any) -> Any:
    """A float with _DIGITS decimals, None for infinity and NaN; other values are unchanged."""
    if not isinstance(value, float):
        return value
    return round(value, _DIGITS) if math.isfinite(value) else None
