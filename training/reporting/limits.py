"""Known limits of a model: one sentence for each limit that the model's metrics show."""

from collections.abc import Iterator

import numpy as np
import pyarrow.compute as pc

from labelwright.entities.schema import NUMERIC, Column
from labelwright.entities.tables import Entities
from labelwright.training.evaluation.slices import ALL, RARE, RARE_LABELS, weak
from labelwright.training.reporting.contents import ReportTables, TrainedModel
from labelwright.training.reporting.markdown import codes

MIN_TEST_ROWS = 20
"""Minimum number of test rows of a label: with fewer, the label's metrics are not reliable."""


def limits(trained: TrainedModel, tables: ReportTables) -> list[str]:
    """The limits as Markdown sentences, the most important first."""
    found = [
        *_decision_limits(trained),
        *_label_limits(trained, tables),
        *_column_limits(trained),
    ]
    if len(weak(tables.slices)):
        found.append("Check its assertions on the weak slices that are listed above.")
    return found


def _decision_limits(trained: TrainedModel) -> Iterator[str]:
    given, right, true = trained.tallies
    if given:
        yield (
            "Do not base a decision on a single label: "
            f"{percent(given - right, given)} of the asserted labels are not true in the data, and "
            f"{percent(true - right, true)} of the true labels are missed."
        )
    rows, predictions = len(trained.truth), trained.predictions
    if silent := rows - len(np.unique(predictions.rows()[predictions.asserted])):
        yield f"On {silent:,} test rows ({silent / rows:.1%}) it asserts no label."
    limit = trained.labeler.decisions.candidates
    per_row = np.diff(trained.truth.present.indptr) + trained.truth.foreign
    if over := int((per_row > limit).sum()):
        yield (
            f"It asserts at most {limit} labels of an entity; {over:,} test rows "
            f"({over / rows:.1%}) have more."
        )


def _label_limits(trained: TrainedModel, tables: ReportTables) -> Iterator[str]:
    labels, unknown = len(trained.labeler.labels), int(trained.truth.foreign.sum())
    outside = f" {unknown:,} of {trained.tallies[2]:,} true labels of the test rows are others."
    yield f"It knows {labels:,} labels and no others.{outside if unknown else ''}"
    if alone := int((trained.frequency == 0).sum()):
        yield (
            f"{alone:,} of these labels have no training rows: it knows them from the label book "
            "alone, and guarantees no precision for them."
        )
    if rare := int((trained.frequency < RARE).sum()):
        f1 = {line["slice"]: line["micro_f1"] for line in tables.slices.to_pylist()}
        yield (
            f"It is weak on rare labels: {rare:,} of {labels:,} have fewer than {RARE} training "
            f"rows. Their micro-F1 is {f1[RARE_LABELS]:.3f}; that of all labels is {f1[ALL]:.3f}."
        )
    entities = tables.per_label["entities"].to_numpy()
    correct = tables.per_label["correct"].to_numpy()
    if few := int((entities < MIN_TEST_ROWS).sum()):
        yield (
            f"The metrics of {few:,} labels are not reliable: they have fewer than "
            f"{MIN_TEST_ROWS} test rows, and {int((entities == 0).sum()):,} of them have none."
        )
    if never := int(((entities >= MIN_TEST_ROWS) & (correct == 0)).sum()):
        yield (
            f"{never:,} labels with at least {MIN_TEST_ROWS} test rows were never asserted "
            "correctly."
        )


def _column_limits(trained: TrainedModel) -> Iterator[str]:
    columns = trained.labeler.schema.columns
    seen = {c.name: filled(trained.train.entities, c) for c in columns}
    tested = {c.name: filled(trained.test.entities, c) for c in columns}
    if never := [name for name, share in seen.items() if not share]:
        yield f"Columns without a value in any training row have no effect: {codes(never)}."
    if unseen := [name for name, share in seen.items() if share and not tested[name]]:
        yield f"Columns without a value in any test row were not measured: {codes(unseen)}."


def filled(entities: Entities, column: Column) -> float:
    """The share of rows that have a value in a column."""
    values = entities.column(column.fields[0])
    if values is None or not len(values):
        return 0.0
    filled = pc.is_valid(values) if column.kind in NUMERIC else pc.not_equal(values, "")
    return float(pc.sum(filled).as_py() or 0) / len(values)


def percent(part: int, whole: int) -> str:
    """A share in percent, or a dash if `whole` is 0."""
    return f"{100 * part / whole:.2f}%" if whole else "-"
