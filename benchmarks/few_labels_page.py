"""The page of `benchmarks.few_labels`."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks import tables
from benchmarks.few_labels_results import METHODS, Cell, MeasuredSet, Results
from benchmarks.sets import TEXT_SETS

COLUMNS = (
    tables.Column("P@1", 1, max),
    tables.Column("from", 1),
    tables.Column("to", 1),
    tables.Column("sd", 1),
    tables.Column("P@3", 1, max),
    tables.Column("micro-F1", 3, max),
    tables.Column("calibration error %", 1, min),
    tables.Column("seconds", 1, min),
    tables.Column("drawings", 0),
)
AHEAD = " **(ahead)**"
NOTES = """\
Bold: the best figure of a column among the methods with the same rows, as printed.

- rows: labelled training rows, drawn by a hash of seed and id; a drawing is a part of each larger
  one with the same seed. The labels of the other training rows are hidden. With all rows, no row is
  left for the teacher, so the line "labelwright, encoder and unlabelled rows" is absent.
- P@1, P@3: in percent. A true label without a labelled row counts as missed.
- from, to: the 95% interval of P@1 (Wilson) for the number of test rows. It does not contain the
  luck of the drawing: sd is the standard deviation of P@1 over the drawings. Figures are means over
  the drawings. Sets with fewer than 1,000 test rows have ten drawings by default.
- (ahead): the interval of the peer lies above the interval of labelwright, with encoder if this
  line is present.
- micro-F1: labels with a margin above 0 (LinearSVC) or a probability above 0.5 (logistic
  regression), or the labels that the policy `balanced` asserts (labelwright).
- calibration error: of the five most probable labels of each row; LinearSVC has no probabilities.
- seconds: of the fit alone, in a new process. For labelwright: features, linear stage, reranker,
  calibration and decisions, with loading of compiled kernels. The vectors of the encoder come from
  the cache; the section "Sets" has the seconds to compute them.
- words + letters, LinearSVC: scikit-learn, one-vs-rest, C=1; tf-idf of words and pairs of words,
  and of 2 to 5 characters within words, with logarithmic counts.
- encoder, logistic regression: scikit-learn, one-vs-rest, C=10. It needs the encoder for each row
  that it labels; labelwright needs it only in training.
"""


def document(results: Results, facts: dict[str, str]) -> str:
    """The page in Markdown: a table of each set, and the lines in which a peer is ahead."""
    measured = [results.sets[s.name] for s in TEXT_SETS if s.name in results.sets]
    parts = [
        "# Few labels\n",
        "Written by `make bench-few-labels`. A run replaces only the cells that it measures. The "
        'section\n"Runs" lists them; the facts are those of the last run.\n',
        tables.listed(facts),
        "## Where a peer is ahead\n",
        "".join(_ahead_lines(results, measured)) or "Nowhere among the measured cells.\n",
    ]
    for data_set in measured:
        lines = list(_lines(results, data_set))
        parts += [f"## {data_set.name}\n", tables.markdown(("rows", "method"), COLUMNS, lines)]
    parts += [NOTES, "## Sets\n", "".join(_set_line(data_set) for data_set in measured)]
    absent = [s.name for s in TEXT_SETS if s.name not in results.sets]
    if absent:
        parts.append(f"Not measured yet: {', '.join(absent)}.\n")
    parts += ["## Runs\n", "".join(_runs(results))]
    return "\n".join(parts)


def ahead(results: Results, data_set: MeasuredSet, rows: int) -> Sequence[Cell]:
    """The cells of peers whose interval of P@1 lies above the interval of labelwright."""
    cells = [results.cells.get((data_set.name, rows, method.name)) for method in METHODS]
    done = [(m, c) for m, c in zip(METHODS, cells, strict=True) if c and c.trials]
    own = [cell for method, cell in done if method.own]
    if not own:
        return []
    _, high = own[-1].interval(data_set.test)
    return [c for m, c in done if not m.own and c.interval(data_set.test)[0] > high]


def _lines(results: Results, data_set: MeasuredSet) -> Iterator[tables.Line]:
    for rows in _row_counts(results, data_set):
        winners = ahead(results, data_set, rows)
        for method in METHODS:
            cell = results.cells.get((data_set.name, rows, method.name))
            if cell is not None:
                title = method.title + (AHEAD if cell in winners else "")
                yield tables.Line(
                    _rows(rows, data_set), title, _figures(cell, data_set.test), cell.note
                )


def _row_counts(results: Results, data_set: MeasuredSet) -> list[int]:
    return sorted({rows for name, rows, _ in results.cells if name == data_set.name})


def _rows(rows: int, data_set: MeasuredSet) -> str:
    return f"all {rows:,}" if rows == data_set.train else f"{rows:,}"


def _figures(cell: Cell, test_rows: int) -> dict[str, tables.Figure]:
    if not cell.trials:
        return {}
    error, several = cell.mean("ece"), len(cell.trials) > 1
    spread = float(np.std([trial.p_at_1 for trial in cell.trials], ddof=1)) if several else None
    return tables.by_title(
        COLUMNS,
        (
            *(cell.mean("p_at_1"), *cell.interval(test_rows), spread),
            *(cell.mean("p_at_3"), cell.mean("micro_f1")),
            *(None if error is None else 100 * error, cell.mean("seconds"), len(cell.trials)),
        ),
    )


def _ahead_lines(results: Results, measured: Sequence[MeasuredSet]) -> Iterator[str]:
    titles = {method.name: method.title for method in METHODS}
    for data_set in measured:
        for rows in _row_counts(results, data_set):
            for cell in ahead(results, data_set, rows):
                figure = f"P@1 {cell.mean('p_at_1'):.1f}"
                where = f"{data_set.name}, {_rows(rows, data_set)} rows"
                yield f"- {where}: {titles[cell.method]} ({figure})\n"


def _set_line(data_set: MeasuredSet) -> str:
    vectors = f"vectors of {data_set.encoder}"
    if data_set.embedded:
        vectors += f": {data_set.embedded:,} texts in {data_set.seconds:,.0f} s"
    else:
        vectors += " from the cache"
    return (
        f"- {data_set.name}: {data_set.train:,} training rows, {data_set.test:,} test rows; "
        f"{vectors}\n"
    )


def _runs(results: Results) -> Iterator[str]:
    """The measured sets and rows by date and commit."""

    def run(cell: Cell) -> tuple[str, str]:
        return cell.date, cell.commit

    for (date, commit), cells in itertools.groupby(
        sorted(results.cells.values(), key=lambda cell: (*run(cell), *cell.key)), run
    ):
        found: dict[str, set[int]] = {}
        for cell in cells:
            found.setdefault(cell.data_set, set()).add(cell.rows)
        listed = "; ".join(
            f"{name}: {', '.join(f'{n:,}' for n in sorted(rows))} rows"
            for name, rows in found.items()
        )
        yield f"- {date}, commit {commit}: {listed}\n"
