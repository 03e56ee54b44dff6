"""Slices: parts of the test rows, and their metrics."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from labelwright.entities.schema import Column, EntitySchema, Kind
from labelwright.entities.tables import Entities, from_table
from labelwright.models.decisions import Predictions
from labelwright.models.labels import LabelMatrix, LabelSet, label_matrix
from labelwright.training.evaluation.metrics import evaluate
from labelwright.training.evaluation.slices import (
    ALL,
    COMMON_LABELS,
    MIN_SLICE_ROWS,
    RARE,
    RARE_LABELS,
    Counts,
    metrics_by_slice,
    script,
    slices,
    weak,
)

NAMES = ("a", "b", "c", "d", "e", "f")
LABELS = LabelSet(NAMES)
SCHEMA = EntitySchema(
    "shops",
    (Column("name", Kind.TEXT), Column("country", Kind.CATEGORY), Column("website", Kind.WEB)),
)
FREQUENCY = np.array([RARE, RARE - 1, 1, 5_000, RARE, RARE])
"""The labels `b` and `c` are rare."""


@dataclasses.dataclass(frozen=True)
class Case:
    """Predictions that list DEPTH labels for each row, with the true labels."""

    predictions: Predictions
    truth: LabelMatrix
    entities: Entities

    def table(self, seed: int = 0, frequency: Counts = FREQUENCY) -> dict[str, dict[str, float]]:
        """The table of metrics, by slice."""
        found = metrics_by_slice(self.predictions, self.truth, self.entities, frequency, seed)
        return {line["slice"]: line for line in found.to_pylist()}


def case_of(
    true: list[list[str]], asserted: list[list[str]], columns: dict[str, list[str]]
) -> Case:
    """A case with one row for each list; asserted labels have probability 0.9, others 0.1."""
    ids, flags = [], []
    for labels in asserted:
        listed = [*labels, *(name for name in NAMES if name not in labels)][: max(5, len(labels))]
        ids += [NAMES.index(name) for name in listed]
        flags += [name in labels for name in listed]
    given = np.array(flags, np.bool_)
    predictions = Predictions(
        LABELS,
        np.cumsum([0, *(max(5, len(labels)) for labels in asserted)]),
        np.array(ids, np.int32),
        np.where(given, 0.9, 0.1).astype(np.float32),
        given,
    )
    table = pa.table(columns) if columns else pa.table({"country": pa.nulls(len(true))})
    matrix = label_matrix(pa.array(true, pa.list_(pa.string())), LABELS)
    return Case(predictions, matrix, from_table(table, SCHEMA))


@pytest.fixture(scope="module")
def two_countries() -> Case:
    """300 rows of `GB` with correct predictions, and 100 rows of `FR` with half of them correct."""
    good, half = [["a"]] * 300, [["a"], ["b"]] * 50
    return case_of(
        [["a"]] * 400, good + half, {"country": ["GB"] * 300 + ["FR"] * 100, "name": ["x"] * 400}
    )


def test_the_metrics_of_a_slice_equal_an_evaluation_of_its_rows(two_countries: Case) -> None:
    found = two_countries.table()
    assert list(found) == [ALL, "country=GB", "country=FR", RARE_LABELS, COMMON_LABELS]
    assert found["country=GB"]["rows"] == 300
    assert found["country=GB"]["micro_f1"] == 1
    assert found["country=FR"]["rows"] == 100
    assert found["country=FR"]["micro_f1"] == pytest.approx(0.5)
    assert found["country=FR"]["p_at_1"] == pytest.approx(50)
    assert found["country=FR"]["p_at_5"] == pytest.approx(20)
    assert found["country=FR"]["difference"] == pytest.approx(0.5 - 350 / 400)


def test_the_metrics_of_all_rows_equal_the_evaluation(two_countries: Case) -> None:
    expected = evaluate(two_countries.predictions, two_countries.truth).metrics
    row = two_countries.table()[ALL]
    assert row["difference"] == 0
    assert row["micro_f1_low"] <= row["micro_f1"] <= row["micro_f1_high"]
    for name in ("rows", "p_at_1", "p_at_5", "micro_f1", "macro_f1", "ece"):
        assert row[name] == getattr(expected, name)


def test_rare_and_common_labels_have_separate_metrics() -> None:
    true = [["a", "b"], ["b", "c", "no label of the model"], ["a"], ["d"]]
    asserted = [["a", "b"], ["a", "c"], ["a", "b"], []]
    found = case_of(true, asserted, {"country": ["GB"] * 4}).table()
    rare, common = found[RARE_LABELS], found[COMMON_LABELS]
    # b: 1 of 2 true labels asserted, 1 wrong assertion; c: 1 of 1 asserted
    assert rare["rows"] == 2
    assert rare["micro_f1"] == pytest.approx(2 * 2 / (3 + 3))
    assert rare["macro_f1"] == pytest.approx((2 * 1 / (2 + 2) + 1) / 2)
    # a: 2 of 2 true labels asserted, 1 wrong assertion; d: missed
    assert common["rows"] == 3
    assert common["micro_f1"] == pytest.approx(2 * 2 / (3 + 3))
    assert common["macro_f1"] == pytest.approx((2 * 2 / (3 + 2) + 0) / 2)
    assert rare["p_at_1"] is rare["ece"] is common["p_at_5"] is None


def test_there_is_no_line_for_rare_labels_without_rare_labels(two_countries: Case) -> None:
    found = two_countries.table(frequency=np.full(len(NAMES), RARE))
    assert RARE_LABELS not in found
    assert found[COMMON_LABELS]["micro_f1"] == found[ALL]["micro_f1"]


def test_weak_slices_are_found(two_countries: Case) -> None:
    table = metrics_by_slice(
        two_countries.predictions, two_countries.truth, two_countries.entities, FREQUENCY, 0
    )
    assert weak(table)["slice"].to_pylist() == ["country=FR"]


def test_a_difference_that_chance_explains_is_not_a_weakness() -> None:
    random = np.random.default_rng(7)
    right = random.random(400) < 0.6
    asserted = [["a"] if fine else ["d"] for fine in right]
    countries = ["GB", "FR"] * 200
    case = case_of([["a"]] * 400, asserted, {"country": countries})
    found = case.table()
    worse = min(found["country=GB"], found["country=FR"], key=lambda line: line["micro_f1"])
    assert worse["difference"] < 0 < worse["micro_f1_high"] - found[ALL]["micro_f1"]
    assert not len(
        weak(metrics_by_slice(case.predictions, case.truth, case.entities, FREQUENCY, 0))
    )


def test_bounds_agree_with_a_simple_bootstrap() -> None:
    random = np.random.default_rng(3)
    asserted = [["a", "d"][: random.integers(0, 3)] for _ in range(150)]
    case = case_of([["a"], ["d", "e"], []] * 50, asserted, {"country": ["GB"] * 150})
    per_row = [evaluate_row(case, row) for row in range(150)]
    right, size = np.array(per_row).T
    draws = random.integers(0, 150, (4_000, 150))
    plain = np.quantile(2 * right[draws].sum(1) / size[draws].sum(1), [0.025, 0.975])
    row = case.table()[ALL]
    assert [row["micro_f1_low"], row["micro_f1_high"]] == pytest.approx(plain, abs=0.02)
    assert row == case.table()[ALL]


def test_labels_that_the_model_does_not_know_count_as_missed() -> None:
    row = case_of([["a", "unknown"]] * 5, [["a"]] * 5, {"country": ["GB"] * 5}).table()[ALL]
    assert row["micro_f1"] == row["micro_f1_low"] == row["micro_f1_high"] == pytest.approx(2 / 3)


def evaluate_row(case: Case, row: int) -> tuple[int, int]:
    """The number of correctly asserted labels, and the sum of asserted and true labels."""
    span = slice(case.predictions.indptr[row], case.predictions.indptr[row + 1])
    given = set(case.predictions.ids[span][case.predictions.asserted[span]].tolist())
    true = set(case.truth.present.take(np.array([row])).ids.tolist())
    return len(given & true), len(given) + len(true)


def test_few_rows_have_no_slices() -> None:
    few = MIN_SLICE_ROWS - 1
    case = case_of(
        [["a"]] * few,
        [["a"]] * few,
        {"country": ["GB", *["FR"] * (few - 1)], "website": ["x.example"] * few},
    )
    assert list(case.table()) == [ALL, RARE_LABELS, COMMON_LABELS]


def test_rows_without_labels_have_metrics() -> None:
    case = case_of([[]] * 3, [[]] * 3, {"country": ["GB"] * 3})
    row = case.table()[ALL]
    assert row["micro_f1"] == row["micro_f1_low"] == row["micro_f1_high"] == 0


def test_there_are_slices_by_country_website_and_script() -> None:
    columns = {
        "country": ["GB"] * 150 + ["GR"] * 150,
        "website": ["a.example"] * 120 + [None] * 180,
        "name": ["Bakery"] * 150 + ["Φούρνος"] * 149 + [None],
    }
    found = {part.name: part.rows for part in slices(from_table(pa.table(columns), SCHEMA))}
    assert {name: int(rows.sum()) for name, rows in found.items()} == {
        "country=GB": 150,
        "country=GR": 150,
        "with website": 120,
        "without website": 180,
        "script of name=greek": 149,
        "script of name=latin": 150,
    }


def test_rows_without_names_have_no_slices_by_script() -> None:
    columns = {"country": ["GB"] * 150 + ["GR"] * 150}
    found = slices(from_table(pa.table(columns), SCHEMA))
    assert [part.name for part in found] == ["country=GB", "country=GR"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Joe's", "latin"),
        ("24 Кафе", "cyrillic"),
        ("寿司", "cjk"),
        ("7-11", "none"),
        ("", "none"),
        (None, "none"),
    ],
)
def test_the_script_of_a_text(text: str | None, expected: str) -> None:
    assert script(text) == expected
