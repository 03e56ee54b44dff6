"""`labelwright export` and `labelwright import model`, between two state folders."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

import labelwright
from labelwright.models.bundle.format import read_manifest
from labelwright.models.paths import tracking_uri
from labelwright.models.registry import load_model
from labelwright.training.tracking import record, versions
from tests.labelwright.commands.summaries import last_line, registered
from tests.processes import Command, environment, serving, spawn

if TYPE_CHECKING:
    from tests.conftest import World

pytest_plugins = ["tests.worlds"]


@pytest.fixture(scope="session")
def exported(world: "World", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The champion of the shared world as one file."""
    path = tmp_path_factory.mktemp("exported") / "small.zip"
    completed = spawn("export", world.uri, path, environment=environment(world.home))
    assert (completed.code, completed.err) == (0, "")
    assert completed.out.endswith(f" -> {path}\n")
    return path


def imported(command: Command, *arguments: object) -> dict[str, Any]:
    completed = command("import", "model", *arguments, "--json")
    assert completed.code == 0, completed.err
    return last_line(completed.out)


def labelled(command: Command, data: Path, output: Path, model: object) -> list[Any]:
    completed = command("label", data, output, "--model", model)
    assert completed.code == 0, completed.err
    rows: list[Any] = pq.read_table(output).to_pylist()
    return rows


def test_an_imported_model_works_like_the_original(
    command: Command,
    empty_world: Path,
    world: "World",
    exported: Path,
    places_file: Path,
    data: Path,
    tmp_path: Path,
) -> None:
    summary = imported(command, exported, "--name", "brands")
    content = read_manifest(world.bundle).content
    assert summary["model_uri"] == "models:/brands/1"
    assert (summary["promoted"], summary["origin"]) == (True, "small")
    assert "there are no test rows" in summary["reason"]
    assert summary["content"] == content
    assert registered() == {"brands": {"champion": "1"}}
    _check_record(summary)

    model = "models:/brands@champion"
    assert load_model(model).bundle.manifest.content == content
    original = labelled(command, places_file, tmp_path / "original.parquet", world.bundle)
    assert labelled(command, places_file, tmp_path / "copy.parquet", model) == original
    measured = [
        command("evaluate", "--data", data, "--model", uri).out for uri in (model, world.bundle)
    ]
    assert measured[0] == measured[1] != ""
    with (
        serving(environment=environment(empty_world), folder=tmp_path) as service,
        service.client() as client,
    ):
        answer = client.post("/v1/labels", json={"entities": [{"name": "Aldi"}]}).json()
        assert answer["model"] == {"name": "brands", "version": "1", "content": content[:12]}

    again = tmp_path / "again.zip"
    assert command("export", model, again).code == 0
    assert again.read_bytes() == exported.read_bytes()


def _check_record(summary: dict[str, Any]) -> None:
    """The run has ended, and run and version state the origin, the content and no verdict."""
    client = MlflowClient(tracking_uri(), tracking_uri())
    run = client.get_run(summary["run_id"])
    version = client.get_model_version("brands", summary["version"])
    assert run.info.status == "FINISHED"
    for tags in (run.data.tags, version.tags):
        assert tags[record.CONTENT] == summary["content"]
        assert tags["labelwright.imported"] == "small"
        assert tags["labelwright.imported_from"] == labelwright.__version__
    assert version.tags[versions.VERDICT] == versions.NOT_JUDGED
    assert "Imported." in (version.description or "")
    files = {file.path for file in client.list_artifacts(summary["run_id"])}
    assert not files & {"model_card.md", record.TRAINING_ROWS}
    address = client.get_model_version_download_uri("brands", summary["version"])
    model = Path(address.removeprefix("file:"))
    assert list(model.glob("wheels/*.whl"))
    assert (model / "requirements.txt").read_text().startswith("./wheels/")


@pytest.mark.usefixtures("empty_world")
def test_an_import_changes_the_champion_only_if_there_is_none_or_on_request(
    command: Command, exported: Path
) -> None:
    assert not imported(command, exported, "--name", "brands", "--no-promote")["promoted"]
    assert registered() == {"brands": {}}
    assert imported(command, exported, "--name", "brands")["promoted"]
    assert registered() == {"brands": {"champion": "2"}}
    summary = imported(command, exported, "--name", "brands")
    assert not summary["promoted"]
    assert summary["reason"].startswith("version 2 is the champion, and there are no test rows")
    assert registered() == {"brands": {"champion": "2"}}
    assert imported(command, exported, "--name", "brands", "--promote")["promoted"]
    assert registered() == {"brands": {"champion": "4"}}
    assert command("promote", "brands", 3).code == 0
    assert command("rollback", "brands").out == "models:/brands@champion is version 4\n"


@pytest.mark.usefixtures("empty_world")
def test_a_damaged_file_or_a_wrong_name_registers_nothing(
    command: Command, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    cut, changed = tmp_path / "cut.zip", tmp_path / "changed.zip"
    content = bytearray(exported.read_bytes())
    cut.write_bytes(content[: len(content) // 2])
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    for file, name, code, message in (
        (cut, "brands", 4, "cut.zip is damaged"),
        (changed, "brands", 4, "changed.zip"),
        (tmp_path / "none.zip", "brands", 4, "there is no file"),
        (tmp_path, "brands", 4, "is not a file"),
        (exported, "a/b", 3, "a model cannot be named 'a/b'"),
        ("-", "brands", 3, "standard stream"),
    ):
        completed = command("import", "model", file, "--name", name)
        assert (completed.code, completed.out) == (code, "")
        assert message in completed.err
        assert completed.err.count("\n") == 1
        assert str(temporary) not in completed.err
    client = MlflowClient(tracking_uri(), tracking_uri())
    assert not registered()
    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]
    assert not list(temporary.iterdir())
    both = command("import", "model", exported, "--name", "x", "--promote", "--no-promote")
    assert both.code == 2


def test_an_export_replaces_the_file_that_a_link_names(
    command: Command, bundle: Path, exported: Path, tmp_path: Path
) -> None:
    target, link = tmp_path / "target.zip", tmp_path / "link.zip"
    target.write_text("before")
    link.symlink_to(target)
    assert command("export", bundle, link).code == 0
    assert link.is_symlink()
    assert target.read_bytes() == exported.read_bytes()
    missing = command("export", tmp_path / "none", link)
    assert missing.code == 4
    assert target.read_bytes() == exported.read_bytes()
