"""Adapter of prometheus_client, and the only module that uses private names of prometheus_client.

There is no public function that observes an array of values. pyproject.toml limits the version of
prometheus_client. If the installed version lacks one of the names, a test fails and shows which.
"""

import numpy as np
from prometheus_client import Histogram

from labelwright.models.decisions import Probabilities


def observe_all(histogram: Histogram, values: Probabilities) -> None:
    """Add all values to a histogram without labels.

    The result is the same as with one call of `observe` for each value.
    """
    bounds = histogram._upper_bounds
    counts = np.bincount(np.searchsorted(bounds, values), minlength=len(bounds))
    for bucket, count in zip(histogram._buckets, counts.tolist(), strict=True):
        if count:
            bucket.inc(count)
    histogram._sum.inc(float(values.sum()))
