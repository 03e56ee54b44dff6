"""Slices: metrics of parts of the test rows, to find where a model is weak."""

import dataclasses
import unicodedata
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.schema import Kind
from labelwright.entities.tables import Entities
from labelwright.models.decisions import Predictions
from labelwright.models.kernels.csr import SparseRows, offsets
from labelwright.models.labels import LabelMatrix
from labelwright.training.evaluation.intervals import CONFIDENCE, RESAMPLES
from labelwright.training.evaluation.metrics import Metrics, correctness, evaluate

MIN_SLICE_ROWS = 100
"""Minimum number of rows of a slice: metrics of smaller slices are not reliable."""
RARE = 100
"""A label with fewer than RARE training rows is rare."""
ALL, RARE_LABELS, COMMON_LABELS = "all", "rare labels", "common labels"
MAX_VALUES = 20
"""Maximum number of slices of a category column; there is one slice for each frequent value."""
_MAX_DISTINCT_VALUES = 300
"""A category column with more distinct values has no slices; a postcode is an example."""

Rows = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

_COLUMNS = pa.schema(
    [
        ("slice", pa.string()),
        ("rows", pa.int64()),
        *(
            (name, pa.float64())
            for name in (
                "p_at_1",
                "p_at_5",
                "micro_f1",
                "micro_f1_low",
                "micro_f1_high",
                "macro_f1",
                "ece",
                "difference",
            )
        ),
    ]
)


@dataclasses.dataclass(frozen=True)
class Slice:
    """A named part of the test rows; `rows` (bool[n]) marks the rows that belong to it."""

    name: str
    rows: Rows


def slices(entities: Entities) -> list[Slice]:
    """All slices of at least MIN_SLICE_ROWS rows, in a fixed order.

    There is a slice for each frequent value of a category column, for the rows with and the rows
    without a web address, and for each script of the name. A slice of all rows is left out.
    """
    found = [*_categories(entities), *_presence(entities), *_scripts(entities)]
    return [part for part in found if part.rows.sum() >= MIN_SLICE_ROWS and not part.rows.all()]


def metrics_by_slice(
    predictions: Predictions, truth: LabelMatrix, entities: Entities, frequency: Counts, seed: int
) -> pa.Table:
    """A table with metrics of ALL rows, of each slice, and of rare and common labels.

    `frequency` is the number of training rows of each label. `micro_f1_low` and `micro_f1_high` are
    the bounds of micro-F1 at the level CONFIDENCE, by a bootstrap over rows (Efron 1979).
    `difference` is the micro-F1 of the slice minus the micro-F1 of all rows. For RARE_LABELS and
    COMMON_LABELS, `rows` is the number of test rows that have such a label. Here only the
    F-measures have a value, and true labels outside the label set are not counted.
    """
    random = np.random.default_rng(seed)
    right, size = _f1_terms(predictions, truth)
    everything = Slice(ALL, np.ones(len(truth), np.bool_))
    lines = [
        {
            "slice": part.name,
            **_metrics(part, predictions, truth),
            **_bounds(right[part.rows], size[part.rows], random),
        }
        for part in (everything, *slices(entities))
    ]
    for name, wanted in ((RARE_LABELS, frequency < RARE), (COMMON_LABELS, frequency >= RARE)):
        if wanted.any():
            lines.append({"slice": name, **_label_metrics(wanted, predictions, truth, random)})
    for line in lines:
        line["difference"] = line["micro_f1"] - lines[0]["micro_f1"]
    return pa.Table.from_pylist(lines, _COLUMNS)


def weak(table: pa.Table) -> pa.Table:
    """The weak slices in a table of `metrics_by_slice`, lowest micro-F1 first.

    A slice is weak if it has at least MIN_SLICE_ROWS rows, and the upper bound of its micro-F1 is
    below the micro-F1 of all rows. Chance then does not explain the difference.
    """
    overall = table["micro_f1"][0].as_py()
    below = pc.and_(
        pc.less(table["micro_f1_high"], overall), pc.greater_equal(table["rows"], MIN_SLICE_ROWS)
    )
    return table.filter(below).sort_by([("micro_f1", "ascending"), ("slice", "ascending")])


def _metrics(part: Slice, predictions: Predictions, truth: LabelMatrix) -> dict[str, Any]:
    return metrics_of_rows(part.rows, predictions, truth).by_name


def metrics_of_rows(rows: Rows, predictions: Predictions, truth: LabelMatrix) -> Metrics:
    """The metrics of the rows for which `rows` (bool[n]) is true."""
    lengths = np.diff(predictions.indptr)
    kept = _restricted(predictions, np.repeat(rows, lengths), lengths[rows])
    return evaluate(kept, truth.take(np.flatnonzero(rows))).metrics


def _label_metrics(
    wanted: Rows, predictions: Predictions, truth: LabelMatrix, random: np.random.Generator
) -> dict[str, Any]:
    true = wanted[truth.present.ids]
    owners = truth.present.rows()[true]
    predicted = predictions.rows()[wanted[predictions.ids]]
    kept = _restricted(
        predictions, wanted[predictions.ids], np.bincount(predicted, minlength=len(truth))
    )
    kept_truth = dataclasses.replace(
        truth,
        present=SparseRows(
            offsets(np.bincount(owners, minlength=len(truth))), truth.present.ids[true]
        ),
        foreign=np.zeros(len(truth), np.int64),
    )
    metrics = evaluate(kept, kept_truth).metrics
    return {
        "rows": len(np.unique(owners)),
        "micro_f1": metrics.micro_f1,
        "macro_f1": metrics.macro_f1,
        **_bounds(*_f1_terms(kept, kept_truth), random),
    }


def _restricted(predictions: Predictions, pairs: Rows, lengths: Counts) -> Predictions:
    """Some of the predicted pairs; `lengths` is the number of pairs of each remaining row."""
    return dataclasses.replace(
        predictions,
        indptr=offsets(lengths),
        ids=predictions.ids[pairs],
        probabilities=predictions.probabilities[pairs],
        asserted=predictions.asserted[pairs],
    )


def _f1_terms(predictions: Predictions, truth: LabelMatrix) -> tuple[Counts, Counts]:
    """The terms of micro-F1 by row: correctly asserted labels, and asserted plus true labels."""
    rows, _, correct = correctness(predictions, truth)
    right = np.bincount(rows[predictions.asserted & correct], minlength=len(truth))
    given = np.bincount(rows[predictions.asserted], minlength=len(truth))
    return right, given + np.diff(truth.present.indptr) + truth.foreign


def _bounds(right: Counts, size: Counts, random: np.random.Generator) -> dict[str, float]:
    """Bounds of micro-F1 by bootstrap; rows with equal terms are drawn together, to be faster."""
    if not size.any():
        return {"micro_f1_low": 0.0, "micro_f1_high": 0.0}
    base = int(right.max()) + 1
    terms, counts = np.unique(size * base + right, return_counts=True)
    draws = random.multinomial(len(size), counts / len(size), RESAMPLES)
    f1 = 2 * draws @ (terms % base) / np.maximum(draws @ (terms // base), 1)
    low, high = np.quantile(f1, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {"micro_f1_low": float(low), "micro_f1_high": float(high)}


def _categories(entities: Entities) -> Iterator[Slice]:
    for column in entities.schema.columns:
        values = entities.column(column.name) if column.kind is Kind.CATEGORY else None
        if values is None:
            continue
        counts = pc.value_counts(values.drop_null()).to_pylist()
        if len(counts) > _MAX_DISTINCT_VALUES:
            continue
        frequent = sorted(counts, key=lambda count: (-count["counts"], count["values"]))
        for count in frequent[:MAX_VALUES]:
            yield Slice(
                f"{column.name}={count['values']}", _mask(pc.equal(values, count["values"]))
            )


def _presence(entities: Entities) -> Iterator[Slice]:
    for column in entities.schema.columns:
        values = entities.column(column.name) if column.kind is Kind.WEB else None
        if values is not None:
            known = _mask(pc.is_valid(values))
            yield Slice(f"with {column.name}", known)
            yield Slice(f"without {column.name}", ~known)


def _scripts(entities: Entities) -> Iterator[Slice]:
    identity = entities.schema.identity
    names = entities.column(identity) if identity else None
    if identity is None or names is None:
        return
    scripts = np.array([script(name) for name in names.to_pylist()], object)
    for found in sorted(set(scripts)):
        yield Slice(f"script of {identity}={found}", scripts == found)


def script(text: str | None) -> str:
    """Script of the first letter by its Unicode name, such as `latin`; `none` without a letter."""
    for character in text or "":
        if character.isalpha():
            return unicodedata.name(character, "unknown").split(" ", 1)[0].lower()
    return "none"


def _mask(array: pa.BooleanArray) -> Rows:
    mask: Rows = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
    return mask
