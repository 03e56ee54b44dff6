"""Parts of the test rows that are looked at on their own: where is a model weak?"""

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
from labelwright.models.labels import LabelMatrix
from labelwright.training.evaluation.metrics import correctness, evaluate

MIN_SLICE_ROWS = 100
"""Smaller slices say nothing."""
RARE = 100
"""A label with fewer training rows is rare."""
ALL, RARE_LABELS, COMMON_LABELS = "all", "rare labels", "common labels"
RESAMPLES = 1_000
CONFIDENCE = 0.95
MAX_VALUES = 20
"""Of a category, the most frequent values are looked at."""
_MAX_DISTINCT_VALUES = 300
"""A category with more distinct values than this names places, not kinds of places."""

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
    """A named part of some rows: `rows` (bool[n]) says which belong to it."""

    name: str
    rows: Rows


def slices(entities: Entities) -> list[Slice]:
    """All slices of at least MIN_SLICE_ROWS rows, in a fixed order.

    By the values of categories with few of them, by whether a web address is known, and by the
    script of the name.
    """
    found = [*_categories(entities), *_presence(entities), *_scripts(entities)]
    return [part for part in found if part.rows.sum() >= MIN_SLICE_ROWS and not part.rows.all()]


def metrics_by_slice(
    predictions: Predictions, truth: LabelMatrix, entities: Entities, frequency: Counts, seed: int
) -> pa.Table:
    """Metrics of ALL rows, of each slice of them, and of rare and common labels, one in a row.

    `frequency` counts the training rows of each label. `micro_f1_low` and `micro_f1_high` bound
    micro-F1 with CONFIDENCE, by a bootstrap over rows (Efron 1979); `difference` is micro-F1 less
    that of all rows. For labels `rows` counts the rows that have one of them, and only the
    F-measures, which true labels outside the label set do not enter, have a value.
    """
    random = np.random.default_rng(seed)
    right, size = _tallies(predictions, truth)
    whole = Slice(ALL, np.ones(len(truth), np.bool_))
    lines = [
        {
            "slice": part.name,
            **_metrics(part, predictions, truth),
            **_bounds(right[part.rows], size[part.rows], random),
        }
        for part in (whole, *slices(entities))
    ]
    for name, wanted in ((RARE_LABELS, frequency < RARE), (COMMON_LABELS, frequency >= RARE)):
        if wanted.any():
            lines.append({"slice": name, **_label_metrics(wanted, predictions, truth, random)})
    for line in lines:
        line["difference"] = line["micro_f1"] - lines[0]["micro_f1"]
    return pa.Table.from_pylist(lines, _COLUMNS)


def weak(table: pa.Table) -> pa.Table:
    """The slices of `metrics_by_slice` that are worse than all rows by more than chance.

    They have at least MIN_SLICE_ROWS rows; the lowest micro-F1 comes first.
    """
    overall = table["micro_f1"][0].as_py()
    below = pc.and_(
        pc.less(table["micro_f1_high"], overall), pc.greater_equal(table["rows"], MIN_SLICE_ROWS)
    )
    return table.filter(below).sort_by([("micro_f1", "ascending"), ("slice", "ascending")])


def _metrics(part: Slice, predictions: Predictions, truth: LabelMatrix) -> dict[str, Any]:
    lengths = np.diff(predictions.indptr)
    here = _kept(predictions, np.repeat(part.rows, lengths), lengths[part.rows])
    there = truth.take(np.flatnonzero(part.rows))
    return dataclasses.asdict(evaluate(here, there).metrics)


def _label_metrics(
    wanted: Rows, predictions: Predictions, truth: LabelMatrix, random: np.random.Generator
) -> dict[str, Any]:
    owners = np.repeat(np.arange(len(truth)), np.diff(truth.indptr))[wanted[truth.ids]]
    asked = np.repeat(np.arange(len(truth)), np.diff(predictions.indptr))[wanted[predictions.ids]]
    here = _kept(predictions, wanted[predictions.ids], np.bincount(asked, minlength=len(truth)))
    there = dataclasses.replace(
        truth,
        indptr=_offsets(np.bincount(owners, minlength=len(truth))),
        ids=truth.ids[wanted[truth.ids]],
        foreign=np.zeros(len(truth), np.int64),
    )
    metrics = evaluate(here, there).metrics
    return {
        "rows": len(np.unique(owners)),
        "micro_f1": metrics.micro_f1,
        "macro_f1": metrics.macro_f1,
        **_bounds(*_tallies(here, there), random),
    }


def _kept(predictions: Predictions, pairs: Rows, lengths: Counts) -> Predictions:
    """Some of the answered pairs, where the rows that remain have so many each."""
    return dataclasses.replace(
        predictions,
        indptr=_offsets(lengths),
        ids=predictions.ids[pairs],
        probabilities=predictions.probabilities[pairs],
        asserted=predictions.asserted[pairs],
    )


def _offsets(lengths: Counts) -> Counts:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _tallies(predictions: Predictions, truth: LabelMatrix) -> tuple[Counts, Counts]:
    """By row, the parts of micro-F1: labels asserted rightly; labels asserted, and true ones."""
    rows, _, correct = correctness(predictions, truth)
    right = np.bincount(rows[predictions.asserted & correct], minlength=len(truth))
    given = np.bincount(rows[predictions.asserted], minlength=len(truth))
    return right, given + np.diff(truth.indptr) + truth.foreign


def _bounds(right: Counts, size: Counts, random: np.random.Generator) -> dict[str, float]:
    """Bounds of micro-F1. Rows with the same tallies are drawn together, so a draw is cheap."""
    if not size.any():
        return {"micro_f1_low": 0.0, "micro_f1_high": 0.0}
    base = int(right.max()) + 1
    tallies, counts = np.unique(size * base + right, return_counts=True)
    draws = random.multinomial(len(size), counts / len(size), RESAMPLES)
    f1 = 2 * draws @ (tallies % base) / np.maximum(draws @ (tallies // base), 1)
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
    """The script of the first letter, as Unicode names it: `latin`, `cyrillic`, `cjk`, ..."""
    for character in text or "":
        if character.isalpha():
            return unicodedata.name(character, "unknown").split(" ", 1)[0].lower()
    return "none"


def _mask(array: pa.BooleanArray) -> Rows:
    mask: Rows = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
    return mask
