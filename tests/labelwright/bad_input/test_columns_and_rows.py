"""Invalid columns give a clear error, and invalid rows are rejected."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pandas as pd
import pyarrow as pa
import pytest

import labelwright
from labelwright.entities.errors import DataError
from tests.labelwright.bad_input.files import parquet, text
from tests.labelwright.bad_input.outcomes import (
    CANARY,
    label_over_http,
    labelled,
    measured,
    refused,
    warnings,
)
from tests.processes import Command, environment, spawn

pytest_plugins = ["tests.worlds"]


def jsonl(path: Path, records: Iterable[Any]) -> Path:
    """Records as JSON Lines."""
    return text(path, b"".join(orjson.dumps(record) + b"\n" for record in records))


@pytest.mark.usefixtures("empty_world")
def test_a_column_of_the_wrong_type_is_named(
    command: Command, bundle: Path, tmp_path: Path
) -> None:
    source = parquet(tmp_path / "in.parquet", {"name": [1, 2], "labels": [["a"], ["b"]]})
    refused(command("train", "--data", source), 3, "column 'name' holds int64; its kind is text")
    completed = command("label", source, tmp_path / "out.csv", "--model", bundle)
    refused(completed, 3, "column 'name' holds int64; its kind is text")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.usefixtures("empty_world")
def test_labels_of_the_wrong_type_are_named(command: Command, tmp_path: Path) -> None:
    source = parquet(tmp_path / "in.parquet", {"name": ["a", "b"], "labels": ["x|y", "z"]})
    refused(command("train", "--data", source), 3, "'labels' holds string; it must be lists")


def test_a_value_of_the_wrong_type_rejects_only_its_row(
    command: Command, bundle: Path, tmp_path: Path
) -> None:
    source = jsonl(
        tmp_path / "in.jsonl",
        [
            {"name": "Pizzeria"},
            {"name": 5},
            ["no", "object"],
            {"name": "Bar", "lat": "x", "lon": 1},
        ],
    )
    predictions, rejects = labelled(command, source, bundle)
    assert [result["labels"] is None for result in predictions] == [False, True, True, True]
    assert [reject["reason"] for reject in rejects] == [
        "name: must be text or a list of texts",
        "an entity must be an object",
        "lat: must be a number",
    ]


def test_over_http_a_value_of_the_wrong_type_rejects_only_its_entity(
    client: httpx.Client,
) -> None:
    results = label_over_http(client, {"name": "Pizzeria"}, {"name": 5}, 7, {"tags": {"a": ["b"]}})
    assert [list(result) for result in results] == [
        ["id", "labels", "primary"],
        ["id", "error"],
        ["id", "error"],
        ["id", "error"],
    ]


def test_over_http_a_latitude_without_longitude_rejects_only_its_entity(
    client: httpx.Client,
) -> None:
    good, bad = label_over_http(client, {"name": "Pizzeria"}, {"name": "Bar", "lat": 52.0})
    assert "labels" in good
    assert bad["error"] == {"detail": "lat and lon must be given together"}


def test_in_python_a_frame_may_mix_values_and_bad_values_reject_only_their_rows(
    bundle: Path,
) -> None:
    frame = pd.DataFrame({"name": ["Pizzeria", 5, "Bar"], "postcode": ["a", 75001, 7.0]})
    labels = labelwright.load(str(bundle)).label(frame)["labels"]
    assert [given is None for given in labels.to_pylist()] == [False, True, False]


@pytest.mark.parametrize(
    "given",
    [5, "Pizzeria", {"name": "Pizzeria"}, object()],
    ids=["number", "text", "dictionary", "object"],
)
def test_in_python_data_that_is_not_a_table_is_a_data_error(bundle: Path, given: object) -> None:
    with pytest.raises(DataError, match="entities must be"):
        labelwright.load(str(bundle)).label(given)


@pytest.mark.usefixtures("empty_world")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("in.csv", "Empty CSV file"),
        ("in.parquet", "size is 0 bytes"),
        ("in.jsonl", "no row to learn from"),
    ],
)
def test_an_empty_file_is_refused(command: Command, tmp_path: Path, name: str, reason: str) -> None:
    refused(command("train", "--data", text(tmp_path / name, "")), 3, reason)


def test_labelling_a_file_without_rows_writes_an_output_without_rows(
    command: Command, bundle: Path, tmp_path: Path
) -> None:
    source = text(tmp_path / "in.csv", "name,country\n")
    assert labelled(command, source, bundle) == ([], [])


def test_over_http_an_empty_body_and_no_entities_are_refused(client: httpx.Client) -> None:
    assert client.post("/v1/labels", content=b"").status_code == 400
    assert client.post("/v1/labels", json={"entities": []}).status_code == 422


@pytest.mark.usefixtures("empty_world")
@pytest.mark.parametrize("name", ["in.csv", "in.parquet", "in.jsonl"])
def test_a_file_without_labels_is_refused(command: Command, tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    if source.suffix == ".parquet":
        parquet(source, {"name": ["a", "b"]})
    else:
        text(source, "name\na\nb\n" if source.suffix == ".csv" else '{"name": "a"}\n')
    refused(command("train", "--data", source), 3, "has no 'labels' column to learn from")


@pytest.mark.parametrize(
    ("content", "reason"),
    [("name\na\nb\n", "has no 'labels' column"), ('name,labels\na,"b\nc,d\n', "is not closed")],
)
def test_a_process_that_refuses_csv_ends_with_the_exit_code_of_bad_data(
    tmp_path: Path, content: str, reason: str
) -> None:
    source = text(tmp_path / "in.csv", content)
    completed = spawn("train", "--data", source, environment=environment(tmp_path))
    refused(completed, 3, reason)


def test_the_first_labels_of_a_file_may_come_after_thousands_of_rows(
    command: Command, bundle: Path, tmp_path: Path
) -> None:
    unlabelled = [{"name": f"unlabelled {number}"} for number in range(16_500)]
    with_labels = [
        {"name": f"labelled {number}", "labels": ["a", "b"][: number % 2 + 1]}
        for number in range(40)
    ]
    source = jsonl(tmp_path / "in.jsonl", [*unlabelled, *with_labels])
    completed = measured(command, bundle, source)
    assert warnings(completed) == ["16,500 rows left out: their labels are null"]


def test_a_file_without_rows_before_or_after_another_file_gives_no_warning(
    command: Command, rows: pa.Table, bundle: Path, tmp_path: Path
) -> None:
    full = parquet(tmp_path / "full.parquet", rows)
    empty = text(tmp_path / "empty.csv", "name,labels\n")
    for sources in ([empty, full], [full, empty]):
        assert warnings(measured(command, bundle, *sources)) == []


@pytest.mark.usefixtures("empty_world")
def test_rows_without_any_label_are_refused(command: Command, tmp_path: Path) -> None:
    names = [f"place {number}" for number in range(40)]
    empty = pa.array([[]] * 40, pa.list_(pa.string()))
    null = pa.array([None] * 40, pa.list_(pa.string()))
    sources = {
        parquet(tmp_path / "empty.parquet", {"name": names, "labels": empty}): "no label",
        parquet(tmp_path / "null.parquet", {"name": names, "labels": null}): "no row to learn",
        text(
            tmp_path / "empty.csv", "name,labels\n" + "".join(f"{n},\n" for n in names)
        ): "all cells of column 'labels' of .* are empty, which means not labelled",
        text(
            tmp_path / "none.csv", "name,labels\n" + "".join(f"{n},[]\n" for n in names)
        ): "no label",
    }
    for source, reason in sources.items():
        refused(command("train", "--data", source), 3, reason)


@pytest.mark.usefixtures("empty_world")
def test_two_columns_of_labels_are_refused(command: Command, tmp_path: Path) -> None:
    source = text(tmp_path / "in.csv", "name,labels,labels\na,x,y\n")
    refused(command("train", "--data", source), 3, "column 'labels' occurs more than once")


def test_repeated_ids_give_a_warning(
    command: Command, rows: pa.Table, bundle: Path, tmp_path: Path
) -> None:
    source = parquet(tmp_path / "in.parquet", pa.concat_tables([rows, rows.slice(0, 7)]))
    completed = measured(command, bundle, source)
    assert warnings(completed) == ["7 rows repeat the id of another row"]


def test_two_files_without_ids_give_no_warning_about_repeated_ids(
    command: Command, rows: pa.Table, bundle: Path, tmp_path: Path
) -> None:
    nameless = rows.drop_columns(["id"])
    sources = [
        parquet(tmp_path / "a.parquet", nameless.slice(0, 50)),
        parquet(tmp_path / "b.parquet", nameless.slice(50)),
    ]
    assert warnings(measured(command, bundle, *sources)) == []


@pytest.mark.usefixtures("empty_world")
def test_latitude_200_is_left_out_of_training_and_rejected_in_labelling(
    command: Command, client: httpx.Client, rows: pa.Table, bundle: Path, tmp_path: Path
) -> None:
    lat = pa.array([200.0] + [52.0] * 99)
    table = rows.append_column("lat", lat).append_column("lon", pa.array([4.0] * 100))
    source = parquet(tmp_path / "in.parquet", table)
    reason = "lat: must lie between -90 and 90"
    completed = command("train", "--threads", 1, "--data", source)
    assert completed.code == 0
    assert warnings(completed) == [f"1 rows left out: {reason}"]
    predictions, rejects = labelled(command, source, bundle)
    assert [row for row, result in enumerate(predictions) if result["labels"] is None] == [0]
    assert rejects == [{"row": 0, "id": rows["id"][0].as_py(), "reason": reason}]
    bad, good = label_over_http(client, {"lat": 200, "lon": 4}, {"lat": 52, "lon": 4})
    assert bad["error"] == {"detail": reason}
    assert good["labels"]


def test_a_name_of_a_million_characters_rejects_only_its_row(
    command: Command, client: httpx.Client, rows: pa.Table, bundle: Path, tmp_path: Path
) -> None:
    names = [CANARY * 80_000, *rows["name"].to_pylist()[1:]]
    table = rows.set_column(rows.column_names.index("name"), "name", [names])
    source = parquet(tmp_path / "in.parquet", table)
    completed = measured(command, bundle, source)
    reason = "name: longer than 10,000 bytes"
    assert warnings(completed) == [f"1 rows left out: {reason}"]
    predictions, rejects = labelled(command, source, bundle)
    assert [row for row, result in enumerate(predictions) if result["labels"] is None] == [0]
    assert [reject["reason"] for reject in rejects] == [reason]
    bad, good = label_over_http(
        client, {"id": "bad", "name": names[0]}, {"id": "good", "name": "Bar"}
    )
    assert bad == {"id": "bad", "error": {"detail": reason}}
    assert good["labels"]
