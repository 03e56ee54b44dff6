"""Confidence intervals for figures that are measured on test rows."""

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.stats

CONFIDENCE = 0.95
"""Confidence level of all intervals and bounds in reports, verdicts, studies and searches."""
RESAMPLES = 1_000
"""Number of bootstrap resamples."""

Floats = npt.NDArray[np.float64]


def clopper_pearson(hits: Any, trials: Any) -> tuple[Any, Any]:
    """Lower and upper bounds of shares (Clopper & Pearson 1934), for numbers or arrays.

    Without trials the bounds are 0 and 1.
    """
    risk = (1 - CONFIDENCE) / 2
    low = scipy.stats.beta.ppf(risk, hits, trials - hits + 1)
    high = scipy.stats.beta.ppf(1 - risk, hits + 1, trials - hits)
    return np.nan_to_num(low, nan=0.0), np.nan_to_num(high, nan=1.0)


def wilson(shares: Floats, trials: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Lower and upper bounds of shares (Wilson 1927); `trials` are 1 or more."""
    z = scipy.stats.norm.ppf((1 + CONFIDENCE) / 2)
    centre = shares + z**2 / (2 * trials)
    reach = z * np.sqrt(shares * (1 - shares) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z**2 / trials
    return (centre - reach) / scale, (centre + reach) / scale


def bootstrap_mean(values: Floats, seed: int) -> tuple[float, float]:
    """One-sided lower and upper bounds of a mean, by bootstrap (Efron 1979)."""
    random = np.random.default_rng(seed)
    means = np.array(
        [values[random.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    )
    return float(np.quantile(means, 1 - CONFIDENCE)), float(np.quantile(means, CONFIDENCE))
