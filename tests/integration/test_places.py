"""Tests with all real places: training, evaluation on an unseen state, bulk labelling."""

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.processes import environment, spawn

PLACES = Path(os.environ.get("LABELWRIGHT_DATA", "../shared/data")).resolve() / "places"

PATIENCE = 1_500.0

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not PLACES.exists(), reason=f"no real places at {PLACES}: set LABELWRIGHT_DATA"
    ),
]


def test_a_model_of_all_places_labels_an_unseen_state(tmp_path: Path) -> None:
    home = environment(tmp_path / "home")
    data = ("--data", PLACES / "train.parquet", "--test", PLACES / "test.parquet")
    trained = spawn(
        "train", *data, "--name", "places", "--json", environment=home, timeout=PATIENCE
    )
    assert trained.code == 0, trained.err
    outcome = json.loads(trained.out.splitlines()[-1])
    assert outcome["promoted"]
    assert outcome["metrics"]["p_at_1"] > 79.0
    assert outcome["metrics"]["p_at_5"] > 55.0
    assert outcome["metrics"]["ece"] < 0.01

    model = ("--model", "models:/places@champion")
    maine = PLACES / "maine.parquet"
    abroad = spawn(
        "evaluate", *model, "--data", maine, "--json", environment=home, timeout=PATIENCE
    )
    metrics = json.loads(abroad.out.splitlines()[-1])
    assert metrics["p_at_1"] > 80.8
    assert metrics["micro_f1"] > 0.655
    assert metrics["ece"] < 0.03

    labelled = tmp_path / "maine.parquet"
    assert spawn("label", maine, labelled, *model, environment=home, timeout=PATIENCE).code == 0
    ids = pq.read_table(labelled, columns=["id"])["id"]
    assert ids.to_pylist() == pq.read_table(maine, columns=["id"])["id"].to_pylist()
