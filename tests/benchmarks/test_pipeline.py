"""The scikit-learn pipeline: it labels every row of a file."""

from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.pipeline import TOP_K, Pipeline
from labelwright.models.labeler import Labeler
from tests.conftest import BRANDS


def test_a_file_is_labelled_row_by_row(labeler: Labeler, tmp_path: Path) -> None:
    input_, output = tmp_path / "made.parquet", tmp_path / "labelled.parquet"
    pq.write_table(pq.read_table(BRANDS).slice(0, 5_000), input_)
    Pipeline(labeler).label_file(input_, output)
    found, given = pq.read_table(output), pq.read_table(input_)
    assert found["id"].to_pylist() == given["id"].to_pylist()
    for labels in found["labels"].to_pylist():
        scores = [label["score"] for label in labels]
        assert scores == sorted(scores, reverse=True)
        assert len({label["label"] for label in labels}) == TOP_K
