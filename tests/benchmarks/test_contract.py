"""Predictions of runners: their order, the asserted labels, and the file format."""

from pathlib import Path

import numpy as np

from benchmarks import contract


def test_the_best_and_all_asserted_labels_are_kept_in_order() -> None:
    scores = np.array([[0.1, 0.9, 0.8, 0.7, 0.6, 0.95, 0.55], [0.7, 0.1, 0.2, 0.3, 0.4, 0.0, 0.05]])
    dense = contract.ranked_dense(scores, 0.5)
    pairs = contract.ranked_pairs([list(enumerate(row)) for row in scores], 0.5)
    for predictions in (dense, pairs):
        assert predictions.indptr.tolist() == [0, 6, 11]
        assert predictions.ids.tolist() == [5, 1, 2, 3, 4, 6, 0, 4, 3, 2, 1]
        assert predictions.asserted.tolist() == [True] * 7 + [False] * 4


def test_without_a_threshold_no_label_is_asserted() -> None:
    predictions = contract.ranked_dense(np.array([[3.0, 1.0]]))
    assert predictions.ids.tolist() == [0, 1]
    assert not predictions.asserted.any()


def test_rows_without_labels_are_kept(tmp_path: Path) -> None:
    predictions = contract.ranked_pairs([[], [(3, 0.5)], []])
    predictions.save(tmp_path / "predictions.npz")
    assert contract.Predictions.load(tmp_path / "predictions.npz").indptr.tolist() == [0, 0, 1, 1]
    both = contract.concatenated([predictions, predictions])
    assert both.indptr.tolist() == [0, 0, 1, 1, 1, 2, 2]


def test_label_ids_are_listed_by_row() -> None:
    ragged = contract.Ragged(np.array([0, 2, 2, 3]), np.array([4, 7, 1], np.int32))
    assert ragged.rows() == [[4, 7], [], [1]]
