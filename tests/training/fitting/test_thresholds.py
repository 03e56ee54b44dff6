"""Thresholds: the best F-measure, and precision guarantees."""

import numpy as np
import numpy.typing as npt
import pytest

from labelwright.models.decisions import NEVER, PRECISIONS
from labelwright.training.fitting.thresholds import (
    GUARANTEE_CONFIDENCE,
    SIZES,
    best_threshold,
    precise_thresholds,
)

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]


def drawn(seed: int, pairs: int) -> tuple[Floats, Flags]:
    """Calibrated probabilities, and random outcomes with these probabilities."""
    random = np.random.default_rng(seed)
    probabilities = random.random(pairs).astype(np.float32)
    return probabilities, random.random(pairs) < probabilities


def distinct_names(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """A different name for each pair."""
    return np.arange(len(ids), dtype=np.uint64)


def test_the_best_threshold_has_the_largest_f1() -> None:
    probabilities, present = drawn(0, 500)
    positives = int(present.sum()) + 20

    def f1(threshold: float, beta: float = 1.0) -> float:
        asserted = probabilities >= threshold
        right = (asserted & present).sum()
        return float((1 + beta**2) * right / (asserted.sum() + beta**2 * positives))

    for beta in (1.0, 2.0):
        best = best_threshold(probabilities, present, positives, beta)
        assert f1(best, beta) == max(f1(float(p), beta) for p in probabilities)
    wide = best_threshold(probabilities, present, positives, 2.0)
    assert wide < best_threshold(probabilities, present, positives)


def test_guarantees_hold_for_the_share_of_labels_that_their_confidence_states() -> None:
    """The share of labels below their guarantee is at most about 1 - GUARANTEE_CONFIDENCE.

    Outcomes follow the probabilities, so the precision above a threshold t is (1 + t) / 2.
    """
    labels, pairs = 100, 16_000
    probabilities, present = drawn(1, labels * pairs)
    ids = np.repeat(np.arange(labels), pairs)
    found = precise_thresholds(ids, distinct_names(ids), probabilities, present, labels)
    for level in (0.5, 0.8, 0.9, 0.95):
        thresholds = found[level]
        asserted = thresholds < NEVER
        violated = ((1 + thresholds[asserted]) / 2 < level).mean()
        assert asserted.mean() > 0.5
        assert violated <= 1 - GUARANTEE_CONFIDENCE
    assert (found[0.9] <= found[0.95]).all()


def test_a_label_without_enough_evidence_is_never_asserted() -> None:
    few = int(SIZES[0]) - 1
    ids = np.repeat([0, 1], [few, 1_000])
    sure = np.ones(len(ids), np.bool_)
    found = precise_thresholds(
        ids, distinct_names(ids), np.full(len(ids), 0.9, np.float32), sure, 3
    )
    assert set(found) == set(PRECISIONS)
    for level in PRECISIONS:
        assert found[level][0] == found[level][2] == NEVER
        assert found[level][1] <= 0.9


def test_pairs_of_the_same_name_count_once() -> None:
    ids = np.zeros(10_000, np.int64)
    probabilities, sure = np.full(len(ids), 0.9, np.float32), np.ones(len(ids), np.bool_)
    chain = precise_thresholds(ids, np.full(len(ids), 7, np.uint64), probabilities, sure, 1)
    assert all(thresholds[0] == NEVER for thresholds in chain.values())
    chains = precise_thresholds(ids, distinct_names(ids) // np.uint64(50), probabilities, sure, 1)
    assert chains[0.9][0] < NEVER == chains[0.99][0]


def test_adjacent_floats_can_be_separated() -> None:
    near = np.array([0.99999994, 0.9999999], np.float32)
    threshold = np.float32(best_threshold(near, np.array([True, False]), 1))
    assert near[1] < threshold <= near[0]


def test_equal_probabilities_are_asserted_together() -> None:
    """No threshold can separate true and false pairs that have the same probability."""
    probabilities = np.repeat(np.array([0.9, 0.5], np.float32), [64, 10_000])
    present = np.arange(len(probabilities)) < 200
    ids = np.zeros(len(present), np.int64)
    found = precise_thresholds(ids, distinct_names(ids), probabilities, present, 1)
    assert found[0.9][0] > 0.5
    assert found[0.9][0] <= 0.9


@pytest.mark.parametrize("pairs", [0, 1])
def test_few_pairs_have_a_best_threshold(pairs: int) -> None:
    probabilities, present = drawn(2, pairs)
    assert 0 <= best_threshold(probabilities, present, 1) <= 1
