"""Markdown tables in which the best figures are bold, and facts about the machine."""

import dataclasses
import datetime
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import psutil

Figure = float | None


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of figures; `best` is `min`, `max`, or None if no figure is marked as best."""

    title: str
    digits: int = 0
    best: Callable[[Iterable[float]], float] | None = None

    def formatted(self, figure: Figure) -> str:
        """The printed form of a figure."""
        return "-" if figure is None else f"{figure:,.{self.digits}f}"


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a table: figures by column title, or a note with the reason why there are none.

    The best figure is marked among the lines of the same group.
    """

    group: str
    name: str
    figures: Mapping[str, Figure]
    note: str = ""


def by_title(columns: Sequence[Column], figures: Iterable[Figure]) -> dict[str, Figure]:
    """Figures in the order of their columns, by column title."""
    return {column.title: figure for column, figure in zip(columns, figures, strict=True)}


def markdown(headings: tuple[str, str], columns: Sequence[Column], lines: Sequence[Line]) -> str:
    """A table; the best figure of each column in each group is bold.

    Printed figures are compared. Therefore all figures that look equal to the best are marked.
    """
    titles = [*headings, *(column.title for column in columns)]
    rows = [titles, ["---", "---", *("---:" for _ in columns)]]
    for line in lines:
        rivals = [other.figures for other in lines if other.group == line.group]
        if line.note and not line.figures:
            cells = [line.note, *("" for _ in columns[1:])]
        else:
            cells = [_cell(column, line.figures, rivals) for column in columns]
        rows.append([line.group, line.name, *cells])
    return "".join(f"| {' | '.join(cell for cell in row)} |\n" for row in rows)


def _cell(
    column: Column, figures: Mapping[str, Figure], rivals: Sequence[Mapping[str, Figure]]
) -> str:
    text = column.formatted(figures.get(column.title))
    known = [f for rival in rivals if (f := rival.get(column.title)) is not None]
    if column.best is None or len(known) < 2 or text != column.formatted(column.best(known)):
        return text
    return f"**{text}**"


def write_page(file: Path, page: str, content: object = None) -> None:
    """Write a page and print it.

    `content` is written to a JSON file with the name of the page, if it is not None.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, "utf-8")
    if content is not None:
        text = json.dumps(content, indent=1, default=str)
        file.with_suffix(".json").write_text(text + "\n", "utf-8")
    print(page)


def machine() -> dict[str, str]:
    """Facts about the measurement: date, processor, memory, load, versions and commit."""
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
    """Facts as a Markdown list."""
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
