"""The command `demo`: serves a model and the MLflow UI until it is stopped."""

import contextlib
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pyarrow.parquet as pq
import pytest

from tests.processes import (
    HOST,
    LABELWRIGHT,
    PATIENCE,
    Command,
    environment,
    free_port,
)

if TYPE_CHECKING:
    from tests.conftest import World

pytest_plugins = ["tests.worlds"]


@pytest.fixture
def brands_world(empty_world: Path, world: "World", command: Command, tmp_path: Path) -> Path:
    """A state folder in which the model `brands` has a champion, so the demo trains nothing."""
    source = tmp_path / "brands.parquet"
    pq.write_table(pq.read_table(world.data).slice(0, 300), source)
    assert command("train", "--threads", 1, "--data", source, "--name", "brands").code == 0
    return empty_world


@contextlib.contextmanager
def demo(home: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """Start the demo in a folder; yields its process, its port and the port of the MLflow UI."""
    port, ui_port = free_port(), free_port()
    process = subprocess.Popen(
        [LABELWRIGHT, "demo", "--port", str(port), "--ui-port", str(ui_port)],
        env=environment(home),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        try:
            yield process, port, ui_port
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """All children of a process, and the children of these processes."""
    return psutil.Process(process.pid).children(recursive=True)


def is_training(process: psutil.Process) -> bool:
    """Whether a process runs `labelwright train`; False if it has ended."""
    try:
        return "train" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def test_the_printed_curl_command_works_and_ctrl_c_stops_all_servers(
    brands_world: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "here"
    for name in ("models", "service"):  # the servers must not import these
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise ImportError('foreign')\n")
    with demo(brands_world, folder) as (process, port, ui_port):
        assert process.stdout is not None
        printed: dict[str, str] = {}
        while "stop" not in printed:
            line = process.stdout.readline()
            assert line, "the demo has stopped"
            word, _, rest = line.strip().partition("  ")
            printed[word] = rest.strip()

        assert printed["labels"] == f"http://{HOST}:{port}"
        assert httpx.get(printed["labels"]).status_code == 200
        curl = shlex.split(printed["try"])
        assert curl[:2] == ["curl", "-s"]
        header, body = curl[curl.index("-H") + 1], curl[curl.index("-d") + 1]
        response = httpx.post(curl[2], content=body, headers=dict([header.split(": ")]), timeout=30)
        assert response.status_code == 200
        assert response.json()["model"]["name"] == "brands"
        assert len(response.json()["results"][0]["labels"]) >= 3

        assert printed["MLflow UI"] == f"http://{HOST}:{ui_port}"
        page = httpx.get(printed["MLflow UI"])
        assert page.status_code == 200
        assert "<title>MLflow</title>" in page.text
        known = httpx.get(
            f"{printed['MLflow UI']}/api/2.0/mlflow/registered-models/get",
            params={"name": "brands"},
        )
        assert known.json()["registered_model"]["aliases"][0]["alias"] == "champion"

        servers = descendants(process)
        assert len(servers) >= 2
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        assert not psutil.wait_procs(servers, timeout=10)[1]
    for each in (port, ui_port):
        with socket.socket() as probe:
            assert probe.connect_ex((HOST, each))
    assert {path.name for path in folder.iterdir()} == {"models", "service"}


@pytest.mark.parametrize(
    ("by", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "terminated"]
)
def test_a_signal_also_ends_the_training_of_the_demo(
    empty_world: Path, tmp_path: Path, by: signal.Signals, code: int
) -> None:
    with demo(empty_world, tmp_path) as (process, _, _):
        deadline = time.monotonic() + PATIENCE
        started: list[psutil.Process] = []
        while not any(is_training(each) for each in started):
            assert time.monotonic() < deadline, "no training has started"
            time.sleep(0.1)
            started = descendants(process)
        (training,) = started
        process.send_signal(by)
        assert process.wait(PATIENCE) == code
        assert not training.is_running()


@pytest.mark.parametrize("option", ["--port", "--ui-port"])
def test_a_used_port_is_reported_before_the_training(
    command: Command, home: Path, option: str
) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        others = {"--port": free_port(), "--ui-port": free_port()} | {option: port}
        completed = command("demo", *(part for pair in others.items() for part in pair))
    assert completed.code == 1
    assert f"port {port} cannot be used: Address already in use" in completed.err
    assert option in completed.err
    assert not home.exists()


@pytest.mark.usefixtures("home")
def test_an_impossible_port_is_a_usage_error(command: Command) -> None:
    completed = command("demo", "--port", 65_536)
    assert completed.code in (1, 2)
    assert completed.err
