"""The Python API: `labelwright.load`, `labelwright.train` and the names of the package."""

import importlib.metadata
import math
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import labelwright
from labelwright.entities.errors import DataError, RequestError
from labelwright.models.explain.reasons import REASON

if TYPE_CHECKING:
    from tests.conftest import World

pytest_plugins = ["tests.worlds"]

PIZZA = {"id": "a", "name": "Joe's Pizza", "country": "US"}
BAD = {"id": "bad", "name": "Bar", "lat": 200, "lon": 4}


def test_explain_returns_reasons_whose_weights_sum_to_the_log_odds(trained_world: "World") -> None:
    table = labelwright.load(trained_world.uri).explain([PIZZA, BAD], top_k=2)
    assert table["id"].to_pylist() == ["a", "bad"]
    assert table.schema.field("labels").type.value_type.field("reasons").type == pa.list_(REASON)
    labels, nothing = table["labels"].to_pylist()
    assert nothing is None
    for label in labels:
        weights = [reason["weight"] for reason in label["reasons"]]
        assert math.fsum(weights) == pytest.approx(label["log_odds"], abs=1e-3)


def test_explain_lists_a_requested_label_even_if_it_is_improbable(trained_world: "World") -> None:
    model = labelwright.load(trained_world.uri)
    for name in model.labels[::40]:
        (labels,) = model.explain([PIZZA], name)["labels"].to_pylist()
        assert [label["label"] for label in labels] == [name]
    with pytest.raises(RequestError):
        model.explain([PIZZA], "no such label")
    with pytest.raises(RequestError):
        model.explain([PIZZA], policy="reckless")


def test_train_returns_the_registered_version_and_its_metrics(
    empty_world: Path, world: "World", tmp_path: Path
) -> None:
    data = tmp_path / "titled.parquet"
    rows = pq.read_table(world.data).slice(0, 300)
    pq.write_table(rows.rename_columns({"name": "title"}), data)
    result = labelwright.train(
        data, name="titled", columns={"name": "title"}, seed=7, threads=1, promote=False
    )
    assert (result.model_uri, result.version, result.promoted) == ("models:/titled/1", "1", False)
    assert "--no-promote" in result.reason
    assert 0 < result.metrics["micro_f1"] <= 1
    assert 0 < result.seconds < 60
    model = labelwright.load(result.model_uri)
    assert model.model.run_id == result.run_id
    assert model.label([PIZZA])["id"].to_pylist() == ["a"]


def test_train_refuses_unknown_columns(world: "World") -> None:
    with pytest.raises(DataError, match="titel"):
        labelwright.train(world.data, columns={"titel": "title"})


def test_importing_labelwright_imports_no_large_library() -> None:
    script = (
        "import sys; import labelwright; print(labelwright.__version__); "
        "print({'numpy', 'pyarrow', 'mlflow', 'numba'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [importlib.metadata.version("labelwright"), "set()"]


def test_every_public_name_can_be_imported() -> None:
    assert all(getattr(labelwright, name) for name in labelwright.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = labelwright.nothing
