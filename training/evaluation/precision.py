"""Precision guarantees, compared with the precision that is measured on test rows."""

import numpy as np
import pyarrow as pa

from labelwright.models.decisions import NEVER, Decisions, Predictions
from labelwright.models.labels import LabelMatrix
from labelwright.training.evaluation.intervals import clopper_pearson
from labelwright.training.evaluation.metrics import correctness


def measure_guarantees(
    predictions: Predictions, truth: LabelMatrix, decisions: Decisions
) -> pa.Table:
    """A table with one row for each guaranteed precision.

    The predictions must list all candidates. Columns: `promise`, the guaranteed precision;
    `labels`, the number of labels that have enough evidence for this guarantee; `asserted`, the
    number of pairs that reach the threshold of their label; `precision`, the share of these pairs
    that are correct; `low` and `high`, the bounds of this share by `clopper_pearson`; `recall`;
    `broken`, the number of labels whose upper bound of the precision is below the guarantee.
    """
    _, _, correct = correctness(predictions, truth)
    true = len(truth.present.ids) + int(truth.foreign.sum())
    lines = []
    for promise, thresholds in decisions.guarantees.items():
        asserted = predictions.probabilities >= thresholds[predictions.ids]
        given = np.bincount(predictions.ids[asserted], minlength=truth.labels)
        right = np.bincount(predictions.ids[asserted & correct], minlength=truth.labels)
        low, high = (float(bound) for bound in clopper_pearson(right.sum(), given.sum()))
        _, highest = clopper_pearson(right[given > 0], given[given > 0])
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
