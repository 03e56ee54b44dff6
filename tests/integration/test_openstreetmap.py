"""Tests with real OpenStreetMap extracts: import, training, evaluation on another town, labels."""

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.processes import environment, spawn

EXTRACTS = Path(os.environ.get("LABELWRIGHT_DATA", "../shared/data")).resolve() / "osm/extracts"
PATIENCE = 900.0

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not EXTRACTS.exists(), reason=f"no real extracts at {EXTRACTS}: set LABELWRIGHT_DATA"
    ),
]


def test_a_model_of_some_towns_labels_another_town(tmp_path: Path) -> None:
    home = environment(tmp_path / "home")
    files = {town: tmp_path / f"{town}.parquet" for town in ("malta", "porto", "monaco")}
    for town, file in files.items():
        result = spawn("import", "osm", EXTRACTS / f"{town}.osm.pbf", file, environment=home)
        assert result.code == 0, result.err
    data = ("--data", files["malta"], files["porto"], "--min-count", "5", "--name", "osm")
    trained = spawn("train", *data, "--json", environment=home, timeout=PATIENCE)
    assert trained.code == 0, trained.err
    warnings = [line for line in trained.err.splitlines() if "warning" in line]
    assert all("have several labels of the exclusive group" in line for line in warnings)
    assert json.loads(trained.out.splitlines()[-1])["metrics"]["p_at_1"] > 35

    model = ("--model", "models:/osm@champion")
    monaco = ("--data", files["monaco"], "--json")
    judged = spawn("evaluate", *model, *monaco, environment=home, timeout=PATIENCE)
    assert json.loads(judged.out.splitlines()[-1])["p_at_1"] > 20

    labelled = tmp_path / "labelled.parquet"
    result = spawn("label", files["monaco"], labelled, *model, environment=home, timeout=PATIENCE)
    assert result.code == 0, result.err
    predictions = pq.read_table(labelled).to_pylist()
    assert [row["id"] for row in predictions] == pq.read_table(files["monaco"])["id"].to_pylist()
    takeaways = [row["id"] for row in predictions if _asserted(row["labels"], "takeaway=yes")]
    food = [row["id"] for row in predictions if _asserted(row["labels"], "amenity=restaurant")]
    assert len(takeaways) < len(predictions) / 3  # a bank, for example, offers no takeaway
    assert food


def _asserted(labels: list[dict[str, object]], name: str) -> bool:
    return any(label["label"] == name and label["asserted"] for label in labels)
