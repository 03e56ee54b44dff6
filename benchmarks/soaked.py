"""What a soak has shown: counts, memory over time, whether the service held, and the page."""

import dataclasses
import enum
from collections import Counter, defaultdict

import numpy as np

from benchmarks import tables

WARM = 0.25
"""The share of the time after which memory must not grow any more."""
GROWTH_LIMIT = 0.05
"""Of the memory that is there, what its trend may add over the rest of the time."""


class Outcome(enum.Enum):
    """What became of a request; the values are titles of columns."""

    RIGHT = "right"
    WRONG = "wrong"
    REFUSED = "refused after a kill"
    CUT = "cut by a kill"
    LEFT = "left by the client"
    UNEXPECTED = "unexpected"


FIGURES = (
    *(tables.Column(outcome.value) for outcome in Outcome),
    tables.Column("half within ms", 1),
    tables.Column("99% within ms", 1),
    tables.Column("longest ms"),
)


@dataclasses.dataclass
class Run:
    """All that is noted while it goes on; rates are requests a second."""

    minutes: float
    capacity: float = 0.0
    capacity_after: float | None = None
    rate: float = 0.0
    began: float = 0.0
    swaps: int = 0
    arrived: set[int] = dataclasses.field(default_factory=set)
    """Swaps whose version has answered before the next."""
    killed: int = 0
    replaced: list[float] = dataclasses.field(default_factory=list)
    """Seconds until the successor of each killed worker held a model."""
    memory: list[tuple[float, dict[int, int]]] = dataclasses.field(default_factory=list)
    """Seconds since the beginning, and the bytes of each process."""
    outcomes: dict[str, Counter[Outcome]] = dataclasses.field(
        default_factory=lambda: defaultdict(Counter)
    )
    seconds: dict[str, list[float]] = dataclasses.field(default_factory=lambda: defaultdict(list))
    """From when requests of a kind were due until they were answered, with all workers there."""
    recovering: list[float] = dataclasses.field(default_factory=list)
    """The same of all kinds, from the kill of a worker until all is as before."""
    statuses: Counter[int] = dataclasses.field(default_factory=Counter)
    """Of the unexpected ones; 0 where the connection ended."""
    tracebacks: int = 0

    def count(self, kind: str, outcome: Outcome) -> None:
        """Note what became of a request."""
        self.outcomes[kind][outcome] += 1

    @property
    def total(self) -> Counter[Outcome]:
        """Of all kinds together."""
        return sum(self.outcomes.values(), Counter())


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of all processes that lived as long as the service, and their trend.

    `growth` is what the trend adds from the end of the warm-up to the end.
    """

    start: float
    end: float
    peak: float
    growth: float
    hourly: float

    @property
    def flat(self) -> bool:
        """Whether the trend adds next to nothing."""
        return self.growth <= GROWTH_LIMIT * self.start


def memory(run: Run) -> Memory:
    """The trend is the least squares line through all that was seen after the warm-up.

    Of processes that were killed, or came later, nothing is counted: a new worker's memory is its
    own beginning. Raises ValueError where nothing was seen.
    """
    lasting = set.intersection(*(set(sizes) for _, sizes in run.memory))
    at = np.array([at for at, _ in run.memory])
    sums = np.array([sum(sizes[pid] for pid in lasting) for _, sizes in run.memory], float)
    warm = at >= WARM * at[-1]
    slope = float(np.polyfit(at[warm], sums[warm], 1)[0])
    lasted = float(at[-1] - at[warm][0])
    return Memory(
        float(np.median(sums[warm][:10])),
        float(np.median(sums[-10:])),
        float(max(sum(sizes.values()) for _, sizes in run.memory)),
        slope * lasted,
        slope * 3600,
    )


def faults(run: Run) -> list[str]:
    """Why the service did not hold; nothing if it did."""
    total, found = run.total, []
    if total[Outcome.WRONG]:
        found.append(f"{total[Outcome.WRONG]} wrong answers")
    if total[Outcome.UNEXPECTED]:
        named = {status or "closed": count for status, count in sorted(run.statuses.items())}
        found.append(f"unexpected statuses: {named}")
    if not memory(run).flat:
        found.append(f"memory grew by {memory(run).growth / 1e6:.1f} MB")
    if run.tracebacks:
        found.append(f"{run.tracebacks} tracebacks in the log")
    if not total[Outcome.RIGHT]:
        found.append("nothing was answered")
    if len(run.arrived) < run.swaps / 2:
        found.append(f"of {run.swaps} swaps only {len(run.arrived)} came about before the next")
    return found


def document(run: Run) -> str:
    """The whole page."""
    held, found = memory(run), faults(run)
    after = f", at the end {run.capacity_after:,.0f}" if run.capacity_after else ""
    late = f"{1e3 * np.percentile(run.recovering, 99):,.0f} ms" if run.recovering else "-"
    facts = tables.machine() | {
        "capacity": f"{run.capacity:,.0f} requests of this mixture a second{after}",
        "load": f"{run.rate:,.0f} requests a second for {run.minutes:g} minutes",
        "swaps": f"{run.swaps}, of which {len(run.arrived)} came about before the next one",
        "workers killed": f"{run.killed}; replaced after "
        + (", ".join(f"{seconds:.0f} s" for seconds in run.replaced) or "the end"),
        "times after kills, until all is as before": f"99% within {late}; the table has the others",
        "memory of the processes that lived to the end": f"{held.start / 1e6:,.0f} MB after the "
        f"warm-up, {held.end / 1e6:,.0f} MB at the end; trend {held.growth / 1e6:+.1f} MB over the "
        f"time between ({held.hourly / 1e6:+.1f} MB an hour)",
        "memory of all processes, at most": f"{held.peak / 1e6:,.0f} MB",
        "verdict": "; ".join(found) if found else "it held",
    }
    return "\n".join(
        [
            "# Soak\n",
            "Written by `make soak`: client and service share the machine. Times are counted from "
            "the moment when a request was due; every answer is compared with the right one of its "
            "version.\n",
            tables.listed(facts),
            tables.markdown(("request", "share"), FIGURES, _lines(run)),
        ]
    )


def _lines(run: Run) -> list[tables.Line]:
    asked = run.total.total()
    everything = [second for some in run.seconds.values() for second in some]
    rows = [
        *((kind, run.outcomes[kind], run.seconds[kind]) for kind in sorted(run.outcomes)),
        ("all", run.total, everything),
    ]
    return [
        tables.Line(kind, f"{100 * counts.total() / asked:.0f}%", _figures(counts, seconds))
        for kind, counts, seconds in rows
    ]


def _figures(counts: Counter[Outcome], seconds: list[float]) -> dict[str, tables.Figure]:
    found: dict[str, tables.Figure] = {outcome.value: counts[outcome] for outcome in Outcome}
    times = 1e3 * np.percentile(seconds, (50, 99, 100)) if seconds else ()
    titles = (column.title for column in FIGURES[len(Outcome) :])
    return found | dict(zip(titles, map(float, times), strict=False))
