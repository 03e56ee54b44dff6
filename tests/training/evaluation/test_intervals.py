"""Confidence intervals, compared with the definitions and with SciPy."""

import numpy as np
import pytest
import scipy.stats

from labelwright.training.evaluation.intervals import bootstrap_mean, clopper_pearson, wilson


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


def test_bootstrap_bounds_of_many_values_agree_with_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(0.1, 1, 5_000)
    lower, upper = bootstrap_mean(values, seed=0)
    assert lower < values.mean() < upper
    assert upper - lower == pytest.approx(2 * 1.645 / np.sqrt(5_000), rel=0.15)
    assert bootstrap_mean(values, seed=0) == (lower, upper)
