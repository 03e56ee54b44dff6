"""The model card: what a model is, how good it is, where it is weak, in Markdown."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.text import normalise
from labelwright.training.data import TEST_SHARE
from labelwright.training.evaluation.intervals import CONFIDENCE
from labelwright.training.evaluation.metrics import DEPTH, correctness
from labelwright.training.evaluation.reviewer_agreement import ReviewerAgreement
from labelwright.training.evaluation.slices import (
    ALL,
    COMMON_LABELS,
    MIN_SLICE_ROWS,
    RARE,
    RARE_LABELS,
    Counts,
    weak,
)
from labelwright.training.reporting.contents import ReportTables, TrainedModel
from labelwright.training.reporting.limits import MIN_TEST_ROWS, filled, limits, percent
from labelwright.training.reporting.markdown import code, codes, items, plain, table

MAX_LISTED = 10
"""So many lines a table has at most."""
_POLICY = "balanced"

Lines = Iterator[str]


def model_card(trained: TrainedModel, tables: ReportTables) -> str:
    """The card. It names the files beside it without links, because MLflow's UI resolves none."""
    sections = (
        ("", _summary(trained)),
        ("How good it is", _quality(trained)),
        ("What it promises", _promises(trained, tables)),
        ("Where it is weak", _weakness(tables.slices)),
        ("Best and worst labels", _labels(tables.per_label)),
        ("What it confuses", _confusions(tables.confused)),
        *(
            [("What corrections changed", _corrections(trained.reviewed))]
            if trained.reviewed
            else []
        ),
        ("What it is not for, and known limits", iter([items(limits(trained, tables))])),
        ("What it was trained on", _training(trained)),
        ("How it was measured", _measuring(trained)),
    )
    blocks = [f"# Model card: {plain(trained.name)}"]
    for title, lines in sections:
        blocks += [f"## {title}"] if title else []
        blocks += lines
    return "\n\n".join(blocks) + "\n"


def _summary(trained: TrainedModel) -> Lines:
    labeler, metrics = trained.labeler, trained.evaluation.metrics
    thresholds = labeler.decisions.policies[_POLICY]
    bounds = " to ".join(f"{100 * t:.1f}%" for t in sorted({thresholds.min(), thresholds.max()}))
    yield (
        f"This model gives labels to entities of the schema {code(labeler.schema.name)}. A linear "
        f"stage scores its labels ({len(labeler.labels):,}); a LightGBM reranker gives the "
        f"{labeler.decisions.candidates} best of them calibrated probabilities; the policy "
        f"{code(_POLICY)} asserts those that reach {bounds}. It was trained by labelwright "
        f"{plain(trained.version)} on {len(trained.train):,} rows."
    )
    yield (
        f"On {metrics.rows:,} test rows the most probable label is true in {metrics.p_at_1:.1f}%. "
        f"Micro-F1 of what it asserts is {metrics.micro_f1:.3f}."
    )


def _quality(trained: TrainedModel) -> Lines:
    metrics, predictions = trained.evaluation.metrics, trained.predictions
    yield table(("Metric", "Value", "Meaning"), metric_rows(trained), "lrl")
    yield "Precision against recall: `plots/precision_recall.png`."
    _, position, correct = correctness(predictions, trained.truth)
    top = position < DEPTH
    surplus = (
        100 * float(predictions.probabilities[top].sum() - correct[top].sum()) / max(top.sum(), 1)
    )
    yield (
        f"Probabilities are off by {100 * metrics.ece:.2f} percentage points on average (expected "
        f"calibration error over the {DEPTH} most probable labels of each row); taken together "
        f"they are {abs(surplus):.2f} points too {'high' if surplus > 0 else 'low'}."
    )
    yield "Stated against true: `plots/reliability.png`."


def _promises(trained: TrainedModel, tables: ReportTables) -> Lines:
    """What `min_precision` and the policy `precise` promised, and what came of it."""
    lines = tables.promises.to_pylist()
    if not any(line["labels"] for line in lines):
        yield "No label has the evidence for a promise of precision (`promises.csv`)."
        return
    yield (
        "Asked for a least precision, it asserts a label only above the threshold that keeps the "
        "promise for this label, with 95% confidence on held-out training rows; a label without "
        "the evidence is never asserted. On the test rows (with 95% intervals):"
    )
    yield table(
        ("Promised", "Labels", "Asserted", "Precision", "Recall", "Labels that fall short"),
        [
            (
                f"{line['promise']:.0%}",
                f"{line['labels']:,} of {len(trained.labeler.labels):,}",
                f"{line['asserted']:,}",
                _interval(line),
                f"{line['recall']:.1%}",
                f"{line['broken']:,}",
            )
            for line in lines
        ],
        "rrrlrr",
    )
    yield (
        "These figures are in `promises.csv`; the threshold of each label at 95% (`precise`) is in "
        "`per_label.csv`, empty for never."
    )


def _interval(line: Mapping[str, Any]) -> str:
    if line["precision"] is None:
        return "nothing asserted"
    return f"{line['precision']:.1%} ({line['low']:.1%} to {line['high']:.1%})"


def metric_rows(trained: TrainedModel) -> list[tuple[str, str, str]]:
    """What was measured on the test rows: name, value, and meaning."""
    metrics = trained.evaluation.metrics
    given, right, true = trained.tallies
    rows = max(metrics.rows, 1)
    return [
        ("P@1", f"{metrics.p_at_1:.2f}%", "rows whose most probable label is true"),
        ("P@3", f"{metrics.p_at_3:.2f}%", "true among the 3 most probable labels"),
        ("P@5", f"{metrics.p_at_5:.2f}%", "true among the 5 most probable labels"),
        ("precision", percent(right, given), "true among the labels asserted"),
        ("recall", percent(right, true), "asserted among the true labels"),
        ("micro-F1", f"{metrics.micro_f1:.4f}", "harmonic mean of these two, over all labels"),
        ("macro-F1", f"{metrics.macro_f1:.4f}", "mean F1 of the labels that test rows have"),
        ("ECE", f"{metrics.ece:.4f}", f"calibration error, {DEPTH} labels of each row"),
        ("asserted", f"{given / rows:.2f}", "labels asserted per row"),
        ("true", f"{true / rows:.2f}", "true labels per row"),
    ]


def _weakness(slices: pa.Table) -> Lines:
    worst = weak(slices)
    overall = slices["micro_f1"][0].as_py()
    count = sum(
        part not in (ALL, RARE_LABELS, COMMON_LABELS) for part in slices["slice"].to_pylist()
    )
    if not count:
        yield f"No slice of the test rows has {MIN_SLICE_ROWS} rows or more."
    elif not len(worst):
        yield (
            f"None of {count} slices of the test rows is worse than all of them "
            f"(micro-F1 {overall:.3f}) by more than chance."
        )
    if len(worst):
        yield (
            f"Worse than all rows (micro-F1 {overall:.3f}) by more than chance, at "
            f"{CONFIDENCE:.0%} confidence (bootstrap over rows):"
        )
        yield items([describe_slice(part) for part in worst.slice(0, MAX_LISTED).to_pylist()])
    more = (
        f", {len(worst) - MAX_LISTED} more weak ones among them" if len(worst) > MAX_LISTED else ""
    )
    yield f"All slices are in `slices.csv`{more}."


def describe_slice(part: Mapping[str, Any]) -> str:
    """A row of `slices.weak` in words."""
    rare = part["slice"] == RARE_LABELS
    name = f"labels with fewer than {RARE} training rows" if rare else code(part["slice"])
    return (
        f"{name}: {part['micro_f1']:.3f} ({part['micro_f1_low']:.3f} to "
        f"{part['micro_f1_high']:.3f}) on {part['rows']:,} rows, {-part['difference']:.3f} below"
    )


def _labels(per_label: pa.Table) -> Lines:
    known = per_label.filter(pc.greater_equal(per_label["entities"], MIN_TEST_ROWS))
    half = min(MAX_LISTED, (len(known) + 1) // 2)
    if not len(known):
        yield f"No label has {MIN_TEST_ROWS} test rows or more, so labels cannot be ranked."
    else:
        yield f"Of {len(known):,} labels with at least {MIN_TEST_ROWS} test rows, the best:"
        yield _label_table(_ranked(known, "descending").slice(0, half))
    if worst := min(MAX_LISTED, len(known) - half):
        yield "The worst:"
        yield _label_table(_ranked(known, "ascending").slice(0, worst))
    yield "All labels are in `per_label.csv`, and drawn in `plots/frequency_f1.png`."


def _ranked(per_label: pa.Table, direction: str) -> pa.Table:
    """By F1; of equals, the label with the most test rows comes first."""
    return per_label.sort_by([("f1", direction), ("entities", "descending"), ("label", direction)])


def _label_table(per_label: pa.Table) -> str:
    return table(
        ("Label", "Training rows", "Test rows", "Precision", "Recall", "F1"),
        [
            (
                code(line["label"]),
                f"{line['training_rows']:,}",
                f"{line['entities']:,}",
                _figure(line["precision"]),
                _figure(line["recall"]),
                _figure(line["f1"]),
            )
            for line in per_label.to_pylist()
        ],
        "lrrrrr",
    )


def _confusions(confused: pa.Table) -> Lines:
    pairs = confused.slice(0, MAX_LISTED).to_pylist()
    if not pairs:
        yield "On no test row is a label asserted wrongly where another is missed."
    else:
        yield "Labels asserted wrongly on rows where a true label is missed:"
        yield table(
            ("Given", "Missed", "Test rows"),
            [(code(p["given"]), code(p["missed"]), f"{p['rows']:,}") for p in pairs],
            "llr",
        )
    yield (
        "More pairs are drawn in `plots/confusions.png`. The most confident mistakes are in "
        "`mistakes.csv`; errors in the data show there first."
    )


def _corrections(reviewed: ReviewerAgreement) -> Lines:
    corrections = reviewed.corrections
    yield (
        f"Corrections: {corrections.corrections:,} by {corrections.reviewers:,} reviewers, of "
        f"{len(corrections.settled):,} entities. Reviewers disagreed on {corrections.contested:,} "
        f"pairs of an entity and a label; {corrections.undecided:,} of these stay unknown. A model "
        "agrees with a verdict if it asserts a label that is present, or does not assert a label "
        "that is absent."
    )
    before = "before" if reviewed.champion is None else f"version {reviewed.champion}"
    yield table(
        ("Corrected entities", "Count", "Verdicts", f"Agreed: {before}", "now", "Won", "Lost", "p"),
        [
            (
                part.part,
                f"{part.entities:,}",
                f"{part.verdicts:,}",
                "-" if part.before is None else f"{part.before:,}",
                f"{part.after:,}",
                f"{part.gained:,}",
                f"{part.lost:,}",
                f"{part.p_value:.3f}" if part.p_value >= 0.001 else "< 0.001",
            )
            for part in reviewed.agreements
        ],
        "lrrrrrrr",
    )
    yield (
        "Those held out were not learned from: they tell what corrections do for other entities. "
        "`p` is how likely chance alone splits won and lost so unevenly (McNemar's exact test). "
        "Every verdict is in `corrections.csv`, with what both models say."
    )


def _training(trained: TrainedModel) -> Lines:
    frequency, train, schema = trained.frequency, trained.train, trained.labeler.schema
    yield table(
        ("Property", "Value"),
        [
            ("Rows", f"{len(train):,}"),
            ("Labels", f"{len(frequency):,}"),
            ("Labels per row", f"{frequency.sum() / max(len(train), 1):.2f}"),
            ("Rows per label", _spread(frequency)),
            ("Data fingerprint", code(train.fingerprint)),
            ("Schema", code(schema.name)),
        ],
    )
    yield "Columns, and the share of rows that fill them:"
    yield table(
        ("Column", "Kind", "Training", "Test"),
        [
            (
                code(column.name),
                column.kind.value,
                f"{filled(train.entities, column):.1%}",
                f"{filled(trained.test.entities, column):.1%}",
            )
            for column in schema.columns
        ],
        "llrr",
    )
    yield "Configuration:"
    settings = dataclasses.asdict(trained.configuration)
    yield table(("Setting", "Value"), [(code(k), f"{v:,}") for k, v in settings.items()], "lr")
    if trained.warnings:
        yield "Warnings:"
        yield items([plain(warning) for warning in trained.warnings])


def _measuring(trained: TrainedModel) -> Lines:
    test = trained.test
    if trained.test_files:
        source = f"came from files of their own: {codes(trained.test_files)}"
    else:
        source = f"were held out: those of about {TEST_SHARE:.0%} of all names, by a hash of them"
    yield f"The {len(test):,} test rows {source}. {_overlap(trained)}"
    yield f"Data fingerprint: {code(test.fingerprint)}."
    if groups := trained.test.entities.schema.open_world:
        yield f"Where a row has no label of these groups, they are not judged: {codes(groups)}."
    yield (
        "Any other label that a row lacks counts as absent, so labels missing in the data make the "
        "model look worse than it is."
    )


def _overlap(trained: TrainedModel) -> str:
    """A sentence on names that are both in training and in test."""
    identity = trained.labeler.schema.identity
    if identity is None:
        return ""
    known, asked = (part.entities.column(identity) for part in (trained.train, trained.test))
    if known is None or asked is None:
        return f"They were not told apart by {code(identity)}, which was not given."
    names, learned = normalise(asked), normalise(known)
    shared = pc.unique(learned.filter(pc.is_in(learned, value_set=names))).drop_null()
    count = pc.sum(pc.is_in(names.drop_null(), value_set=shared)).as_py() or 0
    if not count:
        return f"None of them shares its {code(identity)} with a training row."
    return (
        f"{count:,} of them ({count / len(names):.1%}) share their {code(identity)} with a "
        "training row, which makes these easier."
    )


def _spread(frequency: Counts) -> str:
    low, middle, high = (int(f) for f in np.quantile(frequency, [0, 0.5, 1]))
    return f"{low:,} to {high:,}, median {middle:,}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
