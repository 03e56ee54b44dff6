"""A model gives the same predictions in memory, from disk, over HTTP, for files and in MLflow."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import labelwright
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities, from_table
from labelwright.models.bundle.format import content_hash, read_bundle, write_bundle
from labelwright.models.decisions import LabelQuery
from labelwright.models.explain.reasons import explain
from labelwright.models.labeler import Labeler
from labelwright.models.registry import load_model
from labelwright.service.protocols.results import explained_results
from labelwright.training.data import read_labelled, split
from labelwright.training.fitting.fit import Configuration, fit_labeler
from tests.processes import Command, Service

if TYPE_CHECKING:
    from tests.conftest import World

pytest_plugins = ["tests.worlds"]

ROWS = 300
QUERY = LabelQuery()
Predictions = list[list[dict[str, Any]]]
"""The labels of each entity, as dictionaries of label, probability and asserted."""


@pytest.mark.parametrize("batch", [1, 7, 1_000])
def test_predictions_do_not_depend_on_the_batch_size(
    labeler: Labeler, brands: Entities, batch: int
) -> None:
    query = LabelQuery()
    some = brands.slice(0, 100)
    whole = labeler.label(some, query).to_arrow().to_pylist()
    parts = [
        labels
        for start in range(0, 100, batch)
        for labels in labeler.label(some.slice(start, batch), query).to_arrow().to_pylist()
    ]
    assert parts == whole


@pytest.fixture(scope="module")
def fitted(world: "World", places: EntitySchema) -> Labeler:
    """The shared model, fitted again and never written to disk."""
    data, _ = split(read_labelled([world.data], places))
    return fit_labeler(data, Configuration(threads=1))


@pytest.fixture(scope="module")
def table(world: "World") -> pa.Table:
    """Rows with every kind of value: empty, non-Latin, coordinates, phone numbers, tags."""
    rows = pq.read_table(world.data).drop_columns(["labels"]).slice(0, ROWS)
    extra = {
        "id": ["x1", "x2", "x3", "x4"],
        "name": [
            "مطعم 🍕 البيتزا",
            "",
            None,
            "\N{FULLWIDTH LATIN CAPITAL LETTER A}potheke zum Löwen",
        ],
        "alternative_names": ["Pizzeria;Trattoria", None, None, " ; "],
        "country": ["AE", "??", None, "DE"],
        "website": ["http://www.пицца.example/a?b=c", "nonsense", None, "löwen.example"],
    }
    rows = pa.concat_tables([rows, pa.table(extra)], promote_options="permissive")
    number = np.arange(len(rows))
    return (
        rows.append_column("lat", pa.array(number % 90 - 45.5))
        .append_column("lon", pa.array(number % 180 - 90.25))
        .append_column("phone", pa.array([None if n % 3 else f"+49 30 {n:06}" for n in number]))
        .append_column("tags", pa.array([{"fee": "no"} if n % 2 else None for n in number]))
    )


@pytest.fixture
def expected(fitted: Labeler, table: pa.Table, places: EntitySchema) -> Predictions:
    """Predictions of the fitted model in memory."""
    return in_memory(fitted, table, places)


def in_memory(labeler: Labeler, table: pa.Table, schema: EntitySchema) -> Predictions:
    """Predictions of a labeler as dictionaries."""
    predictions: Predictions = (
        labeler.label(from_table(table, schema), LabelQuery()).to_arrow().to_pylist()
    )
    return predictions


def agree(found: Sequence[Sequence[dict[str, Any]]], expected: Predictions) -> None:
    """Assert that labels, their order and `asserted` are equal, and probabilities within 1e-6."""
    assert len(found) == len(expected)
    names = [[label["label"] for label in labels] for labels in found]
    assert names == [[label["label"] for label in labels] for labels in expected]
    asserted = [[label["asserted"] for label in labels] for labels in found]
    assert asserted == [[label["asserted"] for label in labels] for labels in expected]
    difference = np.subtract(
        [label["probability"] for labels in found for label in labels],
        [label["probability"] for labels in expected for label in labels],
    )
    assert np.abs(difference).max() <= 1e-6


def records(table: pa.Table) -> list[dict[str, Any]]:
    """The rows as JSON objects without null fields."""
    return [{k: v for k, v in row.items() if v is not None} for row in table.to_pylist()]


def test_fitting_again_gives_the_content_hash_of_the_registered_model(
    fitted: Labeler, trained_world: "World"
) -> None:
    manifest = load_model(trained_world.uri).bundle.manifest
    assert content_hash(fitted) == manifest.content


def test_a_reloaded_bundle_agrees_with_the_model_in_memory(
    fitted: Labeler, table: pa.Table, places: EntitySchema, expected: Predictions, tmp_path: Path
) -> None:
    write_bundle(fitted, tmp_path / "bundle", "0", {})
    reloaded = read_bundle(tmp_path / "bundle").labeler
    assert in_memory(reloaded, table, places) == expected


def test_the_service_agrees_with_the_model_in_memory(
    client: httpx.Client, table: pa.Table, expected: Predictions
) -> None:
    response = client.post("/v1/labels", json={"entities": records(table)})
    results = response.json()["results"]
    assert [result["id"] for result in results] == table["id"].to_pylist()
    agree([result["labels"] for result in results], expected)


@pytest.mark.parametrize("form", ["dataframe_records", "inputs"])
def test_the_mlflow_protocol_agrees_with_the_model_in_memory(
    client: httpx.Client, table: pa.Table, expected: Predictions, form: str
) -> None:
    columns = table.to_pydict() | {"tags": records_of_tags(table)}
    rows = records(table) if form == "dataframe_records" else columns
    predictions = client.post("/invocations", json={form: rows}).json()["predictions"]
    agree([row["labels"] for row in predictions], expected)


def test_the_open_inference_protocol_agrees_with_the_model_in_memory(
    client: httpx.Client, table: pa.Table, expected: Predictions
) -> None:
    columns = table.to_pydict() | {"tags": [t and json.dumps(t) for t in records_of_tags(table)]}
    tensors = [
        {
            "name": name,
            "shape": [len(table)],
            "datatype": "FP64" if name in ("lat", "lon") else "BYTES",
            "data": values,
        }
        for name, values in columns.items()
    ]
    response = client.post("/v2/models/small/infer", json={"inputs": tensors}).json()
    rows = [json.loads(row) for row in response["outputs"][0]["data"]]
    assert [row["id"] for row in rows] == table["id"].to_pylist()
    agree([row["labels"] for row in rows], expected)


def records_of_tags(table: pa.Table) -> list[dict[str, str] | None]:
    """The tags as JSON objects."""
    return [tags if tags is None else dict(tags) for tags in table["tags"].to_pylist()]


def test_streams_agree_with_the_model_in_memory(
    service: Service, table: pa.Table, expected: Predictions
) -> None:
    stream = labelwright.Client(service.url)
    lines = list(stream.label_rows(records(table)))
    assert [line["id"] for line in lines] == table["id"].to_pylist()
    agree([line["labels"] for line in lines], expected)
    batches = stream.label(table)
    assert batches["id"].to_pylist() == table["id"].to_pylist()
    assert not batches["error"].drop_null()
    agree(batches["labels"].to_pylist(), expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_bulk_labelling_agrees_with_the_model_in_memory(
    command: Command,
    trained_world: "World",
    table: pa.Table,
    expected: Predictions,
    tmp_path: Path,
    threads: int,
) -> None:
    source, output = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pq.write_table(table, source)
    result = command("label", source, output, "--model", trained_world.uri, "--threads", threads)
    assert result.code == 0
    predictions = pq.read_table(output)
    assert predictions["id"].to_pylist() == table["id"].to_pylist()
    agree(predictions["labels"].to_pylist(), expected)


@pytest.mark.filterwarnings("ignore::UserWarning:mlflow")
def test_mlflow_pyfunc_agrees_with_the_model_in_memory(
    trained_world: "World", table: pa.Table, expected: Predictions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{trained_world.home / 'mlflow.db'}")
    load_model(trained_world.uri)  # points MLflow at this world
    model = mlflow.pyfunc.load_model(trained_world.uri)
    frame = model.predict(table.to_pandas())
    assert frame["id"].tolist() == table["id"].to_pylist()
    agree(frame["labels"].tolist(), expected)
    fewer = model.predict(table.to_pandas(), params={"top_k": 1})
    for labels, all_labels in zip(fewer["labels"], expected, strict=True):
        agree([labels], [all_labels[:1] + [each for each in all_labels[1:] if each["asserted"]]])


@pytest.mark.parametrize(
    "as_given",
    [
        pytest.param(lambda table: table, id="Arrow table"),
        pytest.param(pa.Table.to_pandas, id="pandas frame"),
        pytest.param(records, id="records"),
    ],
)
def test_the_python_api_agrees_with_the_model_in_memory(
    trained_world: "World",
    table: pa.Table,
    expected: Predictions,
    as_given: Callable[[pa.Table], pa.Table | pd.DataFrame | list[dict[str, Any]]],
) -> None:
    predictions = labelwright.load(trained_world.uri).label(as_given(table))
    assert predictions["id"].to_pylist() == table["id"].to_pylist()
    agree(predictions["labels"].to_pylist(), expected)


@pytest.mark.filterwarnings("ignore::UserWarning:mlflow")
def test_all_doors_give_the_same_primary_whatever_is_listed(
    command: Command,
    client: httpx.Client,
    service: Service,
    trained_world: "World",
    fitted: Labeler,
    table: pa.Table,
    places: EntitySchema,
    tmp_path: Path,
) -> None:
    predictions = fitted.label(from_table(table, places), LabelQuery())
    expected = predictions.columns()["primary"].to_pylist()
    kinds = ("amenity=", "shop=", "tourism=", "leisure=", "office=", "craft=", "healthcare=")
    for labels, primary in zip(predictions.to_arrow().to_pylist(), expected, strict=True):
        listed = [label for label in labels if label["label"].startswith(kinds)]
        assert not listed or primary == listed[0]
    query = {"top_k": 1, "only": ["cuisine=*"], "min_probability": 0.99}
    response = client.post("/v1/labels", json={"entities": records(table), **query}).json()
    found = {"JSON": [result["primary"] for result in response["results"]]}
    stream = labelwright.Client(service.url)
    found["JSON Lines"] = [row["primary"] for row in stream.label_rows(records(table), top_k=1)]
    found["Arrow"] = stream.label(table)["primary"].to_pylist()
    rows = client.post("/invocations", json={"dataframe_records": records(table)}).json()
    found["MLflow protocol"] = [row["primary"] for row in rows["predictions"]]
    names = {"name": "name", "shape": [len(table)], "datatype": "BYTES"}
    tensors = [{**names, "data": table["name"].to_pylist()}]
    request = {"inputs": tensors, "outputs": [{"name": "primary"}, {"name": "labels"}]}
    outputs = client.post("/v2/models/small/infer", json=request).json()["outputs"]
    named = fitted.label(from_table(table.select(["name"]), places), LabelQuery())
    same([json.loads(row) for row in outputs[0]["data"]], named.columns()["primary"].to_pylist())
    assert "primary" not in json.loads(outputs[1]["data"][0])
    found["Python"] = labelwright.load(trained_world.uri).label(table)["primary"].to_pylist()
    source, output = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pq.write_table(table, source)
    assert command("label", source, output, "--model", trained_world.uri).code == 0
    found["bulk"] = pq.read_table(output)["primary"].to_pylist()
    again = tmp_path / "again.parquet"
    options = ("--model", trained_world.uri, "--previous", output)
    assert command("label", source, again, *options).code == 0
    found["bulk, reused"] = pq.read_table(again)["primary"].to_pylist()
    monkeypatched = mlflow.pyfunc.load_model(str(trained_world.bundle.parents[1]))
    found["pyfunc"] = monkeypatched.predict(table.to_pandas())["primary"].tolist()
    for primaries in found.values():
        same(primaries, expected)


def same(found: Sequence[Any], expected: Sequence[Any]) -> None:
    """Assert that primaries are equal, and their probabilities within 1e-6."""
    for one, other in zip(found, expected, strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)
        assert {**one, "probability": 0} == {**other, "probability": 0}


def test_reasons_agree_over_http_on_the_command_line_and_in_python(
    command: Command,
    client: httpx.Client,
    trained_world: "World",
    fitted: Labeler,
    table: pa.Table,
    places: EntitySchema,
    expected: Predictions,
    tmp_path: Path,
) -> None:
    some = table.slice(len(table) - 50)
    source = tmp_path / "in.parquet"
    pq.write_table(some, source)
    in_python = explained_results(
        from_table(some, places), explain(fitted, from_table(some, places), QUERY)
    )
    response = client.post("/v1/labels", json={"entities": records(some), "explain": True}).json()
    printed = command("explain", source, "--rows", 50, "--model", trained_world.uri, "--json")
    assert printed.code == 0
    loaded = labelwright.load(trained_world.uri).explain(some)["labels"].to_pylist()
    for found in (response["results"], json.loads(printed.out.splitlines()[-1])["results"]):
        assert [result["id"] for result in found] == some["id"].to_pylist()
        agree([result["labels"] for result in found], expected[-50:])
        assert reasons_of(found) == reasons_of(in_python)
    agree(loaded, expected[-50:])
    assert [[label["log_odds"] for label in labels] for labels in loaded] == [
        [label["log_odds"] for label in result["labels"]] for result in in_python
    ]


def reasons_of(results: Sequence[Any]) -> list[Any]:
    """Log-odds and reasons of every label."""
    return [
        (label["log_odds"], label["reasons"]) for result in results for label in result["labels"]
    ]
