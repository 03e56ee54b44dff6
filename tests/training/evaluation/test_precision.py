"""What was promised is held against what was achieved."""

import numpy as np
import pyarrow as pa

from labelwright.models.decisions import BALANCED, NEVER, Decisions, Predictions
from labelwright.models.labels import LabelSet, label_matrix
from labelwright.training.evaluation.precision import measure_guarantees

ROWS = 100
LABELS = LabelSet(("a", "b", "c"))


def answered(right: int) -> pa.Table:
    """Each row is answered a and b; a reaches its threshold and holds in so many rows."""
    lists = [["a", "b"] if row < right else ["b", "zz"] for row in range(ROWS)]
    truth = label_matrix(pa.array(lists), LABELS)
    predictions = Predictions(
        LABELS,
        np.arange(0, 2 * ROWS + 1, 2),
        np.tile(np.array([0, 1], np.int32), ROWS),
        np.tile(np.array([0.9, 0.4], np.float32), ROWS),
        np.zeros(2 * ROWS, np.bool_),
    )
    thresholds = np.array([0.8, 0.5, NEVER], np.float32)
    never = np.full(3, NEVER, np.float32)
    decisions = Decisions(2, 1.0, 0.0, {BALANCED: never}, {0.9: thresholds, 0.99: never})
    return measure_guarantees(predictions, truth, decisions)


def test_what_reaches_its_threshold_is_counted() -> None:
    kept, nothing = answered(right=95).to_pylist()
    assert (kept["promise"], kept["labels"], kept["asserted"]) == (0.9, 2, ROWS)
    assert kept["precision"] == 0.95
    assert 0.88 < kept["low"] < 0.9 < 0.97 < kept["high"] < 0.99
    assert kept["recall"] == 95 / (95 + 100 + 5)
    assert kept["broken"] == 0
    assert (nothing["labels"], nothing["asserted"], nothing["precision"]) == (0, 0, None)


def test_a_label_that_falls_short_by_more_than_chance_is_counted() -> None:
    assert answered(right=85).to_pylist()[0]["broken"] == 0
    assert answered(right=60).to_pylist()[0]["broken"] == 1
