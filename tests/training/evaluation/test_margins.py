"""Margins of metrics on few rows, compared with binomial intervals."""

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats

from labelwright.entities.schema import load_schema
from labelwright.entities.tables import Entities, from_table
from labelwright.models.decisions import Predictions
from labelwright.models.labels import LabelMatrix, LabelSet, label_matrix
from labelwright.training.evaluation.intervals import FEW_TEST_ROWS
from labelwright.training.evaluation.margins import evaluate_with_margins
from labelwright.training.evaluation.metrics import TOO_FEW, Evaluation

LABELS = LabelSet(("a", "b", "c", "d", "e", "f"))


def entities(names: list[str]) -> Entities:
    return from_table(pa.table({"id": names, "text": names}), load_schema("text"))


def answers(right: list[bool]) -> tuple[Predictions, LabelMatrix]:
    """Predictions that list all labels, `a` first; rows that are right have the label `a`."""
    count = len(right)
    truth = pa.array([["a"] if good else ["f"] for good in right])
    ids = np.tile(np.arange(6, dtype=np.int32), count)
    probabilities = np.tile(np.linspace(0.9, 0.1, 6).astype(np.float32), count)
    indptr = 6 * np.arange(count + 1)
    predictions = Predictions(LABELS, indptr, ids, probabilities, ids == 0)
    return predictions, label_matrix(truth, LABELS)


def evaluation(right: list[bool], names: list[str] | None = None) -> Evaluation:
    names = names or [f"name {row}" for row in range(len(right))]
    return evaluate_with_margins(*answers(right), entities(names))


@pytest.mark.parametrize(("rows", "share"), [(50, 0.3), (300, 0.5), (2_000, 0.05)])
def test_the_margin_of_a_share_agrees_with_the_binomial(rows: int, share: float) -> None:
    right = (np.random.default_rng(1).permutation(rows) < share * rows).tolist()
    found = evaluation(right)
    interval = scipy.stats.binomtest(sum(right), rows).proportion_ci(0.95, "wilson")
    assert found.margins["p_at_1"] == pytest.approx(50 * (interval.high - interval.low), rel=0.35)
    assert found.quotable == (found.margins["p_at_1"] <= 10)


@pytest.mark.parametrize("rows", [2, 10, 40])
def test_a_share_of_nothing_or_all_is_uncertain_on_few_rows(rows: int) -> None:
    for right in ([True] * rows, [False] * rows):
        margin = evaluation(right).margins["p_at_1"]
        assert 60 / rows < margin <= 100


def test_rows_of_one_name_are_one_observation() -> None:
    right = [row % 3 == 0 for row in range(30)]
    names = [f"name {row}" for row in range(30)]
    alone = evaluation(right, names).margins["p_at_1"]
    copied = evaluation([*right] * 10, [*names] * 10).margins["p_at_1"]
    assert copied == pytest.approx(alone, rel=0.2)
    assert evaluation([True, False], ["one", "one"]).margins["p_at_1"] == 100


def test_many_rows_have_no_margins() -> None:
    found = evaluation([True] * FEW_TEST_ROWS)
    assert not found.margins
    assert found.quotable
    assert found.with_margin("p_at_1", 1) == "100.0"


def test_figures_are_printed_with_their_margin() -> None:
    found = evaluation([True, False] * 10)
    assert found.with_margin("p_at_1", 1) == f"50.0 ± {found.margins['p_at_1']:.1f}"
    assert not found.quotable
    assert "quoting" in TOO_FEW
