"""Results of a soak test: counts, trend of the memory, verdict, and the page."""

import dataclasses
import enum
from collections import Counter, defaultdict

import numpy as np

from benchmarks import tables

WARM_UP_SHARE = 0.25
"""Warm-up as a share of the duration; after the warm-up, memory must no longer grow."""
GROWTH_LIMIT = 0.05
"""Maximum growth of the memory after the warm-up, as a share of the memory."""


class Outcome(enum.Enum):
    """Outcome of a request; the values are column titles."""

    RIGHT = "right"
    WRONG = "wrong"
    REFUSED = "refused after a kill"
    CUT = "cut by a kill"
    ABANDONED = "abandoned by the client"
    UNEXPECTED = "unexpected"


COLUMNS = (
    *(tables.Column(outcome.value) for outcome in Outcome),
    tables.Column("median ms", 1),
    tables.Column("p99 ms", 1),
    tables.Column("longest ms"),
)


@dataclasses.dataclass
class Run:
    """The recorded results of a soak test; rates are requests a second."""

    minutes: float
    capacity: float = 0.0
    capacity_after: float | None = None
    rate: float = 0.0
    began: float = 0.0
    swaps: int = 0
    completed: set[int] = dataclasses.field(default_factory=set)
    """Numbers of the swaps whose version responded before the next swap."""
    killed: int = 0
    replaced: list[float] = dataclasses.field(default_factory=list)
    """Seconds until the replacement of each killed worker had loaded the model."""
    memory: list[tuple[float, dict[int, int]]] = dataclasses.field(default_factory=list)
    """Seconds since the start, and the bytes of each process by its id."""
    outcomes: dict[str, Counter[Outcome]] = dataclasses.field(
        default_factory=lambda: defaultdict(Counter)
    )
    seconds: dict[str, list[float]] = dataclasses.field(default_factory=lambda: defaultdict(list))
    """Response times since the due time, by kind of request, while all workers run."""
    recovering: list[float] = dataclasses.field(default_factory=list)
    """Response times of all requests between the kill of a worker and the recovery."""
    statuses: Counter[int] = dataclasses.field(default_factory=Counter)
    """Counts of unexpected statuses; 0 is a connection that was closed too early."""
    tracebacks: int = 0

    def count(self, kind: str, outcome: Outcome) -> None:
        """Record the outcome of a request."""
        self.outcomes[kind][outcome] += 1

    @property
    def total(self) -> Counter[Outcome]:
        """Counts of the outcomes of all kinds of requests together."""
        return sum(self.outcomes.values(), Counter())


@dataclasses.dataclass(frozen=True)
class MemoryTrend:
    """Bytes of the processes that ran during the whole test, and their growth after the warm-up."""

    start: float
    end: float
    peak: float
    growth: float
    hourly: float

    @property
    def flat(self) -> bool:
        """Whether the growth is within GROWTH_LIMIT."""
        return self.growth <= GROWTH_LIMIT * self.start


def memory_trend(run: Run) -> MemoryTrend:
    """Fit a line by least squares to the memory after the warm-up.

    Only processes that ran from the start to the end count, because a new worker starts with less
    memory than it needs later. Raises ValueError if no memory was recorded.
    """
    if not run.memory:
        raise ValueError("no memory was recorded: expected at least one sample")
    lasting = set.intersection(*(set(sizes) for _, sizes in run.memory))
    times = np.array([at for at, _ in run.memory])
    sums = np.array([sum(sizes[pid] for pid in lasting) for _, sizes in run.memory], float)
    warm = times >= WARM_UP_SHARE * times[-1]
    slope = float(np.polyfit(times[warm], sums[warm], 1)[0])
    duration = float(times[-1] - times[warm][0])
    return MemoryTrend(
        float(np.median(sums[warm][:10])),
        float(np.median(sums[-10:])),
        float(max(sum(sizes.values()) for _, sizes in run.memory)),
        slope * duration,
        slope * 3600,
    )


def faults(run: Run) -> list[str]:
    """Reasons why the test failed; empty if it passed."""
    total, trend, found = run.total, memory_trend(run), []
    if total[Outcome.WRONG]:
        found.append(f"{total[Outcome.WRONG]} wrong responses")
    if total[Outcome.UNEXPECTED]:
        named = {status or "closed": count for status, count in sorted(run.statuses.items())}
        found.append(f"unexpected statuses: {named}")
    if not trend.flat:
        found.append(f"memory grew by {trend.growth / 1e6:.1f} MB")
    if run.tracebacks:
        found.append(f"{run.tracebacks} tracebacks in the log")
    if not total[Outcome.RIGHT]:
        found.append("no request succeeded")
    if len(run.completed) < run.swaps / 2:
        found.append(f"only {len(run.completed)} of {run.swaps} swaps completed before the next")
    return found


def document(run: Run) -> str:
    """The page in Markdown."""
    trend, found = memory_trend(run), faults(run)
    after = f", at the end {run.capacity_after:,.0f}" if run.capacity_after else ""
    recovering = f"{1e3 * np.percentile(run.recovering, 99):,.0f} ms" if run.recovering else "-"
    facts = tables.machine() | {
        "capacity": f"{run.capacity:,.0f} requests of this mixture a second{after}",
        "load": f"{run.rate:,.0f} requests a second for {run.minutes:g} minutes",
        "swaps": f"{run.swaps}, of which {len(run.completed)} completed before the next one",
        "workers killed": f"{run.killed}; replaced after "
        + (", ".join(f"{seconds:.0f} s" for seconds in run.replaced) or "the end of the test"),
        "response times between a kill and the recovery (not in the table)": f"p99 {recovering}",
        "memory of the processes that ran all the time": f"{trend.start / 1e6:,.0f} MB after the "
        f"warm-up, {trend.end / 1e6:,.0f} MB at the end; trend {trend.growth / 1e6:+.1f} MB in "
        f"between ({trend.hourly / 1e6:+.1f} MB an hour)",
        "peak memory of all processes": f"{trend.peak / 1e6:,.0f} MB",
        "verdict": "; ".join(found) if found else "passed",
    }
    return "\n".join(
        [
            "# Soak test\n",
            "Written by `make soak`: client and service share the machine. Response times start at "
            "the due time of a request. Every response is compared with the right response of the "
            "version that it names.\n",
            tables.listed(facts),
            tables.markdown(("request", "share"), COLUMNS, _lines(run)),
        ]
    )


def _lines(run: Run) -> list[tables.Line]:
    requests = run.total.total()
    everything = [second for some in run.seconds.values() for second in some]
    rows = [
        *((kind, run.outcomes[kind], run.seconds[kind]) for kind in sorted(run.outcomes)),
        ("all", run.total, everything),
    ]
    return [
        tables.Line(kind, f"{100 * counts.total() / requests:.0f}%", _figures(counts, seconds))
        for kind, counts, seconds in rows
    ]


def _figures(counts: Counter[Outcome], seconds: list[float]) -> dict[str, tables.Figure]:
    found: dict[str, tables.Figure] = {outcome.value: counts[outcome] for outcome in Outcome}
    times = 1e3 * np.percentile(seconds, (50, 99, 100)) if seconds else ()
    titles = (column.title for column in COLUMNS[len(Outcome) :])
    return found | dict(zip(titles, map(float, times), strict=False))
