"""Confidence intervals for figures that are measured on test rows."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.stats

CONFIDENCE = 0.95
"""Confidence level of all intervals and bounds in reports, verdicts, studies and searches."""
FEW_TEST_ROWS = 3_000
"""With fewer test rows, figures are printed with their margins, and the promotion gate compares
models by cross-validation."""
RESAMPLES = 1_000
"""Number of bootstrap resamples."""

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Interval:
    """A measured mean and its lower and upper bounds."""

    mean: float
    low: float
    high: float

    @property
    def reach(self) -> float:
        """The distance of the mean from its bounds."""
        return self.high - self.mean


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


def clustered_mean(
    values: Floats, clusters: npt.NDArray[np.uint64], confidence: float = CONFIDENCE
) -> Interval:
    """The mean of differences between -1 and 1, with its two-sided interval.

    Values of the same cluster depend on each other, so the variance is that of the sums of clusters
    (Liang & Zeger 1986). Two clusters are added, one with a value of 1 and one with -1, as Agresti
    & Coull (1998) do for shares: a few rows without any difference would else have an interval
    without width. A single cluster has no bounds but -1 and 1.
    """
    _, owners = np.unique(clusters, return_inverse=True)
    mean, count = float(values.mean()), int(owners.max()) + 1
    if count < 2:
        return Interval(mean, -1.0, 1.0)
    sums = np.bincount(owners, values - mean)
    error = np.sqrt((sums @ sums + 2) * count / (count - 1)) / len(values)
    reach = float(error * scipy.stats.t.ppf((1 + confidence) / 2, count - 1))
    return Interval(mean, mean - reach, mean + reach)
