"""Tables in Markdown whose best figures are marked by computation, and the machine's facts."""

import dataclasses
import datetime
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import psutil

Figure = float | None


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of figures; `best` picks the best of several, None where there is no best."""

    title: str
    digits: int = 0
    best: Callable[[Iterable[float]], float] | None = None

    def shown(self, figure: Figure) -> str:
        """A figure as it is printed."""
        return "-" if figure is None else f"{figure:,.{self.digits}f}"


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a table: figures by column title, or a note on why there are none.

    Figures compete with those of the other lines of the same group.
    """

    group: str
    name: str
    figures: Mapping[str, Figure]
    note: str = ""


def markdown(heads: tuple[str, str], columns: Sequence[Column], lines: Sequence[Line]) -> str:
    """A table with a line for each Line; the best of each column in a group is bold.

    What is compared is what is printed, so that figures that look alike are marked alike.
    """
    titles = [*heads, *(column.title for column in columns)]
    rows = [titles, ["---", "---", *("---:" for _ in columns)]]
    for line in lines:
        rivals = [other.figures for other in lines if other.group == line.group]
        if line.note and not line.figures:
            cells = [line.note, *("" for _ in columns[1:])]
        else:
            cells = [_marked(column, line.figures, rivals) for column in columns]
        rows.append([line.group, line.name, *cells])
    return "".join(f"| {' | '.join(cell for cell in row)} |\n" for row in rows)


def _marked(
    column: Column, figures: Mapping[str, Figure], rivals: Sequence[Mapping[str, Figure]]
) -> str:
    shown = column.shown(figures.get(column.title))
    known = [f for rival in rivals if (f := rival.get(column.title)) is not None]
    if column.best is None or len(known) < 2 or shown != column.shown(column.best(known)):
        return shown
    return f"**{shown}**"


def machine() -> dict[str, str]:
    """What the figures depend on: the processor, its load at this moment, the versions, the day."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "load average at the start": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "system": platform.platform(terse=True),
        "Python": platform.python_version(),
        "commit": _commit(),
    }


def listed(facts: Mapping[str, str]) -> str:
    """Facts as a list."""
    return "".join(f"- {name}: {fact}\n" for name, fact in facts.items())


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    root = Path(__file__).parents[1]
    try:
        described = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()
