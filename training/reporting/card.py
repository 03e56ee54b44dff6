"""Model card in Markdown: description, quality, weak slices, limits, and the data of a model."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.text import normalise
from labelwright.training.data import TEST_SHARE
from labelwright.training.evaluation.intervals import CONFIDENCE
from labelwright.training.evaluation.metrics import DEPTH, TOO_FEW, correctness
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
from labelwright.training.fitting.thresholds import GUARANTEE_CONFIDENCE
from labelwright.training.reporting.contents import ReportTables, TrainedModel
from labelwright.training.reporting.limits import MIN_TEST_ROWS, filled, limits, percent
from labelwright.training.reporting.markdown import code, codes, items, plain, table

MAX_LISTED = 10
"""Maximum number of rows of a table, and of items of a list."""
_POLICY = "balanced"

Lines = Iterator[str]


def model_card(trained: TrainedModel, tables: ReportTables) -> str:
    """The text of the model card.

    The card names the other files of the report without links, because MLflow's UI cannot resolve
    links.
    """
    sections = (
        ("", _summary(trained)),
        ("Quality", _quality(trained)),
        ("Precision guarantees", _guarantees(trained, tables)),
        ("Weak slices", _weak_slices(tables.slices)),
        ("Best and worst labels", _labels(tables.per_label)),
        ("Confused labels", _confusions(tables.confused)),
        ("Effect of corrections", _corrections(trained.reviewer_agreement)),
        ("Known limits", iter([items(limits(trained, tables))])),
        ("Training data", _training_data(trained)),
        ("Test data", _test_data(trained)),
    )
    blocks = [f"# Model card: {plain(trained.name)}"]
    for title, lines in sections:
        if paragraphs := list(lines):
            blocks += [f"## {title}", *paragraphs] if title else paragraphs
    return "\n\n".join(blocks) + "\n"


def _summary(trained: TrainedModel) -> Lines:
    labeler, evaluation = trained.labeler, trained.evaluation
    thresholds = labeler.decisions.policies[_POLICY]
    bounds = " to ".join(f"{100 * t:.1f}%" for t in sorted({thresholds.min(), thresholds.max()}))
    yield (
        f"This model labels entities of the schema {code(labeler.schema.name)}. A linear stage "
        f"scores all labels ({len(labeler.labels):,}). A LightGBM reranker computes calibrated "
        f"probabilities of the {labeler.decisions.candidates} labels with the highest scores. The "
        f"policy {code(_POLICY)} asserts those with a probability of at least {bounds}. The model "
        f"was trained by labelwright {plain(trained.version)} on {len(trained.train):,} rows."
    )
    yield (
        f"The most probable label is true in {evaluation.with_margin('p_at_1', 1)}% of the "
        f"{evaluation.metrics.rows:,} test rows. The micro-F1 of the asserted labels is "
        f"{evaluation.with_margin('micro_f1', 3)}."
    )
    if not evaluation.quotable:
        yield f"These test rows are {TOO_FEW}."


def _quality(trained: TrainedModel) -> Lines:
    metrics, predictions = trained.evaluation.metrics, trained.predictions
    yield table(("Metric", "Value", "Meaning"), metric_rows(trained), "lrl")
    yield "Precision and recall at each threshold: `plots/precision_recall.png`."
    _, position, correct = correctness(predictions, trained.truth)
    top = position < DEPTH
    surplus = (
        100 * float(predictions.probabilities[top].sum() - correct[top].sum()) / max(top.sum(), 1)
    )
    yield (
        f"The mean error of the probabilities is {100 * metrics.ece:.2f} percentage points "
        f"(expected calibration error of the {DEPTH} most probable labels of each row). On "
        f"average, they are {abs(surplus):.2f} points too {'high' if surplus > 0 else 'low'}."
    )
    yield "Predicted probability and observed frequency: `plots/reliability.png`."


def _guarantees(trained: TrainedModel, tables: ReportTables) -> Lines:
    """The guaranteed and the measured precision of `min_precision` and of the policy `precise`."""
    lines = tables.guarantees.to_pylist()
    if not any(line["labels"] for line in lines):
        yield "No label has enough evidence for a precision guarantee (`promises.csv`)."
        return
    yield (
        "A query with `min_precision` or the policy `precise` asserts a label only above the "
        "threshold that guarantees this precision for the label, with "
        f"{GUARANTEE_CONFIDENCE:.0%} confidence on held-out training rows. A label without enough "
        "evidence is asserted only where another label implies it. Results on the test rows, with "
        f"{CONFIDENCE:.0%} intervals:"
    )
    yield table(
        ("Guaranteed", "Labels", "Asserted", "Precision", "Recall", "Labels below"),
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
        "These figures are in `promises.csv`. The thresholds of the policy `precise` are in "
        "`per_label.csv`; they are empty for labels without enough evidence."
    )


def _interval(line: Mapping[str, Any]) -> str:
    if line["precision"] is None:
        return "nothing asserted"
    return f"{line['precision']:.1%} ({line['low']:.1%} to {line['high']:.1%})"


def metric_rows(trained: TrainedModel) -> list[tuple[str, str, str]]:
    """The metrics on the test rows, each with its name, value and meaning."""
    metrics, value = trained.evaluation.metrics, trained.evaluation.with_margin
    given, right, true = trained.tallies
    rows = max(metrics.rows, 1)
    distinct = "p_at_1_labelled" in metrics.distinct
    of_labelled = "the same, of the rows that have a label"
    labelled = ("P@1 labelled", f"{value('p_at_1_labelled', 2)}%", of_labelled)

    def margin(name: str) -> str:
        reach = trained.evaluation.margins.get(name)
        return "" if reach is None else f" ± {100 * reach:.2f}"

    return [
        ("P@1", f"{value('p_at_1', 2)}%", "rows whose most probable label is true"),
        *([labelled] if distinct else []),
        ("P@3", f"{value('p_at_3', 2)}%", "true labels among the 3 most probable"),
        ("P@5", f"{value('p_at_5', 2)}%", "true labels among the 5 most probable"),
        ("precision", percent(right, given) + margin("precision"), "asserted labels that are true"),
        ("recall", percent(right, true) + margin("recall"), "true labels that are asserted"),
        ("micro-F1", value("micro_f1", 4), "harmonic mean of precision and recall"),
        (
            "macro-F1",
            value("macro_f1", 4),
            "mean F1 of the labels that test rows have",
        ),
        ("ECE", value("ece", 4), f"expected calibration error, {DEPTH} labels of each row"),
        ("asserted", f"{given / rows:.2f}", "asserted labels per row"),
        ("true", f"{true / rows:.2f}", "true labels per row"),
    ]


def _weak_slices(slices: pa.Table) -> Lines:
    worst = weak(slices)
    overall = slices["micro_f1"][0].as_py()
    count = sum(
        part not in (ALL, RARE_LABELS, COMMON_LABELS) for part in slices["slice"].to_pylist()
    )
    if not count:
        yield f"No slice of the test rows has {MIN_SLICE_ROWS} rows or more."
    elif not len(worst):
        yield (
            f"None of the {count} slices of the test rows is worse than all rows (micro-F1 "
            f"{overall:.3f}) by more than chance explains."
        )
    if len(worst):
        yield (
            f"These slices are worse than all rows (micro-F1 {overall:.3f}) by more than chance "
            f"explains, at {CONFIDENCE:.0%} confidence (bootstrap over rows):"
        )
        yield items([describe_slice(part) for part in worst.slice(0, MAX_LISTED).to_pylist()])
    more = (
        f", {len(worst) - MAX_LISTED} more weak ones among them" if len(worst) > MAX_LISTED else ""
    )
    yield f"All slices are in `slices.csv`{more}."


def describe_slice(part: Mapping[str, Any]) -> str:
    """A sentence about a slice, which is a row of the table of `slices.weak`."""
    rare = part["slice"] == RARE_LABELS
    name = f"labels with fewer than {RARE} training rows" if rare else code(part["slice"])
    return (
        f"{name}: micro-F1 {part['micro_f1']:.3f} ({part['micro_f1_low']:.3f} to "
        f"{part['micro_f1_high']:.3f}) on {part['rows']:,} rows, {-part['difference']:.3f} lower"
    )


def _labels(per_label: pa.Table) -> Lines:
    known = per_label.filter(pc.greater_equal(per_label["entities"], MIN_TEST_ROWS))
    half = min(MAX_LISTED, (len(known) + 1) // 2)
    if not len(known):
        yield f"No label has {MIN_TEST_ROWS} test rows or more, so labels cannot be ranked."
    else:
        yield f"The best of the {len(known):,} labels with at least {MIN_TEST_ROWS} test rows:"
        yield _label_table(_ranked(known, "descending").slice(0, half))
    if worst := min(MAX_LISTED, len(known) - half):
        yield "The worst of them:"
        yield _label_table(_ranked(known, "ascending").slice(0, worst))
    yield "All labels are in `per_label.csv`; `plots/frequency_f1.png` shows them."


def _ranked(per_label: pa.Table, direction: str) -> pa.Table:
    """The labels in the order of F1; labels with equal F1 are in descending order of frequency."""
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
        yield "No test row has both a wrongly asserted label and a missed one."
    else:
        yield "Labels that are wrongly asserted on rows where a true label is missed:"
        yield table(
            ("Wrongly asserted", "Missed", "Test rows"),
            [(code(p["given"]), code(p["missed"]), f"{p['rows']:,}") for p in pairs],
            "llr",
        )
    yield (
        "`plots/confusions.png` shows more pairs. The most confident mistakes are in "
        "`mistakes.csv`; many of them are errors in the data."
    )


def _corrections(agreement: ReviewerAgreement | None) -> Lines:
    if agreement is None:
        return
    corrections = agreement.corrections
    yield (
        f"There are {corrections.corrections:,} corrections of {len(corrections.settled):,} "
        f"entities by {corrections.reviewers:,} reviewers. The reviewers disagreed on "
        f"{corrections.contested:,} pairs of an entity and a label; {corrections.undecided:,} of "
        "these are still unknown. A model agrees with a verdict if it asserts a label that is "
        "present, or does not assert a label that is absent."
    )
    before = "Champion" if agreement.champion is None else f"Version {agreement.champion}"
    yield table(
        ("Corrected entities", "Number", "Verdicts", before, "This model", "Gained", "Lost", "p"),
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
            for part in agreement.agreements
        ],
        "lrrrrrrr",
    )
    yield (
        "The columns of the models give the number of verdicts that the model agrees with. The "
        "held-out entities show the effect of the corrections on entities that the model was not "
        "trained on. `p` is the probability that chance alone splits gained and lost verdicts at "
        "least so unevenly (exact McNemar test). All verdicts, with the predictions of both "
        "models, are in `corrections.csv`."
    )


def _training_data(trained: TrainedModel) -> Lines:
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
    yield "Columns, with the share of rows that have a value:"
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


def _test_data(trained: TrainedModel) -> Lines:
    test = trained.test
    if trained.test_files:
        source = f"were read from separate files: {codes(trained.test_files)}"
    else:
        source = f"are the rows of about {TEST_SHARE:.0%} of the names, which a hash selects"
    yield f"The {len(test):,} test rows {source}. {_overlap(trained)}"
    yield f"Data fingerprint: {code(test.fingerprint)}."
    if groups := trained.test.entities.schema.open_world:
        yield (
            "In a row without a label of one of these groups, the labels of this group are unknown "
            f"and not evaluated: {codes(groups)}."
        )
    yield (
        "Any other label that a row does not have counts as absent. If the data is incomplete, the "
        "model is better than these figures show."
    )


def _overlap(trained: TrainedModel) -> str:
    """A sentence about test rows whose name also occurs in the training rows."""
    identity = trained.labeler.schema.identity
    if identity is None:
        return ""
    known, tested = (part.entities.column(identity) for part in (trained.train, trained.test))
    if known is None or tested is None:
        return (
            f"The names were not compared with the training rows: {code(identity)} was not given."
        )
    names, learned = normalise(tested), normalise(known)
    shared = pc.unique(learned.filter(pc.is_in(learned, value_set=names))).drop_null()
    count = pc.sum(pc.is_in(names.drop_null(), value_set=shared)).as_py() or 0
    if not count:
        return f"None of them has the same {code(identity)} as a training row."
    return (
        f"{count:,} of them ({count / len(names):.1%}) have the same {code(identity)} as a "
        "training row; these are easier to label."
    )


def _spread(frequency: Counts) -> str:
    low, middle, high = (int(f) for f in np.quantile(frequency, [0, 0.5, 1]))
    return f"{low:,} to {high:,}, median {middle:,}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
