"""Quality of predictions: precision, recall, F-measures and calibration error."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from labelwright.models.decisions import Predictions
from labelwright.models.kernels.csr import positions_in_rows
from labelwright.models.labels import LabelMatrix

DEPTH = 5
"""Number of most probable labels that are evaluated; predictions must list at least this number."""
MAX_MARGIN = 10.0
"""Largest margin of P@1, in points, with which the metrics of a model are worth quoting."""
TOO_FEW = "too few for figures that are worth quoting"
BINS = 15
"""Number of bins of the calibration error."""


@dataclasses.dataclass(frozen=True)
class Metrics:
    """Metrics of a model on test rows.

    `p_at_k` is the precision of the k most probable labels, in percent, over all rows.
    `p_at_1_labelled` is `p_at_1` over the rows that have a label; 0 if there is none. `precision`,
    `recall` and `micro_f1` are computed over all pairs of an entity and an asserted or true label.
    A true label outside the model's label set counts as missed. `macro_f1` is the mean F1 of the
    labels that at least one entity has. `ece` is the expected calibration error of the DEPTH most
    probable labels of each entity (Naeini et al., AAAI 2015, but with bins of equal mass).
    `accuracy` is the share of the rows with a label whose most probable label is true; None unless
    all labels are one exclusive group.
    """

    rows: int
    p_at_1: float
    p_at_1_labelled: float
    p_at_3: float
    p_at_5: float
    precision: float
    recall: float
    micro_f1: float
    macro_f1: float
    ece: float
    accuracy: float | None = None

    @property
    def by_name(self) -> dict[str, float]:
        """The metrics by name, without `accuracy` if it is None."""
        metrics = dataclasses.asdict(self)
        return {name: value for name, value in metrics.items() if value is not None}

    @property
    def distinct(self) -> dict[str, float]:
        """The metrics of `by_name`, without `p_at_1_labelled` if it equals `p_at_1`."""
        metrics = self.by_name
        if self.p_at_1_labelled == self.p_at_1:
            del metrics["p_at_1_labelled"]
        return metrics


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Metrics over all labels, and a table with one row for each label.

    Columns of `per_label`: label, entities (number of entities that have the label), asserted
    (number of assertions), correct (number of true assertions), precision, recall, f1. Precision is
    null for a label that is never asserted; recall and f1 are null for a label without entities.

    `margins` are the distances of metrics from the bounds of their intervals (`margins`). It is
    empty with many rows.
    """

    metrics: Metrics
    per_label: pa.Table
    margins: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def with_margin(self, name: str, digits: int) -> str:
        """A metric as text, with its margin if it has one: `29.4 ± 11.2`."""
        margin = f" ± {self.margins[name]:.{digits}f}" if name in self.margins else ""
        return f"{getattr(self.metrics, name):.{digits}f}{margin}"

    @property
    def quotable(self) -> bool:
        """Whether the test rows are enough to quote the metrics."""
        return self.margins.get("p_at_1", 0.0) <= MAX_MARGIN


def evaluate(predictions: Predictions, truth: LabelMatrix, one_group: bool = False) -> Evaluation:
    """Compare predictions with the true labels.

    The predictions must list at least DEPTH labels for each entity. `one_group` is true if all
    labels are one exclusive group; then the accuracy is computed.
    """
    _, position, correct = correctness(predictions, truth)
    # only a row with a label can have a true prediction
    labelled = int((np.diff(truth.present.indptr) + truth.foreign > 0).sum())
    precision = {
        k: 100 * float(correct[position < k].sum()) / (k * max(len(truth), 1)) for k in (1, 3, 5)
    }
    asserted = predictions.asserted
    count = len(predictions.labels)
    given = np.bincount(predictions.ids[asserted], minlength=count)
    right = np.bincount(predictions.ids[asserted & correct], minlength=count)
    true = truth.counts()
    all_true = int(true.sum() + truth.foreign.sum())
    f1 = 2 * right / np.maximum(given + true, 1)
    top = position < DEPTH
    metrics = Metrics(
        rows=len(truth),
        p_at_1=precision[1],
        p_at_1_labelled=100 * float(correct[position < 1].sum()) / max(labelled, 1),
        p_at_3=precision[3],
        p_at_5=precision[5],
        precision=float(right.sum() / max(given.sum(), 1)),
        recall=float(right.sum() / max(all_true, 1)),
        micro_f1=float(2 * right.sum() / max(given.sum() + all_true, 1)),
        macro_f1=float(f1[true > 0].mean()) if (true > 0).any() else 0.0,
        ece=calibration_error(predictions.probabilities[top], correct[top]),
        accuracy=float(correct[position < 1].sum()) / max(labelled, 1) if one_group else None,
    )
    table = pa.table(
        {
            "label": predictions.labels.array,
            "entities": true,
            "asserted": given,
            "correct": right,
            "precision": pa.array(right / np.maximum(given, 1), mask=given == 0),
            "recall": pa.array(right / np.maximum(true, 1), mask=true == 0),
            "f1": pa.array(f1, mask=true == 0),
        }
    )
    return Evaluation(metrics, table)


def calibration_error(
    probabilities: npt.NDArray[np.float32], correct: npt.NDArray[np.bool_]
) -> float:
    """Mean difference between the mean probability and the share of true labels, over the bins.

    There are up to BINS bins of equal mass; each bin is weighted by its number of probabilities.
    """
    if not len(probabilities):
        return 0.0
    bins = equal_mass_bins(probabilities)
    distances = [abs(probabilities[b].mean() - correct[b].mean()) * len(b) for b in bins]
    return float(sum(distances) / len(probabilities))


def equal_mass_bins(probabilities: npt.NDArray[np.float32]) -> list[npt.NDArray[np.int64]]:
    """Positions of probabilities in up to BINS bins of equal mass, lowest probabilities first."""
    order = np.argsort(probabilities, kind="stable")
    return [part for part in np.array_split(order, BINS) if len(part)]


def correctness(
    predictions: Predictions, truth: LabelMatrix
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """For each predicted pair: its row, its position within the row, and whether it is true."""
    true = np.isin(predictions.keys(), truth.keys(), assume_unique=True)
    return predictions.rows(), positions_in_rows(predictions.indptr), true
