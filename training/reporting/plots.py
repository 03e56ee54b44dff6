"""Plots of a report, drawn without a display and without matplotlib's global state."""

import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
)

from labelwright.models.decisions import Predictions
from labelwright.models.labels import LabelMatrix
from labelwright.training.evaluation.intervals import CONFIDENCE, wilson
from labelwright.training.evaluation.metrics import (
    DEPTH,
    calibration_error,
    correctness,
    equal_mass_bins,
)
from labelwright.training.evaluation.slices import RARE, Counts

INK, MUTED, FAINT = "#1f2933", "#5f6b7a", "#d9dee5"
OVERALL, COMMON, RARE_COLOUR, WRONG = "#1f4e9c", "#2a9d8f", "#d9652b", "#b3324a"
"""Colours of the plots; a group of labels has the same colour in all plots."""
DOTS_PER_INCH = 110
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
}
_POINTS = 800
"""Maximum number of points of a curve, approximately."""
_LETTERS = 58
"""Maximum number of characters of a label in a plot."""

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def write_plots(
    folder: Path,
    predictions: Predictions,
    truth: LabelMatrix,
    per_label: pa.Table,
    confused: pa.Table,
) -> None:
    """Write all plots into an existing folder; raises OSError.

    `per_label` is an evaluation's table with an additional column `training_rows`. `confused` is
    the table of `mistakes.confusions`.
    """
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+", UserWarning)  # the font lacks some scripts
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        frequency = per_label["training_rows"].to_numpy()
        figures = {
            "precision_recall": precision_recall(predictions, truth, frequency),
            "reliability": reliability(predictions, truth),
            "frequency_f1": frequency_f1(per_label),
            "confusions": confusions(confused, len(truth)),
        }
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png", metadata={"Software": None})


def precision_recall(predictions: Predictions, truth: LabelMatrix, frequency: Counts) -> Figure:
    """Plot of precision against recall at all thresholds, for all, common and rare labels.

    A dot marks the precision and recall of the labels that the policy asserts. A curve ends at the
    last listed label.
    """
    _, _, correct = correctness(predictions, truth)
    rare = frequency < RARE
    parts = [
        ("all labels", OVERALL, np.ones(len(frequency), np.bool_), int(truth.foreign.sum())),
        (f"common labels ({RARE} training rows or more)", COMMON, ~rare, 0),
        (f"rare labels (fewer than {RARE})", RARE_COLOUR, rare, 0),
    ]
    figure = _figure()
    axes = figure.subplots()
    axes.grid(visible=False)
    _equal_f1(axes)
    title = "No label is asserted on these rows"
    for name, colour, wanted, unknown in parts:
        positives = int(wanted[truth.present.ids].sum()) + unknown
        pairs = wanted[predictions.ids]
        if not positives or not pairs.any():
            continue
        recall, precision = curve(predictions.probabilities[pairs], correct[pairs], positives)
        given = predictions.asserted[pairs].sum()
        right = (predictions.asserted & correct)[pairs].sum()
        width = 4.0 if colour == OVERALL else 1.6
        axes.plot(recall, precision, color=colour, lw=width, label=name)
        if given:
            point = right / positives, right / given
            axes.plot(*point, "o", ms=9, mfc=colour, mec="white", mew=1.5, zorder=5, clip_on=False)
            if colour == OVERALL:
                title = f"Asserted labels: precision {point[1]:.1%}, recall {point[0]:.1%}"
    axes.plot([], [], "o", ms=9, mfc=MUTED, mec="white", label="asserted labels")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, 0))
    axes.set_xlabel("Recall: share of true labels that are found")
    axes.set_ylabel("Precision: share of found labels that are true")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    figure.legend(loc="outside lower center", ncols=2)
    return _titled(figure, title, f"at each threshold, on {len(truth):,} test rows")


def curve(probabilities: npt.NDArray[Any], correct: Flags, positives: int) -> tuple[Values, Values]:
    """Recall and precision at each distinct threshold, highest threshold first.

    If there are more than _POINTS thresholds, about _POINTS of them are kept.
    """
    order = np.argsort(-probabilities, kind="stable")
    last = np.flatnonzero(np.append(np.diff(probabilities[order]) != 0, True))
    found = np.cumsum(correct[order])[last]
    recall, precision = found / positives, found / (last + 1)
    if len(last) > _POINTS:
        even = np.searchsorted(recall, np.linspace(recall[0], recall[-1], _POINTS))
        few = np.unique(np.append(even, len(last) - 1))
        recall, precision = recall[few], precision[few]
    return recall, precision


def reliability(predictions: Predictions, truth: LabelMatrix) -> Figure:
    """Plot of the observed frequency of labels against their probability, in bins of equal mass.

    Vertical bars show the Wilson interval (1927). The lower plot is a histogram of the
    probabilities.
    """
    _, position, correct = correctness(predictions, truth)
    stated, holds = predictions.probabilities[position < DEPTH], correct[position < DEPTH]
    bins = equal_mass_bins(stated)
    x = np.array([stated[part].mean(dtype=np.float64) for part in bins])
    y = np.array([holds[part].mean() for part in bins])
    low, high = wilson(y, np.array([len(part) for part in bins]))
    figure = _figure()
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1.3, ls=(0, (5, 4)), label="perfect")
    bounds = {"color": OVERALL, "alpha": 0.35, "lw": 4, "label": f"{CONFIDENCE:.0%} interval"}
    axes.plot(x, y, "o-", color=OVERALL, ms=7, mec="white", lw=1.4, label="this model")
    axes.vlines(x, low, high, **bounds)
    axes.set(xlim=(-0.015, 1.015), ylim=(-0.02, 1.02), ylabel="Observed frequency")
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.legend(loc="upper left")
    below.hist(stated, np.linspace(0, 1, 41), color=OVERALL, rwidth=0.9)
    below.set(xlabel="Predicted probability", ylabel="Labels")
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    below.xaxis.set_major_formatter(PercentFormatter(1, 0))
    below.yaxis.set_major_formatter(_THOUSANDS)
    below.grid(axis="x", visible=False)
    error = calibration_error(stated, holds)
    return _titled(
        figure,
        f"The mean error of the probabilities is {100 * error:.1f} percentage points",
        f"{len(bins)} bins of equal mass; the {DEPTH} most probable labels of each of "
        f"{len(truth):,} test rows",
    )


def frequency_f1(per_label: pa.Table) -> Figure:
    """Plot of the F1 of each label in the test rows against its number of training rows."""
    seen = per_label.filter(per_label["entities"].to_numpy() > 0)
    frequency = np.maximum(seen["training_rows"].to_numpy(), 1)
    f1, entities = seen["f1"].to_numpy(), seen["entities"].to_numpy()
    rare = frequency < RARE
    figure = _figure()
    axes = figure.subplots()
    axes.axvline(RARE, color=MUTED, lw=1.2, ls=(0, (5, 4)))
    for name, colour, part in (("rare", RARE_COLOUR, rare), ("common", COMMON, ~rare)):
        size = (14 + 12 * np.sqrt(entities[part])).clip(max=400)
        axes.scatter(frequency[part], f1[part], size, colour, alpha=0.45, lw=0.6, ec="white")
        axes.plot([], [], "o", color=colour, alpha=0.8, label=f"{name} labels ({part.sum():,})")
    x, y = _trend(frequency, f1)
    axes.plot(x, y, color=INK, lw=2.2, label="mean F1 of labels of similar frequency")
    axes.set(xscale="log", ylim=(-0.03, 1.03), ylabel="F1 on the test rows")
    axes.set_xlabel("Training rows with the label (log scale)")
    narrow = frequency.max(initial=1) < 1_000 * frequency.min(initial=RARE)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(_THOUSANDS)
    figure.legend(loc="outside lower center", ncols=3)
    means = [
        f"{f1[part].mean():.2f} for {name} labels"
        for name, part in (("rare", rare), ("common", ~rare))
        if part.any()
    ]
    title = f"Mean F1 is {' and '.join(means)}" if means else "No label occurs in the test rows"
    return _titled(
        figure,
        title,
        f"rare: fewer than {RARE} training rows; larger dots: more test rows",
    )


def confusions(confused: pa.Table, rows: int) -> Figure:
    """Bar plot of the most frequent pairs of confused labels, by their numbers of rows."""
    pairs = confused.to_pylist()
    figure = _figure(10.5, 1.7 + 0.47 * max(len(pairs), 2))
    axes = figure.subplots()
    title = "Most frequent confusions of labels"
    subtitle = f"wrongly asserted label, and the true label that is missed; {rows:,} test rows"
    if not pairs:
        axes.set_axis_off()
        return _titled(figure, "No label was confused with another", subtitle)
    counts = [pair["rows"] for pair in pairs]
    axes.barh(range(len(pairs)), counts, 0.62, color=WRONG)
    axes.set(
        ylim=(len(pairs) - 0.4, -0.6),
        xlim=(0, 1.1 * max(counts)),
        xlabel="Test rows with both mistakes",
    )
    axes.set_yticks([])
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(_THOUSANDS)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    for place, pair in enumerate(pairs):
        at: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        at |= {"ha": "right", "parse_math": False, "fontsize": 10}
        given, missed = (_shown(pair[kind]) for kind in ("given", "missed"))
        axes.annotate(given, (0, place), (-8, 1), va="bottom", color=WRONG, **at)
        axes.annotate(f"instead of {missed}", (0, place), (-8, -1), va="top", color=INK, **at)
        axes.annotate(
            f"{pair['rows']:,}", (pair["rows"], place), (5, 0), textcoords="offset points",
            va="center", fontsize=10,
        )  # fmt: skip
    return _titled(figure, title, subtitle)


_BANDS = 14
_LEAST_LABELS = 8
_THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")


def _figure(width: float = 8.6, height: float = 6.2) -> Figure:
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    return figure


def _titled(figure: Figure, title: str, subtitle: str) -> Figure:
    """Add a title and a subtitle in the upper left corner, above the rest of the figure."""
    height = figure.get_figheight()
    left = 0.14 / figure.get_figwidth()
    figure.text(left, 1 - 0.14 / height, title, va="top", fontsize=15, weight="bold")
    figure.text(left, 1 - 0.46 / height, subtitle, va="top", fontsize=11, color=MUTED)
    figure.set_layout_engine("constrained", rect=(left, 0.01, 1 - 2 * left, 0.99 - 0.78 / height))
    return figure


def _equal_f1(axes: Axes) -> None:
    """Draw faint lines of equal F1."""
    for f1 in (0.2, 0.4, 0.6, 0.8):
        precision = np.linspace(f1 / (2 - f1), 1, 100)
        axes.plot(f1 * precision / (2 * precision - f1), precision, color=FAINT, lw=1.2, zorder=0)
        axes.annotate(
            f"F1 {f1}", (1, f1 / (2 - f1)), (5, 0), textcoords="offset points", color=MUTED,
            va="center", fontsize=10,
        )  # fmt: skip


def _trend(frequency: Counts, f1: Values) -> tuple[Values, Values]:
    """Geometric mean frequency and mean F1 of the labels in each band of frequencies.

    The bands have equal widths on a log scale; bands with few labels are left out.
    """
    if not len(f1):
        return np.zeros(0), np.zeros(0)
    position = np.log(frequency)
    bands = min(_BANDS, 1 + len(f1) // (2 * _LEAST_LABELS))
    edges = np.linspace(position.min(), position.max(), bands + 1)[1:-1]
    band = np.searchsorted(edges, position)
    count = np.bincount(band)
    kept = count >= _LEAST_LABELS
    x = np.exp(np.bincount(band, position)[kept] / count[kept])
    return x, np.bincount(band, f1)[kept] / count[kept]


def _shown(label: str) -> str:
    """A label on one line; the middle of a long label is replaced by an ellipsis."""
    text = " ".join(label.split())
    half = _LETTERS // 2
    return text if len(text) <= _LETTERS else f"{text[:half]}…{text[-half:]}"
