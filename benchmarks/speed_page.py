"""The page of the speed benchmark, from its measurements."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from benchmarks import tables
from benchmarks.exact_model import EXACT, Quality
from benchmarks.growth import GrowthPoint, exponent
from benchmarks.over_http import BATCHES, RATE, Cost, Latency, Throughput
from benchmarks.stage_times import OWN, StageTime

STAGE = tables.Column("us/entity", 2, min)
TIMES = tables.Column("times as long", 1)
FILE = (
    tables.Column("seconds", 1),
    tables.Column("peak MB", 0),
    tables.Column("rows a second, from both files", 0, max),
)
QUALITY = (tables.Column("P@1", 2), tables.Column("P@5", 2))
HTTP = (
    tables.Column("entities/s", 0, max),
    tables.Column("labelwright is faster by a factor of", 1),
)
LATENCY = (tables.Column("median ms", 1, min), tables.Column("p99 ms", 1, min))
COST = (
    tables.Column("seconds until the first response", 1, min),
    tables.Column("MB, all processes", 0, min),
)
ROWS_UNIT = "rows"
"""Unit of the growth with rows. No exponent is fitted: with more rows, the time per entity becomes
shorter, because the time of the start is divided by more rows."""
GROWTH = (tables.Column("number", 0), tables.Column("us/entity", 2))


@dataclasses.dataclass(frozen=True)
class FileRun:
    """Time and peak memory of labelling a file with one method."""

    rows: int
    seconds: float
    peak_bytes: int
    method: str = OWN
    threads: int = 1


@dataclasses.dataclass(frozen=True)
class Start:
    """Seconds of a new process: its imports, reading the bundle, and the first predictions."""

    imports: float
    bundle: float
    predictions: float

    @property
    def seconds(self) -> float:
        """The sum of all steps."""
        return self.imports + self.bundle + self.predictions


@dataclasses.dataclass(frozen=True)
class Measurements:
    """Contents of the page; `notes` are the reasons why some figures were not measured."""

    facts: Mapping[str, str]
    times: Sequence[StageTime]
    file_runs: Sequence[FileRun]
    qualities: Sequence[Quality]
    throughput: Sequence[Throughput]
    latency: Sequence[Latency]
    costs: Sequence[Cost]
    growth: Sequence[GrowthPoint]
    bundle_bytes: int
    start: Start
    bandwidth: float
    weight_bytes: float
    worker_bytes: float
    streamed: float
    notes: Sequence[str] = ()


def rate(runs: Sequence[FileRun], method: str = OWN) -> float:
    """Rows per second of a method, from the difference between its smallest and largest file."""
    first, *_, last = (run for run in runs if run.method == method)
    return (last.rows - first.rows) / (last.seconds - first.seconds)


def document(found: Measurements) -> str:
    """The page in Markdown."""
    parts = [
        "# Speed\n",
        "Written by `make bench-speed`: a model of real places labels synthetic places.\n",
        tables.listed(found.facts),
        "## One thread, in memory\n",
        tables.markdown(("task", "method"), (STAGE, TIMES), list(_stage_lines(found.times))),
        "## Parquet to Parquet\n",
        tables.markdown(("file", "method"), FILE, list(_file_lines(found.file_runs))),
        _findings(found),
        *_quality(found.qualities),
        "## Over HTTP, client and server on the same cores\n",
        tables.markdown(
            ("entities a request", "server"), HTTP, list(_http_lines(found.throughput))
        ),
        "A stream of Arrow batches in both directions over one connection: "
        f"{found.streamed:,.0f} rows a second, {found.streamed / rate(found.file_runs):.0%} of the "
        "rate of whole files.\n",
        f"Response times at {RATE} requests a second, of one entity each:\n",
        tables.markdown(("requests", "server"), LATENCY, list(_latency_lines(found.latency))),
        "The start of a server, and its memory after the requests of the first table:\n",
        tables.markdown(("processes", "server"), COST, list(_cost_lines(found.costs))),
        "## Growth\n",
        tables.markdown(("task", "unit"), GROWTH, list(_growth_lines(found.growth))),
        "".join(_exponents(found.growth)),
    ]
    if found.notes:
        parts += ["## Not measured\n", "".join(f"- {note}\n" for note in found.notes)]
    return "\n".join(parts)


def _stage_lines(times: Sequence[StageTime]) -> Iterator[tables.Line]:
    own = {one.task: one.microseconds for one in times if one.method == OWN}
    for one in sorted(times, key=lambda one: list(own).index(one.task)):
        figures = {STAGE.title: one.microseconds, TIMES.title: one.microseconds / own[one.task]}
        yield tables.Line(one.task, one.method, figures)


def _file_lines(runs: Sequence[FileRun]) -> Iterator[tables.Line]:
    for run in runs:
        most = max(other.rows for other in runs if other.method == run.method)
        both = rate(runs, run.method) if run.rows == most else None
        figures = tables.by_title(FILE, (run.seconds, run.peak_bytes / 1e6, both))
        method = f"{run.method}, {run.threads} thread{'s' * (run.threads > 1)}"
        yield tables.Line(f"{run.rows:,} rows", method, figures)


def _findings(found: Measurements) -> str:
    """Markdown list: the rate of files, the bundle, the start, and the use of memory."""
    (scoring,) = (t for t in found.times if t.method == OWN and t.task == "scores of all labels")
    read = found.weight_bytes / scoring.microseconds * 1e6
    return (
        f"- {rate(found.file_runs):,.0f} rows a second, from the difference of the two files\n"
        f"- the bundle: {found.bundle_bytes / 1e6:,.0f} MB; a new process labels its first entity "
        f"after {found.start.seconds:.2f} s: {found.start.imports:.2f} s for imports, "
        f"{found.start.bundle:.2f} s for reading the bundle, {found.start.predictions:.2f} s for "
        "the predictions\n"
        f"- memory: one thread reads {found.bandwidth / 1e9:.1f} GB a second; the scores of an "
        f"entity need {found.weight_bytes / 1e3:,.0f} kB of dense weights, which are read at "
        f"{read / 1e9:.1f} GB a second ({read / found.bandwidth:.0%})\n"
        f"- a third worker of the service needs {found.worker_bytes / 1e6:,.0f} MB more\n"
    )


def _quality(qualities: Sequence[Quality]) -> Iterator[str]:
    """The section about the loss of quality in exchange for speed; empty if it was not measured."""
    if not qualities:
        return
    yield (
        "Loss of quality in exchange for speed, for a model that is fitted on the real places. The "
        "exact model has the fitted weights in half precision: no weight is dropped or rounded to "
        "8 bits. It uses SciPy's product and LightGBM's own prediction. Both models have the same "
        "trees, which were trained on rounded scores.\n"
    )
    lines = [
        tables.Line(one.part, one.method, {"P@1": one.p_at_1, "P@5": one.p_at_5})
        for one in qualities
    ]
    yield tables.markdown(("places", "method"), QUALITY, lines)
    exact = {one.part: one for one in qualities if one.method == EXACT}
    losses = [
        f"{exact[one.part].p_at_1 - one.p_at_1:+.2f} of P@1 and "
        f"{exact[one.part].p_at_5 - one.p_at_5:+.2f} of P@5 on {one.part}"
        for one in qualities
        if one.method == OWN
    ]
    yield f"Lost: {', '.join(losses)}.\n"


def _http_lines(found: Sequence[Throughput]) -> Iterator[tables.Line]:
    own = {one.batch: one.entities for one in found if one.server == OWN}
    for batch in BATCHES:
        for one in found:
            if one.batch == batch:
                figures = tables.by_title(HTTP, (one.entities, own[batch] / one.entities))
                yield tables.Line(f"{batch:,}", one.server, figures)


def _latency_lines(found: Sequence[Latency]) -> Iterator[tables.Line]:
    for one in found:
        figures = tables.by_title(LATENCY, (one.median, one.p99))
        yield tables.Line(f"{RATE} a second", one.server, figures)


def _cost_lines(found: Sequence[Cost]) -> Iterator[tables.Line]:
    for one in found:
        figures = tables.by_title(COST, (one.seconds, one.memory_bytes / 1e6))
        yield tables.Line("one worker", one.server, figures)


def _growth_lines(points: Sequence[GrowthPoint]) -> Iterator[tables.Line]:
    for point in points:
        figures = tables.by_title(GROWTH, (point.number, point.microseconds))
        yield tables.Line(point.task, point.unit, figures)


def _exponents(points: Sequence[GrowthPoint]) -> Iterator[str]:
    for unit in dict.fromkeys(point.unit for point in points if point.unit != ROWS_UNIT):
        some = [point for point in points if point.unit == unit]
        power = exponent([one.number for one in some], [one.microseconds for one in some])
        if power is not None:
            yield f"- {some[0].task}: the time grows with the {unit} to the power of {power:.2f}\n"
