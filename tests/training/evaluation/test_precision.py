"""Precision guarantees, compared with the measured precision."""

import numpy as np
import pyarrow as pa

from labelwright.models.decisions import BALANCED, NEVER, Decisions, Predictions
from labelwright.models.labels import LabelSet, label_matrix
from labelwright.training.evaluation.precision import measure_guarantees

ROWS = 100
LABELS = LabelSet(("a", "b", "c"))


def measured(right: int) -> pa.Table:
    """The table for rows with the predictions `a` and `b`; `a` is true in `right` rows."""
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


def test_pairs_that_reach_the_threshold_of_their_label_are_counted() -> None:
    reached, never = measured(right=95).to_pylist()
    assert (reached["promise"], reached["labels"], reached["asserted"]) == (0.9, 2, ROWS)
    assert reached["precision"] == 0.95
    assert 0.88 < reached["low"] < 0.9 < 0.97 < reached["high"] < 0.99
    assert reached["recall"] == 95 / (95 + 100 + 5)
    assert reached["broken"] == 0
    assert (never["labels"], never["asserted"], never["precision"]) == (0, 0, None)


def test_labels_below_their_guarantee_by_more_than_chance_are_counted() -> None:
    assert measured(right=85).to_pylist()[0]["broken"] == 0
    assert measured(right=60).to_pylist()[0]["broken"] == 1
