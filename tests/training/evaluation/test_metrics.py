"""Metrics, compared with a worked example and with scikit-learn."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from labelwright.models.decisions import Predictions
from labelwright.models.labels import LabelSet, label_matrix
from labelwright.training.evaluation.metrics import calibration_error, evaluate

NAMES = tuple("abcdefgh")
LABELS = LabelSet(NAMES)


def predictions_of(rows: list[list[tuple[str, float, bool]]]) -> Predictions:
    flat = [pair for row in rows for pair in row]
    return Predictions(
        LABELS,
        np.cumsum([0, *map(len, rows)]),
        np.array([NAMES.index(label) for label, _, _ in flat], np.int32),
        np.array([p for _, p, _ in flat], np.float32),
        np.array([asserted for _, _, asserted in flat], np.bool_),
    )


def test_metrics_of_a_worked_example() -> None:
    predictions = predictions_of(
        [
            [
                ("a", 0.9, True),
                ("b", 0.6, True),
                ("c", 0.1, False),
                ("d", 0.1, False),
                ("e", 0, False),
            ],
            [
                ("b", 0.8, True),
                ("a", 0.2, False),
                ("c", 0.1, False),
                ("d", 0.1, False),
                ("e", 0, False),
            ],
        ]
    )
    truth = label_matrix(pa.array([["a", "c"], ["a", "zzz"]]), LABELS)
    found = evaluate(predictions, truth)
    assert found.metrics.p_at_1 == 50.0
    assert found.metrics.p_at_3 == pytest.approx(100 * 3 / 6)
    assert found.metrics.p_at_5 == pytest.approx(100 * 3 / 10)
    # 3 labels are asserted, 1 of these is true; 4 labels are true, 1 of these is foreign
    assert found.metrics.micro_f1 == pytest.approx(2 * 1 / (3 + 4))
    rows = {row["label"]: row for row in found.per_label.to_pylist()}
    assert rows["a"] == {
        "label": "a",
        "entities": 2,
        "asserted": 1,
        "correct": 1,
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
    }
    assert rows["c"]["precision"] is None
    assert rows["h"]["recall"] is None


def ranked(names: Sequence[str]) -> list[tuple[str, float, bool]]:
    return [(name, 1 - place / 10, False) for place, name in enumerate(names)]


def test_precision_of_the_rows_with_a_label_leaves_out_the_other_rows() -> None:
    predictions = predictions_of([ranked("abcde")] * 4)
    truth = label_matrix(pa.array([["a"], [], ["b"], ["zzz"]]), LABELS)
    metrics = evaluate(predictions, truth).metrics
    assert metrics.p_at_1 == 25
    assert metrics.p_at_1_labelled == pytest.approx(100 / 3)
    assert metrics.distinct["p_at_1_labelled"] == metrics.p_at_1_labelled
    none = label_matrix(pa.array([[]] * 4, pa.list_(pa.string())), LABELS)
    assert evaluate(predictions, none).metrics.p_at_1_labelled == 0


@given(
    st.lists(
        st.tuples(st.permutations(NAMES), st.sets(st.sampled_from(NAMES), min_size=1)), min_size=1
    )
)
def test_precision_of_the_rows_with_a_label_is_that_of_all_rows_if_all_have_one(
    rows: list[tuple[list[str], set[str]]],
) -> None:
    predictions = predictions_of([ranked(order) for order, _ in rows])
    truth = label_matrix(pa.array([sorted(true) for _, true in rows]), LABELS)
    metrics = evaluate(predictions, truth).metrics
    assert metrics.p_at_1_labelled == metrics.p_at_1
    assert "p_at_1_labelled" not in metrics.distinct


Row = st.tuples(
    st.permutations(NAMES),
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.sets(st.sampled_from(NAMES)),
)


@settings(deadline=None)  # scikit-learn is slow on a busy machine
@given(st.lists(Row, min_size=1, max_size=12))
def test_f_measures_agree_with_scikit_learn(
    rows: list[tuple[list[str], list[bool], set[str]]],
) -> None:
    predictions = predictions_of(
        [
            [(n, 1 - i / 8, f) for i, (n, f) in enumerate(zip(order, flags, strict=True))]
            for order, flags, _ in rows
        ]
    )
    lists = pa.array([sorted(true) for _, _, true in rows], pa.list_(pa.string()))
    found = evaluate(predictions, label_matrix(lists, LABELS)).metrics
    asserted = np.array([[flags[order.index(n)] for n in NAMES] for order, flags, _ in rows])
    true = np.array([[n in labels for n in NAMES] for _, _, labels in rows])
    assert found.micro_f1 == pytest.approx(
        f1_score(true, asserted, average="micro", zero_division=0)
    )
    seen = true.any(axis=0)
    if seen.any():
        each = [f1_score(true[:, i], asserted[:, i], zero_division=0) for i in np.flatnonzero(seen)]
        assert found.macro_f1 == pytest.approx(np.mean(each))


def test_the_calibration_error_is_small_for_calibrated_and_large_for_wrong_probabilities() -> None:
    random = np.random.default_rng(0)
    probabilities = random.random(200_000).astype(np.float32)
    correct = random.random(200_000) < probabilities
    assert calibration_error(probabilities, correct) < 0.005
    assert calibration_error(np.full(1_000, 0.9, np.float32), np.zeros(1_000, np.bool_)) > 0.89
    assert calibration_error(np.zeros(0, np.float32), np.zeros(0, np.bool_)) == 0
