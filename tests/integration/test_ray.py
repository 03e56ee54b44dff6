"""Tests of bulk labelling on a Ray cluster whose nodes are processes of this machine."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import World
from tests.integration.machines import need_package
from tests.integration.on_ray import STOPPED
from tests.processes import CommandResult, environment, spawn

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
FILES, GROUPS = 40, 2
PATIENCE = 600.0


class Process:
    """A process of `tests.integration.on_ray`, which reads lines and replies with lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def receive(self) -> str:
        """The next line of output."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the process has ended"
        return line.strip()

    def send(self, line: str = "") -> None:
        """Send a line."""
        assert self.process.stdin
        print(line, file=self.process.stdin, flush=True)

    def request(self, line: str = "") -> str:
        """Send a line and return the reply."""
        self.send(line)
        return self.receive()


@contextlib.contextmanager
def running(world: World, *arguments: object) -> Iterator[Process]:
    """A process that ends when its standard input is closed."""
    command = [sys.executable, "-m", "tests.integration.on_ray", *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=environment(world.home), cwd=ROOT, text=True, stdin=pipe, stdout=pipe
    ) as process:
        yield Process(process)


@pytest.fixture(scope="module")
def nodes(world: World) -> Iterator[Process]:
    """A head node without work and two worker nodes."""
    need_package("ray")
    with running(world, "nodes") as nodes:
        yield nodes


@pytest.fixture(scope="module")
def address(nodes: Process) -> str:
    """Address of the cluster."""
    return nodes.receive()


@pytest.fixture(scope="module")
def folder(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of Parquet files.

    One file has several row groups. A third of the rows has no id. One row of the original data
    gets an invalid latitude, so that it is rejected.
    """
    folder = tmp_path_factory.mktemp("rows")
    table = pq.read_table(world.data).drop_columns(["labels"])
    ids = np.where(np.arange(len(table)) % 3 == 0, None, table["id"].to_numpy(False))
    table = table.set_column(table.column_names.index("id"), "id", pa.array(ids, pa.string()))
    at = np.zeros(len(table))
    at[7] = 200
    table = table.append_column("lat", pa.array(at)).append_column("lon", pa.array(at / 2))
    for number in range(FILES):
        pq.write_table(table.slice(10 * number), folder / f"{number:02}.parquet")
    many = pa.concat_tables([table] * 15).slice(0, GROUPS * 16_384 + 100)
    pq.write_table(many, folder / "many.parquet", row_group_size=16_384)
    return folder


@pytest.fixture(scope="module")
def single_process(world: World, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output file of labelling in a single process."""
    target = tmp_path_factory.mktemp("single_process") / "out.parquet"
    assert label(world, folder, target).code == 0
    return target


def label(world: World, source: object, target: Path, *more: object) -> CommandResult:
    query = ("label", source, target, "--model", world.uri, *more)
    return spawn(*query, environment=environment(world.home), timeout=PATIENCE)


def rejects(target: Path) -> list[Any]:
    lines = Path(f"{target}.rejects.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_a_cluster_agrees_with_a_single_process(
    address: str, world: World, folder: Path, single_process: Path, tmp_path: Path
) -> None:
    target, engine = tmp_path / "out.parquet", ("--engine", f"ray={address}")
    result = label(world, folder, target, *engine)
    assert result.code == 0, result.err
    assert len(result.err.splitlines()) == 1, result.err
    assert target.read_bytes() == single_process.read_bytes()
    assert rejects(target) == rejects(single_process) != []
    again = label(world, folder, tmp_path / "again.parquet", *engine, "--previous", single_process)
    assert "copied from the previous output" in again.err, again.err
    assert (tmp_path / "again.parquet").read_bytes() == single_process.read_bytes()


def test_killing_a_node_neither_loses_nor_repeats_rows(
    nodes: Process, address: str, world: World, folder: Path, single_process: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.parquet"
    assert nodes.request("add") == "done"
    with running(world, "label", folder, target, world.uri, address) as labelling:
        assert 0 < float(labelling.receive()) < 0.1
        assert nodes.request("kill") == "done"
        rows, rejected = pq.read_table(single_process).num_rows, len(rejects(single_process))
        assert labelling.request() == f"{rows} {rejected} 0"
    assert target.read_bytes() == single_process.read_bytes()


def test_work_that_is_stopped_on_one_engine_is_resumed_by_the_other(
    address: str, world: World, folder: Path, single_process: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.parquet"
    for engine in (address, ""):
        with running(world, "label", folder, target, world.uri, engine) as labelling:
            assert 0 < float(labelling.receive()) < 1
            labelling.send("stop")
            assert labelling.process.wait(PATIENCE) == STOPPED
    with running(world, "label", folder, target, world.uri, address) as labelling:
        assert 0 < float(labelling.receive()) < 1
        rows, _, resumed = map(int, labelling.request().split())
    assert 0 < resumed < rows
    assert target.read_bytes() == single_process.read_bytes()


def test_csv_output_from_a_cluster_started_by_the_command(world: World, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("name,lat,lon\nPizzeria Napoli,41,12\nNowhere,200,0\n")
    for target, engine in (("threads.jsonl", ()), ("ray.jsonl", ("--engine", "ray"))):
        result = label(world, source, tmp_path / target, *engine, "--threads", 1)
        assert result.err == f"2 rows, 1 of them rejected -> {tmp_path / target}\n"
    assert (tmp_path / "threads.jsonl").read_bytes() == (tmp_path / "ray.jsonl").read_bytes()


def test_unsupported_requests_are_clear_errors(
    address: str, world: World, folder: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    whole = (folder / "00.parquet").read_bytes()
    (bad / "0.parquet").write_bytes(whole)
    (bad / "1.parquet").write_bytes(
        bytes([*whole[:8], *[255] * (len(whole) // 2)]) + whole[8 + len(whole) // 2 :]
    )
    there = f"ray={address}"
    for code, source, engine, word in (
        (3, bad, there, f"{bad}/1.parquet cannot be read: "),
        (3, "-", there, "a cluster cannot read a standard stream"),
        (1, folder, "ray=127.0.0.1:9", "the cluster failed: "),
        (2, folder, "ray=", "must be ray or ray=ADDRESS"),
    ):
        result = label(world, source, tmp_path / "out.parquet", "--engine", engine)
        assert result.code == code, result.err
        assert word in result.err.splitlines()[-1], result.err
        assert code == 2 or len(result.err.splitlines()) == 1, result.err
