"""Uses private names of prometheus_client, which cannot observe an array of values otherwise.

pyproject.toml therefore limits the version of prometheus_client, and a test names those that are
missing. No other module uses private names of it.
"""

import numpy as np
from prometheus_client import Histogram

from labelwright.models.decisions import Probabilities


def observe_all(histogram: Histogram, values: Probabilities) -> None:
    """Add all values to a histogram without labels, as one `observe` call for each would."""
    bounds = histogram._upper_bounds
    counts = np.bincount(np.searchsorted(bounds, values), minlength=len(bounds))
    for bucket, count in zip(histogram._buckets, counts.tolist(), strict=True):
        if count:
            bucket.inc(count)
    histogram._sum.inc(float(values.sum()))
