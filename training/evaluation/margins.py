"""Margins of metrics on few test rows."""

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.stats

from labelwright.entities.tables import Entities
from labelwright.models.decisions import Predictions
from labelwright.models.labels import LabelMatrix
from labelwright.training.data import name_hashes
from labelwright.training.evaluation.intervals import CONFIDENCE, FEW_TEST_ROWS
from labelwright.training.evaluation.metrics import Evaluation, Metrics, evaluate
from labelwright.training.evaluation.slices import metrics_of_rows

GROUPS = 40
"""Number of groups of names; the metrics are computed without each group in turn."""
_SCALES = {"p_at_1": 100.0, "p_at_1_labelled": 100.0, "p_at_3": 100.0, "p_at_5": 100.0}
"""The largest value of metrics that are not between 0 and 1."""


def evaluate_with_margins(
    predictions: Predictions, truth: LabelMatrix, entities: Entities, one_group: bool = False
) -> Evaluation:
    """`evaluate`, and the margins of its metrics if there are fewer than FEW_TEST_ROWS rows.

    `one_group` is the argument of `evaluate`. The margin of the accuracy is that of
    `p_at_1_labelled`.
    """
    evaluation = evaluate(predictions, truth, one_group)
    if not 2 <= len(truth) < FEW_TEST_ROWS:
        return evaluation
    margins = _margins(predictions, truth, name_hashes(entities))
    if one_group:
        margins["accuracy"] = margins["p_at_1_labelled"] / 100
    return dataclasses.replace(evaluation, margins=margins)


def _margins(
    predictions: Predictions, truth: LabelMatrix, names: npt.NDArray[np.uint64]
) -> dict[str, float]:
    """The distance of each metric from the bounds of its interval; all rows may have one name.

    The variance is that of a jackknife over groups of names (Shao & Tu 1995). A variance of half a
    row is added, as Agresti & Coull (1998) do for shares: a share of 0 on few rows is uncertain.
    """
    _, owners = np.unique(names, return_inverse=True)
    groups = owners % GROUPS
    count = int(groups.max()) + 1
    if count < 2:
        return {field: _SCALES.get(field, 1.0) for field in _fields()}
    parts = [metrics_of_rows(groups != group, predictions, truth) for group in range(count)]
    quantile = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, count - 1))
    margins = {}
    for field in _fields():
        scale = _SCALES.get(field, 1.0)
        values = np.array([getattr(part, field) for part in parts]) / scale
        variance = (count - 1) * float(values.var()) + 0.5 / len(names) ** 2
        margins[field] = min(scale * quantile * float(np.sqrt(variance)), scale)
    return margins


def _fields() -> list[str]:
    fields = (field.name for field in dataclasses.fields(Metrics))
    return [name for name in fields if name not in ("rows", "accuracy")]
