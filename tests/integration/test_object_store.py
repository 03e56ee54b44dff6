"""Tests with data in an object store: a local server with the S3 protocol."""

import dataclasses
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from tests.entities.importers.published import OVERTURE, overture_place
from tests.integration.stores import object_store
from tests.processes import LABELWRIGHT, PATIENCE, CommandResult, environment, spawn

if TYPE_CHECKING:
    from tests.conftest import World

pytestmark = pytest.mark.integration
BUCKET = "places"


@dataclasses.dataclass(frozen=True)
class Store:
    """A running object store with one bucket, and the environment of its clients."""

    url: str
    environment: dict[str, str]

    @property
    def filesystem(self) -> pyarrow.fs.S3FileSystem:
        """The store as a PyArrow file system, without the code under test."""
        keys = dict.fromkeys(("access_key", "secret_key"), "any")
        return pyarrow.fs.S3FileSystem(endpoint_override=self.url, region="us-east-1", **keys)

    def names(self) -> list[str]:
        """Names of all objects in the bucket."""
        selector = pyarrow.fs.FileSelector(BUCKET, recursive=True)
        found = self.filesystem.get_file_info(selector)
        return sorted(one.path.removeprefix(f"{BUCKET}/") for one in found if one.is_file)

    def run(self, *arguments: object) -> CommandResult:
        """Run a command in the environment of the store."""
        return spawn(*arguments, environment=self.environment)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, world: "World") -> Iterator[Store]:
    with object_store(tmp_path_factory.mktemp("store"), BUCKET) as (_, settings):
        store = Store(settings["AWS_ENDPOINT_URL"], environment(world.home) | settings)
        table = pq.read_table(world.data)
        for part in range(3):
            pq.write_table(
                table.slice(1_000 * part, 1_000),
                f"{BUCKET}/in/{part}.parquet",
                filesystem=store.filesystem,
            )
        yield store


@pytest.fixture(scope="module")
def whole(store: Store, world: "World", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of labelling the same rows to a local file."""
    target = tmp_path_factory.mktemp("whole") / "out.parquet"
    assert store.run("label", world.data, target, "--model", world.uri).code == 0
    return target


def test_a_folder_in_a_store_is_labelled_into_the_store(
    store: Store, world: "World", whole: Path
) -> None:
    target = f"s3://{BUCKET}/a folder/out.parquet"
    result = store.run("label", f"s3://{BUCKET}/in", target, "--model", world.uri)
    assert result.code == 0, result.err
    assert result.err == f"3,000 rows -> {target}\n"
    predictions = pq.read_table(f"{BUCKET}/a folder/out.parquet", filesystem=store.filesystem)
    assert predictions.equals(pq.read_table(whole))
    assert store.names() == ["a folder/out.parquet", *(f"in/{part}.parquet" for part in range(3))]
    store.filesystem.delete_file(f"{BUCKET}/a folder/out.parquet")


def test_text_and_rejects_go_to_the_store(store: Store, world: "World", tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("name,lat,lon\nPizzeria Napoli,41,12\nNowhere,200,0\n")
    target = f"s3://{BUCKET}/out.csv.gz"
    result = store.run("label", tmp_path / "in.csv", target, "--model", world.uri)
    assert result.err == f"2 rows, 1 of them rejected -> {target}\n"
    with store.filesystem.open_input_stream(f"{BUCKET}/out.csv.gz.rejects.jsonl") as stream:
        assert json.loads(stream.read())["reason"] == "lat: must lie between -90 and 90"
    again = store.run("label", target, tmp_path / "again.jsonl", "--model", world.uri)
    assert again.code == 3  # the input has the columns of an output
    for name in ("out.csv.gz", "out.csv.gz.rejects.jsonl"):
        store.filesystem.delete_file(f"{BUCKET}/{name}")


def test_killed_labelling_into_a_store_is_resumed(
    store: Store, world: "World", tmp_path: Path
) -> None:
    names = pq.read_table(world.data)["name"].to_pylist()
    source, target = tmp_path / "in.jsonl", f"s3://{BUCKET}/killed.parquet"
    source.write_text("".join(json.dumps({"name": name}) + "\n" for name in names * 50))
    arguments = ("label", source, target, "--model", world.uri, "--resume")
    process = subprocess.Popen([LABELWRIGHT, *map(str, arguments)], env=store.environment)
    deadline = time.monotonic() + PATIENCE
    # the file is larger than its header as soon as it has a record
    while sum(part.stat().st_size for part in world.home.glob("unfinished/*/*.records")) < 1 << 21:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert "killed.parquet" not in store.names()
    result = store.run(*arguments)
    assert result.code == 0, result.err
    assert "finished by the earlier run" in result.err
    assert store.run("label", source, tmp_path / "whole.parquet", "--model", world.uri).code == 0
    predictions = pq.read_table(f"{BUCKET}/killed.parquet", filesystem=store.filesystem)
    assert predictions.equals(pq.read_table(tmp_path / "whole.parquet"))
    assert not list(world.home.glob("unfinished/*"))


def test_a_model_is_trained_on_data_in_a_store(store: Store, tmp_path: Path) -> None:
    settings = store.environment | {"LABELWRIGHT_HOME": str(tmp_path / "home")}
    result = spawn("train", "--data", f"s3://{BUCKET}/in", "--json", environment=settings)
    assert result.code == 0, result.err
    assert json.loads(result.out.splitlines()[-1])["promoted"]


def test_a_region_of_published_data_is_imported_within_a_store(
    store: Store, tmp_path: Path
) -> None:
    rows = [overture_place(n, lon, 50.0) for n, lon in enumerate((7.0, 7.5, 100.0))]
    folder = f"{BUCKET}/release/theme=places/type=place"
    for n in range(2):
        table = pa.Table.from_pylist(rows, schema=OVERTURE)
        pq.write_table(table, f"{folder}/{n}.zstd.parquet", filesystem=store.filesystem)
    target = f"s3://{BUCKET}/imported.parquet"
    result = store.run("import", "overture", f"s3://{folder}", target, "--bbox=6,49,8,51")
    assert result.code == 0, result.err
    found = pq.read_table(f"{BUCKET}/imported.parquet", filesystem=store.filesystem)
    assert found["id"].to_pylist() == ["place-0", "place-1"] * 2
    store.filesystem.delete_dir(f"{BUCKET}/release")
    store.filesystem.delete_file(f"{BUCKET}/imported.parquet")


@pytest.mark.parametrize(
    ("code", "source", "target", "message"),
    [
        (3, f"s3://{BUCKET}/nothing.csv", "out.csv", f"no file s3://{BUCKET}/nothing.csv"),
        (3, "s3://nowhere/in.csv", "out.csv", "no file s3://nowhere/in.csv"),
        (6, f"s3://{BUCKET}/in", "s3://nowhere/out.csv", "s3://nowhere/out.csv was not written"),
    ],
)
def test_missing_objects_are_a_clear_error(
    store: Store, world: "World", tmp_path: Path, code: int, source: str, target: str, message: str
) -> None:
    file = target if "://" in target else tmp_path / target
    found = store.run("label", source, file, "--model", world.uri)
    assert found.code == code
    assert found.err.startswith(f"labelwright: {message}")
    assert found.err.count("\n") == 1
