"""Confidence intervals, compared with the definitions and with SciPy."""

import numpy as np
import pytest
import scipy.stats

from labelwright.training.evaluation.intervals import clopper_pearson, clustered_mean, wilson


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (3, 10), (10, 10), (950, 1_000)])
def test_bounds_of_shares_agree_with_scipy(hits: int, trials: int) -> None:
    expected = scipy.stats.binomtest(hits, trials)
    exact = expected.proportion_ci(0.95, "exact")
    assert clopper_pearson(hits, trials) == pytest.approx((exact.low, exact.high))
    approximate = expected.proportion_ci(0.95, "wilson")
    low, high = wilson(np.array([hits / trials]), np.array([trials]))
    assert (low[0], high[0]) == pytest.approx((approximate.low, approximate.high))


def test_a_share_without_trials_can_have_any_value() -> None:
    low, high = clopper_pearson(np.array([0, 1]), np.array([0, 2]))
    assert (low[0], high[0]) == (0, 1)
    assert 0 < low[1] < 0.5 < high[1] < 1


def test_the_interval_of_many_values_agrees_with_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(0.1, 1, 5_000)
    found = clustered_mean(values, np.arange(5_000, dtype=np.uint64))
    assert found.low < values.mean() == found.mean < found.high
    assert found.reach == pytest.approx(1.96 / np.sqrt(5_000), rel=0.05)


def test_a_single_cluster_has_no_bounds() -> None:
    found = clustered_mean(np.array([0.1, 0.3]), np.zeros(2, np.uint64))
    assert found.mean == pytest.approx(0.2)
    assert (found.low, found.high) == (-1, 1)
