"""The model card: what a model is, how good it is, where it is weak, in Markdown."""

import dataclasses
import functools
import re
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from entities.schema import NUMERIC, Column
from entities.tables import Entities
from entities.text import normalise
from models.decisions import Answers
from models.labeler import Labeler
from models.labels import LabelMatrix
from training.data import TEST_SHARE, LabelledEntities
from training.fit import Configuration
from training.metrics import DEPTH, Evaluation, correctness
from training.slices import (
    ALL,
    COMMON_LABELS,
    CONFIDENCE,
    LEAST_ROWS,
    RARE,
    RARE_LABELS,
    Counts,
    weak,
)

ENOUGH = 20
"""Fewer test rows say little about a label."""
SHOWN = 10
"""So many lines a table has at most."""
_POLICY = "balanced"
_LETTERS = 80

Lines = Iterator[str]


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model that has just been trained, and all that a report about it is made of.

    The labeler was fitted on `train`; `answers` and `evaluation` are its own on `test`, asked with
    the default question. `test_files` names the files the test rows were read from, where they
    were not split off by name.
    """

    name: str
    version: str
    labeler: Labeler
    train: LabelledEntities
    test: LabelledEntities
    answers: Answers
    evaluation: Evaluation
    configuration: Configuration
    warnings: Sequence[str] = ()
    test_files: Sequence[str] = ()

    @functools.cached_property
    def truth(self) -> LabelMatrix:
        """The true labels of the test rows."""
        return self.test.matrix(self.labeler.labels)

    @functools.cached_property
    def frequency(self) -> Counts:
        """How many training rows have each label."""
        share = self.labeler.reranker.rate.astype(np.float64)
        return np.rint(share * len(self.train)).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Findings:
    """The tables beside the card: by slice, by label (with `training_rows`), confused pairs."""

    slices: pa.Table
    per_label: pa.Table
    confused: pa.Table


def model_card(subject: Subject, findings: Findings) -> str:
    """The card; its links are relative to the folder of the report."""
    sections = (
        ("", _summary(subject)),
        ("How good it is", _quality(subject)),
        ("Where it is weak", _weakness(findings.slices)),
        ("Best and worst labels", _labels(findings.per_label)),
        ("What it confuses", _confusions(findings.confused)),
        ("What it is not for, and known limits", _limits(subject, findings)),
        ("What it was trained on", _training(subject)),
        ("How it was measured", _measuring(subject)),
    )
    blocks = [f"# Model card: {_plain(subject.name)}"]
    for title, lines in sections:
        blocks += [f"## {title}"] if title else []
        blocks += lines
    return "\n\n".join(blocks) + "\n"


def _summary(subject: Subject) -> Lines:
    labeler, metrics = subject.labeler, subject.evaluation.metrics
    thresholds = labeler.decisions.policies[_POLICY]
    bounds = " to ".join(f"{100 * t:.1f}%" for t in sorted({thresholds.min(), thresholds.max()}))
    yield (
        f"This model gives labels to entities of the schema {_code(labeler.schema.name)}. A linear "
        f"stage scores its labels ({len(labeler.labels):,}); a LightGBM reranker gives the "
        f"{labeler.decisions.candidates} best of them calibrated probabilities; the policy "
        f"{_code(_POLICY)} asserts those that reach {bounds}. It was trained by labelwright "
        f"{_plain(subject.version)} on {len(subject.train):,} rows."
    )
    yield (
        f"On {metrics.rows:,} test rows the most probable label is true in {metrics.p_at_1:.1f}%. "
        f"Micro-F1 of what it asserts is {metrics.micro_f1:.3f}."
    )


def _quality(subject: Subject) -> Lines:
    metrics, answers = subject.evaluation.metrics, subject.answers
    given, right, true = _tallies(subject)
    rows = max(metrics.rows, 1)
    yield _table(
        ("Metric", "Value", "Meaning"),
        [
            ("P@1", f"{metrics.p_at_1:.2f}%", "rows whose most probable label is true"),
            ("P@3", f"{metrics.p_at_3:.2f}%", "true among the 3 most probable labels"),
            ("P@5", f"{metrics.p_at_5:.2f}%", "true among the 5 most probable labels"),
            ("precision", _share(right, given), "true among the labels asserted"),
            ("recall", _share(right, true), "asserted among the true labels"),
            ("micro-F1", f"{metrics.micro_f1:.4f}", "harmonic mean of these two, over all labels"),
            ("macro-F1", f"{metrics.macro_f1:.4f}", "mean F1 of the labels that test rows have"),
            ("ECE", f"{metrics.ece:.4f}", f"calibration error, {DEPTH} labels of each row"),
            ("asserted", f"{given / rows:.2f}", "labels asserted per row"),
            ("true", f"{true / rows:.2f}", "true labels per row"),
        ],
        "lrl",
    )
    yield "![Precision and recall](plots/precision_recall.png)"
    _, position, correct = correctness(answers, subject.truth)
    top = position < DEPTH
    surplus = 100 * float(answers.probabilities[top].sum() - correct[top].sum()) / max(top.sum(), 1)
    yield (
        f"Probabilities are off by {100 * metrics.ece:.2f} percentage points on average (expected "
        f"calibration error over the {DEPTH} most probable labels of each row); taken together "
        f"they are {abs(surplus):.2f} points too {'high' if surplus > 0 else 'low'}."
    )
    yield "![Reliability](plots/reliability.png)"


def _weakness(slices: pa.Table) -> Lines:
    table = weak(slices)
    overall = slices["micro_f1"][0].as_py()
    count = sum(
        part not in (ALL, RARE_LABELS, COMMON_LABELS) for part in slices["slice"].to_pylist()
    )
    if not count:
        yield f"No part of the test rows has {LEAST_ROWS} rows or more to be looked at by itself."
    elif not len(table):
        yield (
            f"None of {count} slices of the test rows is worse than all of them "
            f"(micro-F1 {overall:.3f}) by more than chance."
        )
    if len(table):
        yield (
            f"Worse than all rows (micro-F1 {overall:.3f}) by more than chance, at "
            f"{CONFIDENCE:.0%} confidence (bootstrap over rows):"
        )
        yield "\n".join(
            f"- {_slice(part['slice'])}: {part['micro_f1']:.3f} ({part['micro_f1_low']:.3f} to "
            f"{part['micro_f1_high']:.3f}) on {part['rows']:,} rows, "
            f"{-part['difference']:.3f} below"
            for part in table.slice(0, SHOWN).to_pylist()
        )
    more = f", {len(table) - SHOWN} more weak ones among them" if len(table) > SHOWN else ""
    yield f"All slices are in [slices.csv](slices.csv){more}."


def _labels(per_label: pa.Table) -> Lines:
    known = per_label.filter(pc.greater_equal(per_label["entities"], ENOUGH))
    half = min(SHOWN, (len(known) + 1) // 2)
    if not len(known):
        yield f"No label has {ENOUGH} test rows or more, too few to tell the best from the worst."
    else:
        yield f"Of {len(known):,} labels with at least {ENOUGH} test rows, the best:"
        yield _label_table(_ranked(known, "descending").slice(0, half))
    if worst := min(SHOWN, len(known) - half):
        yield "The worst:"
        yield _label_table(_ranked(known, "ascending").slice(0, worst))
    yield "![Frequency and F1](plots/frequency_f1.png)"
    yield "All labels are in [per_label.csv](per_label.csv)."


def _ranked(per_label: pa.Table, direction: str) -> pa.Table:
    """By F1; of equals, the label with the most test rows comes first."""
    return per_label.sort_by([("f1", direction), ("entities", "descending"), ("label", direction)])


def _label_table(per_label: pa.Table) -> str:
    return _table(
        ("Label", "Training rows", "Test rows", "Precision", "Recall", "F1"),
        [
            (
                _code(line["label"]),
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
    pairs = confused.slice(0, SHOWN).to_pylist()
    if not pairs:
        yield "On no test row is a label asserted wrongly where another is missed."
    else:
        yield "Labels asserted wrongly on rows where a true label is missed:"
        yield _table(
            ("Given", "Missed", "Test rows"),
            [(_code(p["given"]), _code(p["missed"]), f"{p['rows']:,}") for p in pairs],
            "llr",
        )
    yield "![Confusions](plots/confusions.png)"
    yield (
        "The most confident mistakes are in [mistakes.csv](mistakes.csv); errors in the data show "
        "there first."
    )


def _limits(subject: Subject, findings: Findings) -> Lines:
    limits = [
        *_decision_limits(subject),
        *_label_limits(subject, findings),
        *_column_limits(subject),
    ]
    if len(weak(findings.slices)):
        limits.append("On the weak slices named above, what it asserts needs a second look.")
    yield "\n".join(f"- {limit}" for limit in limits)


def _decision_limits(subject: Subject) -> Iterator[str]:
    given, right, true = _tallies(subject)
    if given:
        yield (
            "It is not for decisions that a single label must carry: "
            f"{_share(given - right, given)} of the labels it asserts are not true in the data, "
            f"and {_share(true - right, true)} of the true ones are missed."
        )
    rows, answers = len(subject.truth), subject.answers
    owners = np.repeat(np.arange(rows), np.diff(answers.indptr))
    if silent := rows - len(np.unique(owners[answers.asserted])):
        yield f"On {silent:,} test rows ({silent / rows:.1%}) it asserts no label."
    limit = subject.labeler.decisions.candidates
    per_row = np.diff(subject.truth.indptr) + subject.truth.foreign
    if over := int((per_row > limit).sum()):
        yield (
            f"It asserts at most {limit} labels of an entity; {over:,} test rows "
            f"({over / rows:.1%}) have more."
        )


def _label_limits(subject: Subject, findings: Findings) -> Iterator[str]:
    labels, unknown = len(subject.labeler.labels), int(subject.truth.foreign.sum())
    outside = f" {unknown:,} of {_tallies(subject)[2]:,} true labels on the test rows are others."
    yield f"It gives no labels but the {labels:,} it knows.{outside if unknown else ''}"
    if rare := int((subject.frequency < RARE).sum()):
        f1 = {line["slice"]: line["micro_f1"] for line in findings.slices.to_pylist()}
        yield (
            f"It is weak on rare labels: {rare:,} of {labels:,} have fewer than {RARE} training "
            f"rows, and micro-F1 on these is {f1[RARE_LABELS]:.3f}, against {f1[ALL]:.3f} on all."
        )
    entities = findings.per_label["entities"].to_numpy()
    correct = findings.per_label["correct"].to_numpy()
    if few := int((entities < ENOUGH).sum()):
        yield (
            f"How good {few:,} of the labels are was hardly measured: they have fewer than "
            f"{ENOUGH} test rows, {int((entities == 0).sum()):,} of them none."
        )
    if never := int(((entities >= ENOUGH) & (correct == 0)).sum()):
        yield f"{never:,} of the labels with at least {ENOUGH} test rows were never found."


def _column_limits(subject: Subject) -> Iterator[str]:
    columns = subject.labeler.schema.columns
    seen = {c.name: _filled(subject.train.entities, c) for c in columns}
    tested = {c.name: _filled(subject.test.entities, c) for c in columns}
    if never := [name for name, share in seen.items() if not share]:
        yield f"Columns never filled in training tell it nothing: {_codes(never)}."
    if unseen := [name for name, share in seen.items() if share and not tested[name]]:
        yield f"What columns are worth that no test row fills is not known: {_codes(unseen)}."


def _training(subject: Subject) -> Lines:
    frequency, train, schema = subject.frequency, subject.train, subject.labeler.schema
    yield _table(
        ("Property", "Value"),
        [
            ("Rows", f"{len(train):,}"),
            ("Labels", f"{len(frequency):,}"),
            ("Labels per row", f"{frequency.sum() / max(len(train), 1):.2f}"),
            ("Rows per label", _spread(frequency)),
            ("Data fingerprint", _code(train.fingerprint)),
            ("Schema", _code(schema.name)),
        ],
    )
    yield "Columns, and the share of rows that fill them:"
    yield _table(
        ("Column", "Kind", "Training", "Test"),
        [
            (
                _code(column.name),
                column.kind.value,
                f"{_filled(train.entities, column):.1%}",
                f"{_filled(subject.test.entities, column):.1%}",
            )
            for column in schema.columns
        ],
        "llrr",
    )
    yield "Configuration:"
    settings = dataclasses.asdict(subject.configuration)
    yield _table(("Setting", "Value"), [(_code(k), f"{v:,}") for k, v in settings.items()], "lr")
    if subject.warnings:
        yield "Warnings:"
        yield "\n".join(f"- {_plain(warning)}" for warning in subject.warnings)


def _measuring(subject: Subject) -> Lines:
    test = subject.test
    if subject.test_files:
        source = f"came from files of their own: {_codes(subject.test_files)}"
    else:
        source = f"were held out: those of about {TEST_SHARE:.0%} of all names, by a hash of them"
    yield f"The {len(test):,} test rows {source}. {_overlap(subject)}"
    yield f"Data fingerprint: {_code(test.fingerprint)}."
    yield (
        "A label that a row lacks counts as absent, so labels missing in the data make the model "
        "look worse than it is."
    )


def _overlap(subject: Subject) -> str:
    """A sentence on names that are both in training and in test."""
    identity = subject.labeler.schema.identity
    if identity is None:
        return ""
    known, asked = (part.entities.column(identity) for part in (subject.train, subject.test))
    if known is None or asked is None:
        return f"They were not told apart by {_code(identity)}, which was not given."
    names, learned = normalise(asked), normalise(known)
    shared = pc.unique(learned.filter(pc.is_in(learned, value_set=names))).drop_null()
    count = pc.sum(pc.is_in(names.drop_null(), value_set=shared)).as_py() or 0
    if not count:
        return f"None of them shares its {_code(identity)} with a training row."
    return (
        f"{count:,} of them ({count / len(names):.1%}) share their {_code(identity)} with a "
        "training row, which makes these easier."
    )


def _tallies(subject: Subject) -> tuple[int, int, int]:
    """How many labels are asserted, asserted rightly, and true, on all test rows."""
    per_label = subject.evaluation.per_label
    given, right = (int(per_label[name].to_numpy().sum()) for name in ("asserted", "correct"))
    return given, right, len(subject.truth.ids) + int(subject.truth.foreign.sum())


def _slice(name: str) -> str:
    return f"labels with fewer than {RARE} training rows" if name == RARE_LABELS else _code(name)


def _filled(entities: Entities, column: Column) -> float:
    values = entities.column(column.fields[0])
    if values is None or not len(values):
        return 0.0
    filled = pc.is_valid(values) if column.kind in NUMERIC else pc.not_equal(values, "")
    return float(pc.sum(filled).as_py() or 0) / len(values)


def _spread(frequency: Counts) -> str:
    low, middle, high = (int(f) for f in np.quantile(frequency, [0, 0.5, 1]))
    return f"{low:,} to {high:,}, median {middle:,}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f}%" if whole else "-"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str = "") -> str:
    """A table that can also be read as it stands; `align` has an `r` for each column of figures."""
    lines = [[cell.replace("|", "\\|") for cell in line] for line in (header, *rows)]
    right = [side == "r" for side in align.ljust(len(header))]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(header))]
    rule = ["-" * (w - 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)]
    lines.insert(1, rule)
    return "\n".join(
        "| "
        + " | ".join(
            cell.rjust(w) if r else cell.ljust(w)
            for cell, w, r in zip(line, widths, right, strict=True)
        )
        + " |"
        for line in lines
    )


def _codes(names: Sequence[str]) -> str:
    return ", ".join(_code(name) for name in names)


def _code(text: str) -> str:
    """A value as code: on one line, not too long, and not able to end the code."""
    line = " ".join(text.split()).replace("`", "'")
    return f"`{line if len(line) <= _LETTERS else line[: _LETTERS - 1] + '…'}`"


def _plain(text: str) -> str:
    """Words that Markdown leaves as they are."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
