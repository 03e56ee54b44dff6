"""Tests of the adapter of prometheus_client: required private names, and observed arrays."""

from importlib.metadata import version

import numpy as np
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from labelwright.service.telemetry.prometheus_adapter import observe_all

BUCKETS = (0.25, 0.5, 1.0)
VALUES = np.array([0.0, 0.25, 0.375, 0.5, 0.75, 1.0, 2.0], np.float32)


def histogram() -> tuple[CollectorRegistry, Histogram]:
    registry = CollectorRegistry()
    return registry, Histogram("probability", "Probability.", registry=registry, buckets=BUCKETS)


def samples(registry: CollectorRegistry) -> list[str]:
    """The lines of the exposition format, without creation times."""
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if "_created" not in line]


def test_a_histogram_has_the_names_that_the_adapter_uses() -> None:
    _, one = histogram()
    missing = [name for name in ("_upper_bounds", "_buckets", "_sum") if not hasattr(one, name)]
    assert not missing, (
        f"prometheus_client {version('prometheus-client')} has no Histogram.{missing}: adapt "
        "service/telemetry/prometheus_adapter.py"
    )


def test_observing_an_array_is_the_same_as_observing_each_value() -> None:
    together, all_values = histogram()
    one_by_one, each_value = histogram()
    observe_all(all_values, VALUES)
    for value in VALUES.tolist():
        each_value.observe(value)
    assert samples(together) == samples(one_by_one)
