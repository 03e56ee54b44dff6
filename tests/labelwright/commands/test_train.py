"""`labelwright train` with real files and a real registry: versions and promotion."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

import labelwright
from labelwright.models.paths import tracking_uri
from labelwright.models.registry import load_model
from tests.labelwright.commands.files import ROWS, write_csv, write_jsonl
from tests.labelwright.commands.summaries import last_line, registered, train
from tests.processes import Command

pytest_plugins = ["tests.worlds"]


@pytest.mark.usefixtures("empty_world")
def test_csv_json_lines_and_a_parquet_folder_give_the_same_model(
    command: Command, rows: pa.Table, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    (folder / "deeper").mkdir(parents=True)
    pq.write_table(rows.slice(0, 100), folder / "a.parquet")
    pq.write_table(rows.slice(100), folder / "deeper" / "b.parquet")
    sources = (
        folder,
        write_csv(rows, tmp_path / "rows.csv"),
        write_jsonl(rows, tmp_path / "rows.jsonl"),
    )
    contents = {
        load_model(
            train(command, "--data", source, "--name", "same")["model_uri"]
        ).bundle.manifest.content
        for source in sources
    }
    assert len(contents) == 1


@pytest.mark.usefixtures("empty_world")
def test_train_prints_the_outcome_as_json(command: Command, data: Path) -> None:
    summary = train(command, "--data", data)
    assert {"run_id", "model_uri", "promoted", "seconds"} <= set(summary)
    assert summary["promoted"] is True
    assert 0 < summary["seconds"] < 60
    assert summary["model_uri"] == "models:/places/1"
    run = MlflowClient(tracking_uri(), tracking_uri()).get_run(summary["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["seed"] == "0"
    assert run.data.metrics["p_at_1"] == pytest.approx(summary["metrics"]["p_at_1"])
    model = load_model(summary["model_uri"])
    assert (model.name, model.version, model.run_id) == ("places", "1", summary["run_id"])


@pytest.mark.usefixtures("empty_world")
def test_the_same_seed_gives_the_same_content_for_any_number_of_threads(
    command: Command, data: Path
) -> None:
    def content(seed: int, threads: int) -> str:
        arguments = ("--data", data, "--seed", seed, "--threads", threads)
        return load_model(train(command, *arguments)["model_uri"]).bundle.manifest.content

    found = content(seed=7, threads=1)
    assert found == content(seed=7, threads=2)
    assert found != content(seed=8, threads=2)


@pytest.mark.usefixtures("empty_world")
def test_an_equal_version_is_promoted_and_a_worse_one_refused_with_figures(
    command: Command, rows: pa.Table, data: Path, tmp_path: Path
) -> None:
    nonsense = tmp_path / "nonsense.parquet"
    others = pa.concat_arrays([rows["labels"].combine_chunks()[ROWS // 2 :]] * 2)[:ROWS]
    at = rows.column_names.index("labels")
    pq.write_table(rows.set_column(at, "labels", others), nonsense)
    figures = r"nDCG@5 [+-]\d+\.\d\d points .* [+-]\d+\.\d\d with 95% confidence, on \d+ cross-"

    assert train(command, "--data", data)["promoted"] is True
    equal = train(command, "--data", data)
    assert equal["promoted"] is True
    assert re.search(figures, equal["reason"])

    worse = command("train", "--threads", 1, "--data", nonsense, "--test", data, "--json")
    assert worse.code == 0
    assert last_line(worse.out)["promoted"] is False
    assert re.search(figures, last_line(worse.out)["reason"])
    assert re.search(rf"champion not promoted: .*{figures}", worse.out)
    assert registered() == {"places": {"champion": "2"}}
    assert load_model("models:/places/3").version == "3"


@pytest.mark.usefixtures("empty_world")
def test_no_promote_registers_a_version_and_keeps_the_alias(command: Command, data: Path) -> None:
    summary = train(command, "--data", data, "--no-promote")
    assert summary["promoted"] is False
    assert registered() == {"places": {}}
    assert load_model(summary["model_uri"]).version == "1"
    completed = command("serve")
    assert completed.code == 4
    assert "no model has a champion" in completed.err


@pytest.mark.usefixtures("empty_world")
def test_min_count_leaves_out_labels_with_fewer_rows(
    command: Command, rows: pa.Table, data: Path
) -> None:
    summary = train(command, "--data", data, "--test", data, "--min-count", 5)
    counts: dict[str, int] = {}
    for labels in rows["labels"].to_pylist():
        for label in set(labels):
            counts[label] = counts.get(label, 0) + 1
    frequent = {label for label, count in counts.items() if count >= 5}
    assert frequent < set(counts)
    assert set(labelwright.load(summary["model_uri"]).labels) == frequent


@pytest.mark.usefixtures("empty_world")
def test_a_custom_schema_gives_the_model_its_name_and_columns(
    command: Command, rows: pa.Table, tmp_path: Path
) -> None:
    schema = tmp_path / "shops.toml"
    schema.write_text(
        'name = "shops"\n[columns.sign]\nkind = "text"\n[columns.land]\nkind = "category"\n'
    )
    own = rows.select(["name", "country", "labels"]).rename_columns(["sign", "land", "labels"])
    source = tmp_path / "own.parquet"
    pq.write_table(own, source)
    summary = train(command, "--data", source, "--schema", schema)
    assert summary["model_uri"] == "models:/shops/1"
    model = labelwright.load(summary["model_uri"])
    assert model.schema.fields == ("sign", "land")
    (result,) = model.label([{"sign": "Pizzeria Napoli", "land": "IT"}]).to_pylist()
    assert len(result["labels"]) >= 5
