"""Growth of the cost of training: sizes, page and measurements."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.training_cost import Training, document, measure, plan


def test_every_size_is_planned_once_and_the_full_size_last() -> None:
    sizes = plan([50, 100, 5_000], [10, 40, 90], 563, 90)
    assert sizes == [(50, 90), (100, 90), (563, 10), (563, 40), (563, 90)]


def test_the_page_has_exponents_and_failures() -> None:
    trainings = [
        Training(100, 40, 1.0, {"linear stage": 0.5}, {"linear stage": 50_000_000}),
        Training(200, 40, 4.0, {"linear stage": 1.0}, {"linear stage": 90_000_000}),
        Training(400, 40, note="not finished in 30 minutes"),
    ]
    page = document("places", trainings, {"date": "today"})
    assert "| 400 | 40 | not finished in 30 minutes |" in page
    assert "| rows | 2 sizes | 2.00 |" in page
    assert "| labels | 1 sizes | - |" in page
    assert "| 200 | 40 | 90 |" in page


@pytest.mark.integration
def test_a_training_is_measured_by_stage(data: Path, tmp_path: Path) -> None:
    table = pq.read_table(data / "train.parquet")
    found = measure(table, data / "test.parquet", "text", 3, tmp_path / "work", 5, 1)
    assert found.note == ""
    assert found.rows == 120
    assert {"reading", "features", "linear stage", "reranker"} <= set(found.stages)
    assert sum(found.stages.values()) == pytest.approx(found.seconds, rel=0.2)
    assert all(peak > 10_000_000 for peak in found.peak_bytes.values())
