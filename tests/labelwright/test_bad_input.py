"""What users get wrong, and what breaks under them: a clear word, an exit code, and no damage."""

import dataclasses
import json
import re
import resource
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

import labelwright
from entities.errors import DataError
from models.home import tracking_uri
from tests.processes import HOST, Command, FirstVisit, Said, environment, free_port, spawn

if TYPE_CHECKING:
    from tests.conftest import World

pytest_plugins = ["tests.worlds"]

CANARY = "Kanarienvogel"


@pytest.fixture(scope="module")
def rows(world: "World") -> pa.Table:
    """A hundred brands with their labels."""
    return pq.read_table(world.data).slice(0, 100)


@pytest.fixture(scope="module")
def bundle(world: "World") -> Path:
    """The bundle folder of the shared world's model."""
    (manifest,) = world.home.glob("artifacts/**/bundle/manifest.json")
    return manifest.parent


def parquet(path: Path, table: pa.Table | dict[str, Any]) -> Path:
    """A table as a Parquet file."""
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path)
    return path


def text(path: Path, content: str | bytes) -> Path:
    """A file with that content."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def jsonl(path: Path, records: Iterable[Any]) -> Path:
    """Records as JSON Lines."""
    return text(path, b"".join(orjson.dumps(record) + b"\n" for record in records))


def broken_text(*values: bytes) -> pa.Array:
    """A string array that holds any bytes: Arrow trusts what a file says."""
    return pa.Array.from_buffers(pa.string(), len(values), pa.array(values, pa.binary()).buffers())


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def labelled(
    command: Command, source: Path, bundle: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The answers for a file, and its rejects."""
    output = source.with_name("answers.jsonl")
    said = command("label", source, output, "--model", bundle)
    assert said.code == 0, said.err
    rejects = source.with_name("answers.jsonl.rejects.jsonl")
    return lines(output), lines(rejects) if rejects.exists() else []


def measured(command: Command, bundle: Path, *sources: Path) -> Said:
    """What `evaluate` says of labelled files; it reads them as `train` does, and is quicker."""
    said = command("evaluate", "--data", *sources, "--model", bundle)
    assert said.code == 0, said.err
    return said


def refused(said: Said, code: int, pattern: str) -> None:
    """One line that says what is wrong, and the exit code of its kind."""
    assert said.code == code, said.err
    assert re.fullmatch(f"labelwright: .*{pattern}.*\n", said.err), said.err
    assert said.out == ""


def warnings(said: Said) -> list[str]:
    """What a command warns of."""
    return re.findall("^labelwright: warning: (.*)$", said.err, re.MULTILINE)


def nothing_is_registered() -> bool:
    """Whether the registry has no version of any model."""
    client = MlflowClient(tracking_uri(), tracking_uri())
    return not client.search_model_versions() and not client.search_registered_models()


def ask(client: httpx.Client, *entities: object, **more: object) -> list[dict[str, Any]]:
    """The results for some entities over HTTP."""
    response = client.post("/v1/labels", json={"entities": entities, **more})
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    return results


# columns and rows


@pytest.mark.usefixtures("empty_world")
def test_a_column_of_the_wrong_type_is_named(
    command: Command, bundle: Path, tmp_path: Path
) -> None:
    source = parquet(tmp_path / "in.parquet", {"name": [1, 2], "labels": [["a"], ["b"]]})
    refused(command("train", "--data", source), 3, "column 'name' holds int64; its kind is text")
    said = command("label", source, tmp_path / "out.csv", "--model", bundle)
    refused(said, 3, "column 'name' holds int64; its kind is text")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.usefixtures("empty_world")
def test_labels_of_the_wrong_type_are_named(command: Command, tmp_path: Path) -> None:
    source = parquet(tmp_path / "in.parquet", {"name": ["a", "b"], "labels": ["x|y", "z"]})
    refused(command("train", "--data", source), 3, "'labels' holds string; it must be lists")


def test_a_value_of_the_wrong_type_costs_its_own_row_alone(
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
    answers, rejects = labelled(command, source, bundle)
    assert [answer["labels"] is None for answer in answers] == [False, True, True, True]
    assert [reject["reason"] for reject in rejects] == [
        "name: must be text or a list of texts",
        "an entity must be an object",
        "lat: must be a number",
    ]


def test_over_http_a_value_of_the_wrong_type_costs_its_own_entity_alone(
    client: httpx.Client,
) -> None:
    results = ask(client, {"name": "Pizzeria"}, {"name": 5}, 7, {"tags": {"a": ["b"]}})
    assert [list(result) for result in results] == [
        ["id", "labels"],
        ["id", "error"],
        ["id", "error"],
        ["id", "error"],
    ]


def test_over_http_a_latitude_without_longitude_costs_its_own_entity_alone(
    client: httpx.Client,
) -> None:
    good, bad = ask(client, {"name": "Pizzeria"}, {"name": "Bar", "lat": 52.0})
    assert "labels" in good
    assert bad["error"] == {"detail": "lat and lon must be given together"}


def test_in_python_a_frame_of_mixed_values_is_a_data_error(bundle: Path) -> None:
    frame = pd.DataFrame({"name": ["Pizzeria", 5]})
    with pytest.raises(DataError, match="name"):
        labelwright.load(str(bundle)).label(frame)


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


def test_a_file_without_rows_gives_a_file_without_rows(
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


def test_labels_may_begin_late_in_a_file(command: Command, bundle: Path, tmp_path: Path) -> None:
    silent = [{"name": f"silent {number}"} for number in range(16_500)]
    loud = [
        {"name": f"loud {number}", "labels": ["a", "b"][: number % 2 + 1]} for number in range(40)
    ]
    source = jsonl(tmp_path / "in.jsonl", [*silent, *loud])
    said = measured(command, bundle, source)
    assert warnings(said) == ["16,500 rows left out: their labels are null"]


def test_a_file_without_rows_adds_none_wherever_it_stands(
    command: Command, rows: pa.Table, bundle: Path, tmp_path: Path
) -> None:
    full = parquet(tmp_path / "full.parquet", rows)
    empty = text(tmp_path / "empty.csv", "name,labels\n")
    for sources in ([empty, full], [full, empty]):
        assert warnings(measured(command, bundle, *sources)) == []


@pytest.mark.usefixtures("empty_world")
def test_labels_that_are_all_empty_teach_nothing(command: Command, tmp_path: Path) -> None:
    names = [f"place {number}" for number in range(40)]
    empty = pa.array([[]] * 40, pa.list_(pa.string()))
    null = pa.array([None] * 40, pa.list_(pa.string()))
    sources = {
        parquet(tmp_path / "empty.parquet", {"name": names, "labels": empty}): "no label",
        parquet(tmp_path / "null.parquet", {"name": names, "labels": null}): "no row to learn",
        text(
            tmp_path / "empty.csv", "name,labels\n" + "".join(f"{n},\n" for n in names)
        ): "no label",
    }
    for source, reason in sources.items():
        refused(command("train", "--data", source), 3, reason)


@pytest.mark.usefixtures("empty_world")
def test_two_columns_of_labels_are_refused(command: Command, tmp_path: Path) -> None:
    source = text(tmp_path / "in.csv", "name,labels,labels\na,x,y\n")
    refused(command("train", "--data", source), 3, "column 'labels' occurs more than once")


def test_repeated_ids_are_warned_of(
    command: Command, rows: pa.Table, bundle: Path, tmp_path: Path
) -> None:
    source = parquet(tmp_path / "in.parquet", pa.concat_tables([rows, rows.slice(0, 7)]))
    said = measured(command, bundle, source)
    assert warnings(said) == ["7 rows repeat the id of another row"]


def test_two_files_without_ids_repeat_none(
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
    said = command("train", "--threads", 1, "--data", source)
    assert said.code == 0
    assert warnings(said) == [f"1 rows left out: {reason}"]
    answers, rejects = labelled(command, source, bundle)
    assert [row for row, answer in enumerate(answers) if answer["labels"] is None] == [0]
    assert rejects == [{"row": 0, "id": rows["id"][0].as_py(), "reason": reason}]
    bad, good = ask(client, {"lat": 200, "lon": 4}, {"lat": 52, "lon": 4})
    assert bad["error"] == {"detail": reason}
    assert good["labels"]


def test_a_name_of_a_million_characters_costs_its_own_row_alone(
    command: Command, client: httpx.Client, rows: pa.Table, bundle: Path, tmp_path: Path
) -> None:
    names = [CANARY * 80_000, *rows["name"].to_pylist()[1:]]
    table = rows.set_column(rows.column_names.index("name"), "name", [names])
    source = parquet(tmp_path / "in.parquet", table)
    said = measured(command, bundle, source)
    reason = "name: longer than 10,000 bytes"
    assert warnings(said) == [f"1 rows left out: {reason}"]
    answers, rejects = labelled(command, source, bundle)
    assert [row for row, answer in enumerate(answers) if answer["labels"] is None] == [0]
    assert [reject["reason"] for reject in rejects] == [reason]
    bad, good = ask(client, {"id": "bad", "name": names[0]}, {"id": "good", "name": "Bar"})
    assert bad == {"id": "bad", "error": {"detail": reason}}
    assert good["labels"]


# characters


@pytest.mark.usefixtures("empty_world")
def test_emoji_and_right_to_left_text_are_text(
    command: Command, client: httpx.Client, tmp_path: Path
) -> None:
    names = [
        f"🍕 مطعم البيتزا {number}" if number % 2 else f"👩‍🚀 חנות {number}" for number in range(40)
    ]
    labels = [["🍕=طعام"] if number % 2 else ["חנות=כן"] for number in range(40)]
    data = {"id": [f"🆔{number}" for number in range(40)], "name": names, "labels": labels}
    source = parquet(tmp_path / "in.parquet", data)
    assert command("train", "--threads", 1, "--data", source, "--name", "שלום").code == 0
    output = tmp_path / "out.csv"
    said = command("label", source, output, "--model", "models:/שלום@champion", "--top-k", 1)
    assert said.code == 0
    first, second = output.read_text("utf-8").splitlines()[1:3]
    assert first.startswith('"🆔0"')
    assert "חנות=כן" in first
    assert "🍕=طعام" in second
    (answer,) = ask(client, {"id": "🆔", "name": names[1]})
    assert answer["id"] == "🆔"
    assert answer["labels"]


def test_nul_bytes_are_characters_like_others(
    command: Command, client: httpx.Client, bundle: Path, tmp_path: Path
) -> None:
    source = text(tmp_path / "in.csv", "id,name\na\0b,Pizze\0ria\nc,\0\n")
    answers, rejects = labelled(command, source, bundle)
    assert [answer["id"] for answer in answers] == ["a\0b", "c"]
    assert all(answer["labels"] for answer in answers)
    assert not rejects
    over_http = ask(client, {"id": "a\0b", "name": "Pizze\0ria"})
    assert over_http[0]["id"] == "a\0b"
    assert [label["label"] for label in over_http[0]["labels"]] == [
        label["label"] for label in answers[0]["labels"]
    ]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("in.csv", b"name\nPizz\xff\n", "invalid UTF8 data"),
        ("in.jsonl", b'{"name": "Pizz\xff"}\n', "row 0 is not valid"),
    ],
)
def test_a_text_file_that_is_not_utf_8_is_refused(
    command: Command, bundle: Path, tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    source = text(tmp_path / name, content)
    said = command("label", source, tmp_path / "out.csv", "--model", bundle)
    refused(said, 3, reason)
    assert not (tmp_path / "out.csv").exists()


def test_a_parquet_value_that_is_not_utf_8_costs_its_own_row_alone(
    command: Command, bundle: Path, tmp_path: Path
) -> None:
    table = {"name": broken_text(b"Pizzeria", b"Pizz\xff")}
    answers, rejects = labelled(command, parquet(tmp_path / "in.parquet", table), bundle)
    assert [answer["labels"] is None for answer in answers] == [False, True]
    assert [reject["reason"] for reject in rejects] == ["name: not valid UTF-8"]


def test_a_parquet_id_that_is_not_utf_8_costs_its_own_row_alone(
    command: Command, bundle: Path, tmp_path: Path
) -> None:
    table = {"id": broken_text(b"a", b"b\xff"), "name": ["Pizzeria", "Bar"]}
    answers, rejects = labelled(command, parquet(tmp_path / "in.parquet", table), bundle)
    assert [answer["labels"] is None for answer in answers] == [False, True]
    assert [reject["reason"] for reject in rejects] == ["id: not valid UTF-8"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"entities": [{"name": "Pizz\xff"}]}',
        b'{"entities": [{"name": "Pizz\\ud800"}]}',
        b'{"entities": [{"name": "Pizz\0"}]}',
    ],
    ids=["bytes", "lone surrogate", "bare control character"],
)
def test_over_http_a_body_that_is_not_utf_8_json_is_refused(
    client: httpx.Client, body: bytes
) -> None:
    response = client.post("/v1/labels", content=body)
    assert response.status_code == 400
    assert response.json()["detail"] == "the body is not valid JSON"


def test_a_ragged_csv_is_refused_without_repeating_its_content(
    command: Command, bundle: Path, tmp_path: Path
) -> None:
    source = text(tmp_path / "in.csv", f"name,country\nBar,DE\nCafé,{CANARY},DE\n")
    said = command("label", source, tmp_path / "out.csv", "--model", bundle)
    refused(said, 3, "in.csv cannot be read")
    assert CANARY not in said.err


# too little to learn from


@pytest.mark.usefixtures("empty_world")
def test_too_few_rows_are_refused(command: Command, rows: pa.Table, tmp_path: Path) -> None:
    source = parquet(tmp_path / "in.parquet", rows.slice(0, 8))
    refused(
        command("train", "--data", source), 3, r"\d rows are too few to learn from; it takes 10"
    )


@pytest.mark.usefixtures("empty_world")
def test_one_single_label_can_be_learned(command: Command, rows: pa.Table, tmp_path: Path) -> None:
    labels = pa.array([["shop=yes"]] * 100)
    table = rows.set_column(rows.column_names.index("labels"), "labels", labels)
    source = parquet(tmp_path / "in.parquet", table)
    assert command("train", "--threads", 1, "--data", source, "--name", "one").code == 0
    output = tmp_path / "out.jsonl"
    assert command("label", source, output, "--model", "models:/one@champion").code == 0
    for answer in lines(output):
        (label,) = answer["labels"]
        assert label["label"] == "shop=yes"
        assert 0 <= label["probability"] <= 1


@pytest.mark.usefixtures("empty_world")
def test_rows_of_one_single_name_are_refused(command: Command, tmp_path: Path) -> None:
    source = parquet(tmp_path / "in.parquet", {"name": ["Bar"] * 40, "labels": [["a"]] * 40})
    refused(command("train", "--data", source), 3, "all rows have the same name")


@pytest.mark.usefixtures("empty_world")
def test_rows_of_two_names_are_learned_from_or_refused(command: Command, tmp_path: Path) -> None:
    names, labels = ["Bar", "Café"] * 20, [["a"], ["b"]] * 20
    source = parquet(tmp_path / "in.parquet", {"name": names, "labels": labels})
    assert command("train", "--threads", 1, "--data", source).code in (0, 3)


@pytest.mark.usefixtures("empty_world")
def test_a_negative_seed_is_wrong_usage(command: Command, rows: pa.Table, tmp_path: Path) -> None:
    source = parquet(tmp_path / "in.parquet", rows)
    assert command("train", "--data", source, "--seed", "-1").code == 2


# models and registries that are not there


@pytest.mark.usefixtures("trained_world")
@pytest.mark.parametrize(
    "uri",
    [
        "nowhere",
        "/dev/null",
        "runs:/0123456789abcdef0123456789abcdef/model",
        "models:/nobody@champion",
        "models:/nobody/1",
        "models:/small/99",
        "models:/small",
        "models:/small/newest",
        "models:/small@nobody",
        "models:/small@",
        "models:/@champion",
        "models:/small/99999999999999999999",
        "runs:/",
    ],
)
def test_a_model_that_does_not_exist_is_the_users_mistake(
    command: Command, tmp_path: Path, uri: str
) -> None:
    source = text(tmp_path / "in.csv", "name\nBar\n")
    refused(command("label", source, tmp_path / "out.csv", "--model", uri), 4, "")
    assert not (tmp_path / "out.csv").exists()


@pytest.fixture
def run_of_the_world(world: "World", home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The run that made the shared model, seen from another state folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{world.home / 'mlflow.db'}")
    client = MlflowClient(tracking_uri(), tracking_uri())
    return str(client.get_model_version_by_alias("small", "champion").run_id)


def test_an_artifact_that_a_run_does_not_have_is_no_model(
    command: Command, run_of_the_world: str, home: Path, tmp_path: Path
) -> None:
    source = text(tmp_path / "in.csv", "name\nBar\n")
    uri = f"runs:/{run_of_the_world}/nothing"
    said = command("label", source, tmp_path / "out.csv", "--model", uri)
    assert said.code == 4
    assert "labelwright: Failed to download artifacts from path 'nothing'" in said.err
    assert not list(home.glob("cache/*"))


def test_a_model_of_a_run_is_fetched_without_noise(
    command: Command, run_of_the_world: str, tmp_path: Path
) -> None:
    source = text(tmp_path / "in.csv", "name\nBar\n")
    output = tmp_path / "out.csv"
    said = command("label", source, output, "--model", f"runs:/{run_of_the_world}/model")
    assert said.code == 0
    assert said.err == f"1 rows -> {output}\n"


@pytest.mark.usefixtures("home")
def test_a_registry_that_is_down_is_told_in_seconds(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = text(tmp_path / "in.csv", "name,labels\nBar,a\n")
    for variable in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.delenv(variable, raising=False)
    uri = f"http://{HOST}:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    started = time.monotonic()
    refused(command("train", "--data", source), 5, f"the registry at {uri} failed: .*")
    assert time.monotonic() - started < 30


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "arguments",
    [
        ("serve",),
        ("label", "in.csv", "out.csv", "--model", "models:/small@champion"),
        ("evaluate", "--data", "in.csv", "--model", "runs:/0123456789abcdef/model"),
    ],
    ids=" ".join,
)
def test_every_command_tells_of_a_registry_that_is_down(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    text(tmp_path / "in.csv", "name,labels\nBar,a\n")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{HOST}:{free_port()}")
    refused(command(*arguments), 5, f"the registry at http://{HOST}:")


@pytest.mark.usefixtures("home")
def test_the_password_of_a_registry_is_never_told(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:{CANARY}@{HOST}:{free_port()}")
    said = command("serve")
    refused(said, 5, f"the registry at http://{HOST}:")
    assert CANARY not in said.err


def test_a_database_that_cannot_be_made_is_named(
    command: Command, empty_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////dev/null/mlflow.db")
    said = command("serve")
    refused(said, 6, "/dev/null/mlflow.db")
    assert str(empty_world) not in said.err


def test_a_port_that_cannot_be_is_a_clear_error(bundle: Path, tmp_path: Path) -> None:
    settings = environment(tmp_path)
    said = spawn("serve", "--model", bundle, "--port", 65_536, environment=settings)
    assert said.code in (1, 2)
    assert "Traceback" not in said.err


# full disks


def small_files(limit: int) -> dict[str, Any]:
    """For `spawn`: a disk that is full once a file has that many bytes."""
    return {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))}


@dataclasses.dataclass(frozen=True)
class FullDisk:
    """What a training says whose bundle finds no room, where drafts would lie, and the state."""

    said: Said
    drafts: Path
    home: Path


@pytest.fixture(scope="module")
def full_disk(
    rows: pa.Table, first_visit: FirstVisit, tmp_path_factory: pytest.TempPathFactory
) -> FullDisk:
    """A training on a full disk; only the database has room enough."""
    folder = tmp_path_factory.mktemp("full")
    drafts, home = folder / "drafts", folder / "home"
    drafts.mkdir()
    home.mkdir()
    shutil.copy(first_visit.home / "mlflow.db", home)
    said = spawn(
        *("train", "--threads", 1, "--data", parquet(folder / "in.parquet", rows)),
        environment={**environment(home), "TMPDIR": str(drafts)},
        **small_files(20_000),
    )
    return FullDisk(said, drafts, home)


def test_a_full_disk_never_leaves_half_a_bundle_behind(
    full_disk: FullDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(full_disk.said, 6, f"the bundle was not written to {full_disk.drafts}/")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{full_disk.home / 'mlflow.db'}")
    assert nothing_is_registered()
    assert not list(full_disk.drafts.iterdir())
    assert [path.name for path in full_disk.home.iterdir()] == ["mlflow.db"]


def test_a_full_disk_is_called_a_full_disk(full_disk: FullDisk) -> None:
    refused(full_disk.said, 6, "no space is left")


@pytest.mark.usefixtures("empty_world")
def test_artifacts_that_find_no_room_register_nothing(
    command: Command, empty_world: Path, rows: pa.Table, tmp_path: Path
) -> None:
    text(empty_world / "artifacts", "a file where a folder should be")
    said = command("train", "--threads", 1, "--data", parquet(tmp_path / "in.parquet", rows))
    refused(said, 6, f"nothing was registered, because {empty_world / 'artifacts'}")
    assert nothing_is_registered()
    client = MlflowClient(tracking_uri(), tracking_uri())
    (experiment,) = [e for e in client.search_experiments() if e.name == "places"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"


@pytest.mark.parametrize("limit", [10_000, 20_000], ids=["journal", "answers"])
def test_a_full_disk_leaves_no_half_of_an_answer_file_and_work_goes_on_when_there_is_room(
    command: Command, bundle: Path, rows: pa.Table, tmp_path: Path, limit: int
) -> None:
    source, output = parquet(tmp_path / "in.parquet", rows), tmp_path / "out.jsonl"
    asked = ("label", source, output, "--model", bundle)
    said = spawn(*asked, environment=environment(tmp_path / "home"), **small_files(limit))
    refused(said, 6, "was not written: no space is left; what is done is kept, --resume goes on")
    assert {path.name for path in tmp_path.iterdir()} == {"in.parquet", ".out.jsonl.unfinished"}
    said = command(*asked, "--resume")
    assert said.code == 0
    assert ("of them done before" in said.err) == (limit > 10_000)
    assert command("label", source, tmp_path / "whole.jsonl", "--model", bundle).code == 0
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not (tmp_path / ".out.jsonl.unfinished").exists()


def test_rejects_that_cannot_be_written_are_a_clear_error(
    command: Command, bundle: Path, tmp_path: Path
) -> None:
    source = text(tmp_path / "in.csv", "name,lat,lon\nBar,200,4\n")
    (tmp_path / "out.csv.rejects.jsonl").mkdir()
    refused(command("label", source, tmp_path / "out.csv", "--model", bundle), 6, "rejects.jsonl")
