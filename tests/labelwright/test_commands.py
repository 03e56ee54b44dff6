"""Every command, end to end: real training, a real registry, real files."""

import argparse
import json
import os
import pty
import re
import signal
import socket
import subprocess
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

import labelwright
from labelwright.__main__ import parser
from models.home import tracking_uri
from models.registry import load_model
from tests.processes import (
    HOST,
    LABELWRIGHT,
    Command,
    FirstVisit,
    Service,
    environment,
    spawn,
)

if TYPE_CHECKING:
    from tests.conftest import World

pytest_plugins = ["tests.worlds"]

BRANDS = Path(labelwright.__file__).parents[1] / "entities" / "data" / "brands.parquet"
ROWS = 300
OPTIONS = {
    "train": {"data", "test", "schema", "name", "min-count", "seed", "threads", "no-promote"}
    | {"json"},
    "evaluate": {"model", "data", "threads", "json"},
    "label": {"model", "top-k", "policy", "threads", "resume", "previous", "format"},
    "explain": {"entity", "model", "label", "top-k", "policy", "rows", "json"},
    "serve": {"model", "host", "port", "workers"},
    "promote": {"force"},
    "rollback": set(),
    "prune": {"keep"},
    "diff": {"data", "examples", "threads", "json"},
    "doctor": {"model", "json"},
    "study": {"data", "test", "schema", "name", "seeds", "threads", "json"},
    "tune": {"data", "schema", "name", "minutes", "seed", "threads", "json"},
    "demo": {"port", "ui-port"},
}
"""What is promised to users, however many options there are beside."""
COMMANDS: dict[str, argparse.ArgumentParser] = next(
    action.choices for action in parser()._actions if isinstance(action, argparse._SubParsersAction)
)
ANSWERS = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field(
            "labels",
            pa.list_(
                pa.struct(
                    [
                        pa.field("label", pa.string()),
                        pa.field("probability", pa.float32()),
                        pa.field("asserted", pa.bool_()),
                    ]
                )
            ),
        ),
    ]
)
"""What the documentation promises of a file of answers."""


@pytest.fixture(scope="module")
def rows(world: "World") -> pa.Table:
    """A few hundred brands with their labels."""
    return pq.read_table(world.data).slice(0, ROWS)


@pytest.fixture(scope="module")
def data(rows: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a Parquet file."""
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    pq.write_table(rows, path)
    return path


def write_csv(rows: pa.Table, path: Path) -> Path:
    """Rows as CSV, with `|` between labels."""
    labels = pa.array(["|".join(labels) for labels in rows["labels"].to_pylist()])
    at = rows.column_names.index("labels")
    pyarrow.csv.write_csv(rows.set_column(at, "labels", labels), path)
    return path


def write_jsonl(rows: pa.Table, path: Path) -> Path:
    """Rows as JSON Lines."""
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows.to_pylist()))
    return path


def last_line(out: str) -> dict[str, Any]:
    """What `--json` ends with."""
    summary: dict[str, Any] = json.loads(out.splitlines()[-1])
    return summary


def train(command: Command, *arguments: object) -> dict[str, Any]:
    """Train with `--json`; returns the summary. One thread gives way to other processes."""
    said = command("train", "--threads", 1, *arguments, "--json")
    assert said.code == 0, said.err
    return last_line(said.out)


def registered() -> dict[str, dict[str, str]]:
    """The aliases of every registered model."""
    client = MlflowClient(tracking_uri(), tracking_uri())
    return {
        model.name: {alias: str(version) for alias, version in model.aliases.items()}
        for model in client.search_registered_models()
    }


# help and exit codes


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_lists_every_option(command: Command, name: str) -> None:
    said = command(name, "--help")
    assert said.code == 0
    usage, _, listed = said.out.partition("options:")
    assert usage.startswith(f"usage: labelwright {name} ")
    options = {option for action in COMMANDS[name]._actions for option in action.option_strings}
    assert OPTIONS.get(name, set()) <= {option.removeprefix("--") for option in options}
    for option in options:
        assert re.search(rf"(?m)^  .*{option}\b", listed), option


def test_help_lists_every_command_every_exit_code_and_the_environment(tmp_path: Path) -> None:
    said = spawn("--help", environment=environment(tmp_path))
    assert said.code == 0
    for word in (
        *COMMANDS,
        "LABELWRIGHT_HOME",
        "MLFLOW_TRACKING_URI",
        "LABELWRIGHT_MODEL",
        "130",
        "143",
    ):
        assert word in said.out
    assert set(OPTIONS) <= set(COMMANDS)
    assert not list(tmp_path.iterdir())


def test_version_is_that_of_the_installed_package(tmp_path: Path) -> None:
    said = spawn("--version", environment=environment(tmp_path))
    assert re.fullmatch(r"labelwright \d+\.\d+\.\d+\S*\n", said.out)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("unknown",),
        ("train",),
        ("label", "in.csv", "out.csv"),
        ("train", "--data", "in.csv", "--threads", "0"),
        ("train", "--data", "in.csv", "--min-count", "many"),
        ("label", "in.csv", "out.csv", "--model", "m", "--top-k", "0"),
        ("serve", "--port", "eighty"),
        ("explain", "--model", "m"),
        ("explain", "in.csv", "--entity", "{}", "--model", "m"),
        ("explain", "in.csv", "--model", "m", "--rows", "0"),
    ],
    ids=" ".join,
)
def test_wrong_usage_has_exit_code_2(command: Command, arguments: tuple[str, ...]) -> None:
    said = command(*arguments)
    assert said.code == 2
    assert said.err.startswith("usage: labelwright")


def test_processes_end_with_the_exit_codes_of_their_errors(tmp_path: Path) -> None:
    settings = environment(tmp_path / "home")
    usage = spawn("label", environment=settings)
    no_data = spawn("label", "no.csv", tmp_path / "o.csv", "--model", "m", environment=settings)
    assert (usage.code, no_data.code) == (2, 3)
    assert no_data.err == "labelwright: no file no.csv\n"


@pytest.mark.usefixtures("empty_world")
@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (3, ("train", "--data", "nowhere.csv")),
        (3, ("train", "--data", "data", "--schema", "nowhere.toml")),
        (3, ("train", "--data", "data", "--name", "a/b")),
        (3, ("label", "data", "out.txt", "--model", "model")),
        (3, ("label", "data", "out.csv", "--model", "model", "--policy", "reckless")),
        (3, ("label", "data", "out.csv", "--model", "model", "--top-k", "1001")),
        (3, ("explain", "nowhere.csv", "--model", "model")),
        (3, ("explain", "data", "--model", "model", "--label", "no such label")),
        (3, ("explain", "--entity", "no JSON", "--model", "model")),
        (3, ("explain", "--entity", "[1]", "--model", "model")),
        (3, ("explain", "--entity", '{"name": "x", "lat": 200, "lon": 0}', "--model", "model")),
        (4, ("explain", "data", "--model", "nowhere")),
        (4, ("label", "data", "out.csv", "--model", "nowhere")),
        (4, ("evaluate", "--data", "data", "--model", "models:/nobody@champion")),
        (6, ("label", "data", "nowhere/out.csv", "--model", "model")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_errors_have_their_exit_code_and_one_line(
    command: Command,
    code: int,
    arguments: tuple[str, ...],
    data: Path,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = {"data": data, "model": bundle}
    said = command(*(paths.get(argument, argument) for argument in arguments))
    assert said.code == code
    assert re.fullmatch(r"labelwright: .+\n", said.err)
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.usefixtures("empty_world")
def test_a_registry_that_is_none_has_exit_code_5(
    command: Command, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://nowhere")
    said = command("train", "--data", data)
    assert said.code == 5
    assert "nonsense://nowhere" in said.err


@pytest.mark.parametrize(
    ("by", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "terminated"]
)
def test_an_interrupt_during_a_training_ends_it_quietly_and_registers_nothing(
    empty_world: Path, tmp_path: Path, by: signal.Signals, code: int
) -> None:
    terminal, its_end = pty.openpty()
    termios.tcsetwinsize(its_end, (24, 80))
    with subprocess.Popen(
        [LABELWRIGHT, "train", "--data", str(BRANDS)],
        env=environment(empty_world),
        cwd=tmp_path,
        stdout=its_end,
        stderr=its_end,
    ) as process:
        os.close(its_end)
        said, sent = b"", 0.0
        for part in iter(lambda: _read(terminal), b""):
            said += part
            if not sent and b"linear stage" in said:
                process.send_signal(by)
                sent = time.monotonic()
    os.close(terminal)
    assert process.returncode == code
    assert time.monotonic() - sent < 15
    assert said.rstrip().endswith(b"labelwright: interrupted")
    assert b"Traceback" not in said
    assert registered() == {}


def _read(terminal: int) -> bytes:
    """What was written to a terminal; nothing once its other end is closed."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


# training


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
def test_the_last_line_of_a_training_tells_a_script_what_came_of_it(
    command: Command, data: Path
) -> None:
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
def test_the_same_seed_gives_the_same_content_whatever_the_threads(
    command: Command, data: Path, bundle: Path
) -> None:
    def content(threads: int) -> str:
        uri = train(command, "--data", data, "--seed", 7, "--threads", threads)["model_uri"]
        return load_model(uri).bundle.manifest.content

    found = content(threads=1)
    assert found == content(threads=2)
    assert found != load_model(str(bundle)).bundle.manifest.content


@pytest.mark.usefixtures("empty_world")
def test_an_equal_challenger_is_promoted_and_a_worse_one_refused_with_figures(
    command: Command, rows: pa.Table, data: Path, tmp_path: Path
) -> None:
    nonsense = tmp_path / "nonsense.parquet"
    others = pa.concat_arrays([rows["labels"].combine_chunks()[ROWS // 2 :]] * 2)[:ROWS]
    at = rows.column_names.index("labels")
    pq.write_table(rows.set_column(at, "labels", others), nonsense)
    figures = r"nDCG@5 [+-]\d+\.\d\d points .* [+-]\d+\.\d\d with 95% confidence, on \d+ test rows"

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
def test_no_promote_registers_a_version_and_leaves_the_alias_alone(
    command: Command, data: Path
) -> None:
    summary = train(command, "--data", data, "--no-promote")
    assert summary["promoted"] is False
    assert registered() == {"places": {}}
    assert load_model(summary["model_uri"]).version == "1"
    said = command("serve")
    assert said.code == 4
    assert "no model has a champion" in said.err


@pytest.mark.usefixtures("empty_world")
def test_min_count_leaves_out_labels_of_fewer_rows(
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
def test_a_schema_of_the_users_own_names_and_shapes_the_model(
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
    (answer,) = model.label([{"sign": "Pizzeria Napoli", "land": "IT"}]).to_pylist()
    assert len(answer["labels"]) >= 5


def test_a_column_that_is_not_in_the_schema_is_named_with_the_closest_that_is(
    command: Command, rows: pa.Table, bundle: Path, tmp_path: Path
) -> None:
    source = tmp_path / "typo.parquet"
    names = ["websit" if name == "website" else name for name in rows.column_names]
    pq.write_table(rows.rename_columns(names), source)
    warning = "column 'websit' is not in schema 'places'; did you mean 'website'?"
    for arguments in (("evaluate", "--data", source), ("label", source, tmp_path / "out.csv")):
        said = command(*arguments, "--model", bundle)
        assert said.code == 0
        assert f"labelwright: warning: {warning}\n" in said.err


# evaluating and labelling


@pytest.fixture(scope="module")
def bundle(world: "World") -> Path:
    """The bundle folder of the shared world's model."""
    (manifest,) = world.home.glob("artifacts/**/bundle/manifest.json")
    return manifest.parent


def test_the_last_line_of_an_evaluation_holds_the_metrics(
    command: Command, data: Path, bundle: Path
) -> None:
    said = command("evaluate", "--data", data, "--model", bundle, "--json")
    assert said.code == 0
    metrics = last_line(said.out)
    assert {"p_at_1", "p_at_3", "p_at_5", "micro_f1", "macro_f1", "ece"} <= set(metrics)
    assert metrics["rows"] == ROWS
    assert 50 < metrics["p_at_1"] <= 100  # these rows were learned from
    assert metrics["p_at_1"] > metrics["p_at_3"] > metrics["p_at_5"] > 0
    assert 0 < metrics["macro_f1"] <= 1
    assert 0 < metrics["micro_f1"] <= 1
    assert 0 <= metrics["ece"] < 1


def test_an_evaluation_does_not_depend_on_the_format_of_the_file(
    command: Command, rows: pa.Table, bundle: Path, tmp_path: Path
) -> None:
    some = rows.slice(0, 20)
    field = some.schema.field("labels")
    without = rows.slice(20, 2).set_column(
        some.column_names.index("labels"), field, pa.array([[], []], field.type)
    )
    some = pa.concat_tables([some, without])
    pq.write_table(some, tmp_path / "some.parquet")
    files = (tmp_path / "some.parquet", write_csv(some, tmp_path / "some.csv"))
    metrics = [
        last_line(command("evaluate", "--data", file, "--model", bundle, "--json").out)
        for file in files
    ]
    assert metrics[0] == pytest.approx(metrics[1])


@pytest.fixture(scope="module")
def places_file(rows: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty places to label; latitude 200 makes the fourth unusable."""
    some = rows.slice(0, 50).drop_columns(["labels"])
    lat = pa.array([200.0 if row == 3 else 52.0 for row in range(50)])
    some = some.append_column("lat", lat).append_column("lon", pa.array([4.0] * 50))
    path = tmp_path_factory.mktemp("places") / "places.parquet"
    pq.write_table(some, path)
    return path


def read_answers(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of answers, whatever its format."""
    if path.suffix == ".parquet":
        found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return found
    if path.suffix == ".csv":
        text = pyarrow.csv.ConvertOptions(
            column_types={"id": pa.string(), "labels": pa.string()}, strings_can_be_null=True
        )
        cells = pyarrow.csv.read_csv(path, convert_options=text).to_pylist()
        return [row | {"labels": row["labels"] and json.loads(row["labels"])} for row in cells]
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_every_row_gets_its_labels_in_order_and_rejects_their_reason(
    command: Command, places_file: Path, bundle: Path, tmp_path: Path, ending: str
) -> None:
    output = tmp_path / f"answers.{ending}"
    said = command("label", places_file, output, "--model", bundle)
    assert said.code == 0
    assert said.err == f"50 rows, 1 of them rejected -> {output}\n"
    given = pq.read_table(places_file)["id"].to_pylist()
    answers = read_answers(output)
    assert [answer["id"] for answer in answers] == given
    assert [row for row, answer in enumerate(answers) if answer["labels"] is None] == [3]
    for answer in answers[:3] + answers[4:]:
        probabilities = [label["probability"] for label in answer["labels"]]
        assert len(probabilities) >= 5
        assert probabilities == sorted(probabilities, reverse=True)
    (reject,) = read_answers(tmp_path / f"answers.{ending}.rejects.jsonl")
    assert reject == {"row": 3, "id": given[3], "reason": "lat: must lie between -90 and 90"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        output.name,
        f"{output.name}.rejects.jsonl",
    ]


# explaining


def test_an_entity_is_explained_for_people_and_for_scripts(command: Command, bundle: Path) -> None:
    entity = json.dumps({"id": "j\x9bj", "name": "Joe's Pizza\u202e", "country": "US"})
    asked = ("explain", "--model", bundle, "--entity", entity, "--label", "cuisine=pizza")
    said = command(*asked)
    assert said.code == 0
    assert said.err == ""
    first, title, *lines = said.out.splitlines()
    assert first == "j\\x9bj"
    assert re.fullmatch(r"  cuisine=pizza  probability 0\.\d{3}(, asserted)?", title)
    assert any(re.fullmatch(r' +\+\d+\.\d{3}  name "Pizza"', line) for line in lines)
    weights = [float(line.split()[0]) for line in lines]
    assert sum(weights[:-1]) == pytest.approx(weights[-1], abs=0.01)
    assert lines[-1].endswith("  log-odds before calibration")

    (result,) = last_line(command(*asked, "--json").out)["results"]
    (label,) = result["labels"]
    assert label["log_odds"] == pytest.approx(weights[-1], abs=1e-3)
    assert [round(reason["weight"], 3) for reason in label["reasons"]] == weights[:-1]


def test_the_first_rows_of_a_file_are_explained(
    command: Command, places_file: Path, bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    rows = pq.read_table(places_file)
    for start in (0, 2, 5):
        pq.write_table(rows.slice(start, 3 if start else 2), folder / f"{start}.parquet")
    for count, source in ((5, places_file), (4, places_file), (7, folder)):
        said = command("explain", source, "--model", bundle, "--rows", count, "--json")
        assert said.code == 0
        results = last_line(said.out)["results"]
        assert [result["id"] for result in results] == rows["id"].to_pylist()[:count]
        assert [row for row, result in enumerate(results) if "error" in result] == [3]
    assert "\n  rejected: lat: must lie between -90 and 90\n" in said.out


def test_a_misspelt_field_of_an_entity_is_warned_of(command: Command, bundle: Path) -> None:
    said = command("explain", "--model", bundle, "--entity", '{"nmae": "Joe"}')
    assert said.code == 0
    assert said.err.startswith("labelwright: warning: column 'nmae'")


def test_answers_in_parquet_have_exactly_the_promised_schema(
    command: Command, places_file: Path, bundle: Path, tmp_path: Path
) -> None:
    output = tmp_path / "answers.parquet"
    assert command("label", places_file, output, "--model", bundle, "--top-k", 2).code == 0
    assert pq.read_schema(output).equals(ANSWERS)
    counts = [len(row["labels"]) for row in read_answers(output) if row["labels"]]
    assert min(counts) == 2
    for row in read_answers(output):
        assert all(label["asserted"] for label in (row["labels"] or [])[2:])


def test_rejects_of_an_earlier_run_do_not_stay(
    command: Command, places_file: Path, rows: pa.Table, bundle: Path, tmp_path: Path
) -> None:
    output = tmp_path / "answers.csv"
    assert command("label", places_file, output, "--model", bundle).code == 0
    pq.write_table(rows, tmp_path / "good.parquet")
    assert command("label", tmp_path / "good.parquet", output, "--model", bundle).code == 0
    assert len(read_answers(output)) == ROWS
    assert not list(tmp_path.glob("*.rejects.jsonl"))


@pytest.mark.parametrize("ending", ["csv", "csv.gz", *(e for e in ("jsonl", "jsonl.gz"))])
def test_text_files_are_labelled_as_parquet_is(
    command: Command, rows: pa.Table, data: Path, bundle: Path, tmp_path: Path, ending: str
) -> None:
    plain = tmp_path / f"plain.{ending.removesuffix('.gz')}"
    (write_csv if "csv" in ending else write_jsonl)(rows, plain)
    source = tmp_path / f"source.{ending}"
    with pa.output_stream(str(source), compression="detect") as stream:
        stream.write(plain.read_bytes())
    for number, file in enumerate((data, source)):
        assert command("label", file, tmp_path / f"{number}.jsonl", "--model", bundle).code == 0
    assert (tmp_path / "0.jsonl").read_bytes() == (tmp_path / "1.jsonl").read_bytes()


# where state lies


def test_a_fresh_state_folder_is_an_empty_world(first_visit: FirstVisit) -> None:
    assert first_visit.said.code == 4
    assert first_visit.said.err == (
        "labelwright: no model has a champion yet: train one, or name a model URI\n"
    )
    assert {path.stem for path in first_visit.home.iterdir()} == {"mlflow"}


def test_another_tracking_database_wins_over_the_state_folder(
    command: Command,
    empty_world: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (empty_world / "mlflow.db").rename(tmp_path / "elsewhere" / "mlflow.db")
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere' / 'mlflow.db'}"
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", elsewhere)
        uri = train(command, "--data", data)["model_uri"]
        assert command("label", data, tmp_path / "answers.csv", "--model", uri).code == 0
        assert os.environ["MLFLOW_TRACKING_URI"] == elsewhere
    assert not (empty_world / "mlflow.db").exists()
    client = MlflowClient(elsewhere, elsewhere)
    assert [model.name for model in client.search_registered_models()] == ["places"]


def test_state_does_not_depend_on_the_current_folder(
    command: Command,
    first_visit: FirstVisit,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = tmp_path / "share" / "labelwright"
    home.mkdir(parents=True)
    (home / "mlflow.db").write_bytes((first_visit.home / "mlflow.db").read_bytes())
    monkeypatch.delenv("LABELWRIGHT_HOME", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    train(command, "--data", data)
    monkeypatch.chdir(there)
    model = "models:/places@champion"
    assert command("evaluate", "--data", data, "--model", model).code == 0
    assert command("label", data, tmp_path / "answers.csv", "--model", model).code == 0
    assert not [*here.iterdir(), *there.iterdir()]
    assert {path.name for path in home.iterdir()} >= {"mlflow.db", "artifacts"}


# which model serves


def test_serve_picks_the_only_champion(service: Service) -> None:
    with service.client() as client:
        model = client.get("/v1/model").json()
    assert (model["name"], model["version"]) == ("small", "1")
    assert model["uri"] == "models:/small@champion"


@pytest.mark.usefixtures("empty_world")
def test_serve_lists_the_choices_when_there_are_two_champions(
    command: Command, bundle: Path
) -> None:
    client = MlflowClient(tracking_uri(), tracking_uri())
    for name in ("cafés", "bars"):
        client.create_registered_model(name)
        client.create_model_version(name, bundle.as_uri())
        client.set_registered_model_alias(name, "champion", "1")
    said = command("serve")
    assert said.code == 4
    assert "models:/bars@champion, models:/cafés@champion" in said.err


@pytest.mark.usefixtures("empty_world")
def test_serve_takes_the_model_that_the_environment_names(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELWRIGHT_MODEL", "models:/from-the-environment/7")
    said = command("serve")
    assert said.code == 4
    assert "from-the-environment" in said.err


def test_a_port_in_use_is_a_clear_error(command: Command, bundle: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        said = command("serve", "--model", bundle, "--port", port)
    assert said.code == 1
    assert said.err == f"labelwright: cannot listen on {HOST}:{port}: Address already in use\n"
