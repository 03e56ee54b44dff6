"""What a user of scikit-learn would write labels every row, the best label first."""

from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.pipeline import LISTED, Pipeline
from labelwright.models.labeler import Labeler
from tests.conftest import BRANDS


def test_a_file_is_labelled_row_by_row(labeler: Labeler, tmp_path: Path) -> None:
    source, target = tmp_path / "made.parquet", tmp_path / "labelled.parquet"
    pq.write_table(pq.read_table(BRANDS).slice(0, 5_000), source)
    Pipeline(labeler).label_file(source, target)
    found, given = pq.read_table(target), pq.read_table(source)
    assert found["id"].to_pylist() == given["id"].to_pylist()
    for labels in found["labels"].to_pylist():
        scores = [label["score"] for label in labels]
        assert scores == sorted(scores, reverse=True)
        assert len({label["label"] for label in labels}) == LISTED
