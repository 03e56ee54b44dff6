"""Full disks: a clear error and no damage."""

import dataclasses
import resource
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from mlflow import MlflowClient

from labelwright.models.paths import tracking_uri
from tests.labelwright.bad_input.files import parquet, text
from tests.labelwright.bad_input.outcomes import refused
from tests.processes import Command, CommandResult, FirstVisit, environment, spawn

pytest_plugins = ["tests.worlds"]

NO_BYTECODE = {"PYTHONDONTWRITEBYTECODE": "1"}
"""Environment of commands with small files, which would cut compiled modules of this checkout."""


def nothing_is_registered() -> bool:
    """Whether the registry has no version of any model."""
    client = MlflowClient(tracking_uri(), tracking_uri())
    return not client.search_model_versions() and not client.search_registered_models()


def small_files(limit: int) -> dict[str, Any]:
    """Arguments of `spawn` that limit files to `limit` bytes, like a full disk."""
    return {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))}


@dataclasses.dataclass(frozen=True)
class FullDisk:
    """The result of a training that could not write its report, and two of its folders.

    `temporary` is the folder for temporary files, and `home` the state folder.
    """

    completed: CommandResult
    temporary: Path
    home: Path


@pytest.fixture(scope="module")
def full_disk(
    rows: pa.Table, first_visit: FirstVisit, tmp_path_factory: pytest.TempPathFactory
) -> FullDisk:
    """A training on a full disk; only the database has enough disk space."""
    folder = tmp_path_factory.mktemp("full")
    temporary, home = folder / "temporary", folder / "home"
    temporary.mkdir()
    home.mkdir()
    shutil.copy(first_visit.home / "mlflow.db", home)
    completed = spawn(
        *("train", "--threads", 1, "--data", parquet(folder / "in.parquet", rows)),
        environment={**environment(home), **NO_BYTECODE, "TMPDIR": str(temporary)},
        **small_files(20_000),
    )
    return FullDisk(completed, temporary, home)


def test_a_full_disk_leaves_no_incomplete_files(
    full_disk: FullDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(full_disk.completed, 6, "the report was not written")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{full_disk.home / 'mlflow.db'}")
    assert nothing_is_registered()
    assert not list(full_disk.temporary.iterdir())
    assert [path.name for path in full_disk.home.iterdir()] == ["mlflow.db"]


def test_the_error_names_the_full_disk(full_disk: FullDisk) -> None:
    refused(full_disk.completed, 6, "no space is left")


@pytest.mark.usefixtures("empty_world")
def test_artifacts_without_disk_space_register_nothing(
    command: Command, empty_world: Path, rows: pa.Table, tmp_path: Path
) -> None:
    text(empty_world / "artifacts", "a file where a folder should be")
    completed = command("train", "--threads", 1, "--data", parquet(tmp_path / "in.parquet", rows))
    refused(completed, 6, f"nothing was registered, because {empty_world / 'artifacts'}")
    assert nothing_is_registered()
    client = MlflowClient(tracking_uri(), tracking_uri())
    (experiment,) = [e for e in client.search_experiments() if e.name == "places"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"


@pytest.mark.parametrize("limit", [10_000, 20_000], ids=["journal", "output"])
def test_label_leaves_no_incomplete_output_and_resumes_when_there_is_disk_space(
    command: Command, bundle: Path, rows: pa.Table, tmp_path: Path, limit: int
) -> None:
    source, output = parquet(tmp_path / "in.parquet", rows), tmp_path / "out.jsonl"
    arguments = ("label", source, output, "--model", bundle)
    completed = spawn(
        *arguments, environment=environment(tmp_path / "home") | NO_BYTECODE, **small_files(limit)
    )
    refused(completed, 6, "no space is left; .*--resume")
    assert {path.name for path in tmp_path.iterdir()} == {"in.parquet", ".out.jsonl.unfinished"}
    completed = command(*arguments, "--resume")
    assert completed.code == 0
    assert ("finished by the earlier run" in completed.err) == (limit > 10_000)
    assert command("label", source, tmp_path / "whole.jsonl", "--model", bundle).code == 0
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not (tmp_path / ".out.jsonl.unfinished").exists()


def test_rejected_rows_that_cannot_be_written_are_a_clear_error(
    command: Command, bundle: Path, tmp_path: Path
) -> None:
    source = text(tmp_path / "in.csv", "name,lat,lon\nBar,200,4\n")
    (tmp_path / "out.csv.rejects.jsonl").mkdir()
    refused(command("label", source, tmp_path / "out.csv", "--model", bundle), 6, "rejects.jsonl")


def test_an_import_without_disk_space_is_a_clear_error(tmp_path: Path) -> None:
    lines = (f"n{n} v1 dV Tname=Bar{n},amenity=cafe x{n / 1e3} y1\n" for n in range(3_000))
    source = text(tmp_path / "in.opl", "".join(lines))
    arguments = ("import", "osm", source, tmp_path / "out.parquet")
    refused(
        spawn(*arguments, environment={**NO_BYTECODE}, **small_files(10_000)), 6, "no space is left"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["in.opl"]
    assert spawn(*arguments, environment={}).code == 0


def test_an_export_without_disk_space_keeps_the_file_that_was_there(
    bundle: Path, tmp_path: Path
) -> None:
    output = text(tmp_path / "model.zip", "before")
    arguments = ("export", bundle, output)
    completed = spawn(
        *arguments, environment=environment(tmp_path) | NO_BYTECODE, **small_files(100_000)
    )
    refused(completed, 6, "model.zip was not written: no space is left")
    assert [path.name for path in tmp_path.iterdir()] == ["model.zip"]
    assert output.read_text() == "before"


@pytest.mark.usefixtures("empty_world")
def test_a_model_that_cannot_be_unpacked_is_not_imported(
    command: Command, empty_world: Path, bundle: Path, tmp_path: Path
) -> None:
    source, temporary = tmp_path / "model.zip", tmp_path / "temporary"
    temporary.mkdir()
    assert command("export", bundle, source).code == 0
    completed = spawn(
        *("import", "model", source, "--name", "small"),
        environment={**environment(empty_world), "TMPDIR": str(temporary), **NO_BYTECODE},
        **small_files(1_000_000),
    )
    refused(completed, 6, "model.zip was not unpacked to .*: no space is left; .*TMPDIR")
    assert nothing_is_registered()
    assert not list(temporary.iterdir())
