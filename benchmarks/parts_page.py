"""Figures of the benchmark of hand-written parts, their confidence intervals, and the page."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import scipy.stats

from benchmarks import tables

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Figure:
    """A measured quantity; `better` is -1 if smaller is better, and 1 if larger is better."""

    title: str
    digits: int
    better: int

    def best(self, values: Iterable[float]) -> float:
        """The best of some measurements."""
        return max(values) if self.better > 0 else min(values)


CPU = Figure("server CPU, us a request of 1 entity", 0, -1)
THROUGHPUT = Figure("requests of 1 entity a second", 0, 1)
GOODPUT = Figure("entities in time per CPU second of the server, under overload", 0, 1)
MEMORY = Figure("memory of a worker, not shared, MB", 0, -1)
START_CPU = Figure("CPU seconds of a worker until it is ready", 2, -1)
START = Figure("seconds until the first response", 2, -1)
FIGURES: Mapping[str, Sequence[Figure]] = {
    "skipped_imports": (MEMORY, START_CPU, START),
    "connection": (GOODPUT, CPU, THROUGHPUT),
}
"""The figures of each part. The first figure decides whether the part stays in the service."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Pairs of measurements of one figure: with the current part, and with its alternative."""

    part: str
    figure: Figure
    current: Sequence[float]
    alternative: Sequence[float]

    @property
    def interval(self) -> tuple[float, float, float]:
        """Geometric mean of the ratios, and the bounds of its confidence interval.

        The bounds are computed from the logarithms by Student's t. Raises ValueError for fewer than
        two pairs.
        """
        logarithms = np.log(np.array(self.current) / np.array(self.alternative))
        if len(logarithms) < 2:
            raise ValueError("an interval needs at least 2 pairs of measurements")
        mean = float(logarithms.mean())
        error = float(logarithms.std(ddof=1)) / math.sqrt(len(logarithms))
        margin = error * float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, len(logarithms) - 1))
        return math.exp(mean), math.exp(mean - margin), math.exp(mean + margin)

    @property
    def verdict(self) -> str:
        """`gain` or `loss`, or `no difference shown` if the interval includes 1."""
        _, low, high = self.interval
        if low <= 1 <= high:
            return "no difference shown"
        return "gain" if (low > 1) == (self.figure.better > 0) else "loss"

    @property
    def decides(self) -> bool:
        """Whether this is the figure that decides about the part."""
        return self.figure == FIGURES[self.part][0]


def document(
    facts: Mapping[str, str], setup: Sequence[str], comparisons: Sequence[Comparison]
) -> str:
    """The page in Markdown; `setup` are sentences about the measurements."""
    rounds = min((len(one.current) for one in comparisons), default=0)
    rows = [
        "| part | figure | current | alternative | ratio | 95% interval | verdict |\n",
        "|---|---|---:|---:|---:|---:|---|\n",
        *map(_row, comparisons),
    ]
    return "\n".join(
        [
            "# Hand-written parts\n",
            "Written by `make bench-parts`: the current service is compared with a service in "
            "which a library replaces one part. Client and server share the machine. The two "
            f"services are measured alternately. Figures are medians of {rounds} rounds. The ratio "
            "is the geometric mean of `current / alternative`. Bold: the figure that decides "
            "whether the part stays.\n",
            "".join(f"- {sentence}\n" for sentence in setup),
            tables.listed(facts),
            "".join(rows),
        ]
    )


def _row(one: Comparison) -> str:
    ratio, low, high = one.interval
    current, alternative = (
        f"{np.median(values):,.{one.figure.digits}f}" for values in (one.current, one.alternative)
    )
    title = f"**{one.figure.title}**" if one.decides else one.figure.title
    return (
        f"| {one.part} | {title} | {current} | {alternative} | {ratio:.3f} | "
        f"{low:.3f} to {high:.3f} | {one.verdict} |\n"
    )
