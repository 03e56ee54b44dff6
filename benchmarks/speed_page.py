"""The page on how fast labels are made, from what was measured."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from benchmarks import tables
from benchmarks.exactness import EXACT, Quality
from benchmarks.growth import Grown, exponent
from benchmarks.kernels import OWN, Timed
from benchmarks.over_http import BATCHES, RATE, Paced, Served, Taken

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
    tables.Column("labelwright is so many times faster", 1),
)
PACE = (tables.Column("half within ms", 1, min), tables.Column("99% within ms", 1, min))
TAKEN = (tables.Column("first answer after s", 1, min), tables.Column("MB, all processes", 0, min))
OF_ROWS = "rows"
"""What whole files grow with; what an entity takes then falls, as the start is shared by more."""
GROWTH = (tables.Column("number", 0), tables.Column("us/entity", 2))


@dataclasses.dataclass(frozen=True)
class Labelled:
    """What it took one way to label a file."""

    rows: int
    seconds: float
    peak_bytes: int
    way: str = OWN
    threads: int = 1


@dataclasses.dataclass(frozen=True)
class Start:
    """Seconds that a new process takes to import, to read the bundle, and to answer."""

    imports: float
    bundle: float
    answer: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.imports + self.bundle + self.answer


@dataclasses.dataclass(frozen=True)
class Measured:
    """All that the page tells; `notes` say what was not measured."""

    facts: Mapping[str, str]
    timed: Sequence[Timed]
    labelled: Sequence[Labelled]
    qualities: Sequence[Quality]
    over_http: Sequence[Served]
    paced: Sequence[Paced]
    taken: Sequence[Taken]
    grown: Sequence[Grown]
    bundle_bytes: int
    start: Start
    bandwidth: float
    weight_bytes: float
    worker_bytes: float
    streamed: float
    notes: Sequence[str] = ()


def slope(labelled: Sequence[Labelled], way: str = OWN) -> float:
    """Rows a second one way, from the difference between its first and its last file."""
    first, *_, last = (done for done in labelled if done.way == way)
    return (last.rows - first.rows) / (last.seconds - first.seconds)


def document(found: Measured) -> str:
    """The whole page."""
    parts = [
        "# Speed\n",
        "Written by `make bench-speed`: the model of real places, on made ones.\n",
        tables.listed(found.facts),
        "## One thread, in memory\n",
        tables.markdown(("what", "way"), (STAGE, TIMES), list(_stage_lines(found.timed))),
        "## Parquet to Parquet\n",
        tables.markdown(("file", "way"), FILE, list(_file_lines(found.labelled))),
        _findings(found),
        *_quality(found.qualities),
        "## Over HTTP, client and server on the same cores\n",
        tables.markdown(("entities a request", "way"), HTTP, list(_http_lines(found.over_http))),
        f"A stream of Arrow batches, both ways over one connection: {found.streamed:,.0f} rows a "
        f"second, {found.streamed / slope(found.labelled):.0%} of the rate of whole files.\n",
        f"With {RATE} requests a second of one entity each:\n",
        tables.markdown(("requests", "way"), PACE, list(_pace_lines(found.paced))),
        "What a server takes, until its first answer and after all but the last of this:\n",
        tables.markdown(("server", "way"), TAKEN, list(_taken_lines(found.taken))),
        "## Growth\n",
        tables.markdown(("work", "of"), GROWTH, list(_growth_lines(found.grown))),
        "".join(_exponents(found.grown)),
    ]
    if found.notes:
        parts += ["## Not measured\n", "".join(f"- {note}\n" for note in found.notes)]
    return "\n".join(parts)


def _stage_lines(timed: Sequence[Timed]) -> Iterator[tables.Line]:
    own = {line.what: line.microseconds for line in timed if line.way == OWN}
    for line in sorted(timed, key=lambda line: list(own).index(line.what)):
        figures = {STAGE.title: line.microseconds, TIMES.title: line.microseconds / own[line.what]}
        yield tables.Line(line.what, line.way, figures)


def _file_lines(labelled: Sequence[Labelled]) -> Iterator[tables.Line]:
    for done in labelled:
        last = max(other.rows for other in labelled if other.way == done.way)
        rate = slope(labelled, done.way) if done.rows == last else None
        values = done.seconds, done.peak_bytes / 1e6, rate
        figures = {column.title: value for column, value in zip(FILE, values, strict=True)}
        way = f"{done.way}, {done.threads} thread{'s' * (done.threads > 1)}"
        yield tables.Line(f"{done.rows:,} rows", way, figures)


def _findings(found: Measured) -> str:
    """What is told beside the tables of the rate, the model's size and the machine's limit."""
    (scoring,) = (t for t in found.timed if t.way == OWN and t.what == "scores of all labels")
    read = found.weight_bytes / scoring.microseconds * 1e6
    return (
        f"- {slope(found.labelled):,.0f} rows a second, from the difference of the two files\n"
        f"- the bundle: {found.bundle_bytes / 1e6:,.0f} MB; a new process answers in "
        f"{found.start.seconds:.2f} s: it imports in {found.start.imports:.2f} s, reads the bundle "
        f"in {found.start.bundle:.2f} s, and answers in {found.start.answer:.2f} s\n"
        f"- memory: one thread reads {found.bandwidth / 1e9:.1f} GB a second; the scores of an "
        f"entity are made of {found.weight_bytes / 1e3:,.0f} kB of dense weights, which are read "
        f"at {read / 1e9:.1f} GB a second ({read / found.bandwidth:.0%})\n"
        f"- a third worker of the service takes {found.worker_bytes / 1e6:,.0f} MB more\n"
    )


def _quality(qualities: Sequence[Quality]) -> Iterator[str]:
    """What is given up for speed."""
    if not qualities:
        return
    yield (
        "What it costs in quality, of a model that is fitted anew on the real places: the exact "
        "model is that one with its weights as they were fitted, in half precision, none of them "
        "dropped or rounded to 8 bits, SciPy's product, and LightGBM's own prediction. (The trees "
        "have learned from rounded scores.)\n"
    )
    lines = [
        tables.Line(one.part, one.way, {"P@1": one.p_at_1, "P@5": one.p_at_5}) for one in qualities
    ]
    yield tables.markdown(("places", "way"), QUALITY, lines)
    exact = {one.part: one for one in qualities if one.way == EXACT}
    given = [
        f"{exact[one.part].p_at_1 - one.p_at_1:+.2f} of P@1 and "
        f"{exact[one.part].p_at_5 - one.p_at_5:+.2f} of P@5 on {one.part}"
        for one in qualities
        if one.way == OWN
    ]
    yield f"Given up: {', '.join(given)}.\n"


def _http_lines(lines: Sequence[Served]) -> Iterator[tables.Line]:
    own = {line.batch: line.entities for line in lines if line.way == OWN}
    for batch in BATCHES:
        for line in lines:
            if line.batch == batch:
                ratio = own[batch] / line.entities
                figures = {HTTP[0].title: line.entities, HTTP[1].title: ratio}
                yield tables.Line(f"{batch:,}", line.way, figures)


def _pace_lines(lines: Sequence[Paced]) -> Iterator[tables.Line]:
    for line in lines:
        figures = {PACE[0].title: line.half, PACE[1].title: line.most}
        yield tables.Line(f"{RATE} a second", line.way, figures)


def _taken_lines(lines: Sequence[Taken]) -> Iterator[tables.Line]:
    for line in lines:
        figures = {TAKEN[0].title: line.seconds, TAKEN[1].title: line.memory_bytes / 1e6}
        yield tables.Line("one worker", line.way, figures)


def _growth_lines(lines: Sequence[Grown]) -> Iterator[tables.Line]:
    for line in lines:
        figures = {GROWTH[0].title: line.number, GROWTH[1].title: line.microseconds}
        yield tables.Line(line.work, line.of, figures)


def _exponents(lines: Sequence[Grown]) -> Iterator[str]:
    for of in dict.fromkeys(line.of for line in lines if line.of != OF_ROWS):
        several = [line for line in lines if line.of == of]
        yield f"- {several[0].work}: grow with the {of} to the power of {exponent(several):.2f}\n"
