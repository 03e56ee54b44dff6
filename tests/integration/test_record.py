"""Tests of tracking on shared servers: MLflow on PostgreSQL, artifacts in an object store."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil
import pyarrow.parquet as pq
import pytest

from tests.conftest import BRANDS
from tests.integration.stores import Server, database, object_store, relay
from tests.processes import (
    HOST,
    PATIENCE,
    CommandResult,
    Service,
    await_ready,
    environment,
    free_port,
    serving,
    signalling_command,
    spawn,
)

pytestmark = pytest.mark.integration
BUCKET, NAME = "artifacts", "record"
ROWS, ENTITIES = 600, 40


_VERSIONS = """
import json, sys
from labelwright.models.mlflow_server import connect

with connect() as client:
    found = client.search_model_versions(f"name='{sys.argv[1]}'")
    champion = client.get_model_version_by_alias(sys.argv[1], "champion").version
print(json.dumps({str(each.version): each.version == champion for each in found}))
"""


@dataclasses.dataclass(frozen=True)
class Record:
    """The servers, and the environment variables of their clients."""

    folder: Path
    database: Server
    store: Server
    settings: Mapping[str, str]

    @property
    def data(self) -> Path:
        """Rows for training and for requests."""
        return self.folder / "rows.parquet"

    def environment(self, home: str) -> dict[str, str]:
        """Environment variables of a process with a separate state folder."""
        return {**environment(self.folder / home), **self.settings}

    def run(self, *arguments: object, home: str = "training") -> CommandResult:
        """Run a labelwright command."""
        return spawn(*arguments, environment=self.environment(home), timeout=400)

    def versions(self) -> dict[str, bool]:
        """Whether each registered version is the champion."""
        command = [sys.executable, "-c", _VERSIONS, NAME]
        settings = self.environment("asking")
        result = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)
        found: dict[str, bool] = json.loads(result.stdout)
        return found


@pytest.fixture(scope="module")
def record() -> Iterator[Record]:
    """The servers with one champion. Their folder is readable for the user of the database."""
    folder = Path(tempfile.mkdtemp(prefix="labelwright-"))
    folder.chmod(0o755)
    pq.write_table(pq.read_table(BRANDS).slice(0, ROWS), folder / "rows.parquet")
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        base, address = stack.enter_context(database(folder, "mlflow"))
        store, keys = stack.enter_context(object_store(folder, BUCKET))
        way = stack.enter_context(relay(folder, store.port))
        server = stack.enter_context(_tracking(folder, address, keys, way.port))
        settings = {"MLFLOW_TRACKING_URI": f"http://{HOST}:{server.port}"}
        made = Record(folder, base, way, settings)
        result = made.run("train", "--data", made.data, "--name", NAME, "--threads", 1)
        assert result.code == 0, result.err
        yield made


@contextlib.contextmanager
def _tracking(folder: Path, address: str, keys: Mapping[str, str], store: int) -> Iterator[Server]:
    """The MLflow server, which is the only process with the keys of the store."""
    port = free_port()
    given = ("--host", HOST, "--port", port, "--workers", 1)
    places = ("--backend-store-uri", address, "--artifacts-destination", f"s3://{BUCKET}")
    program = Path(sys.executable).with_name("mlflow")
    more = {
        "AWS_ENDPOINT_URL": f"http://{HOST}:{store}",
        "AWS_MAX_ATTEMPTS": "2",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    variables = [f"{name}={value}" for name, value in {**keys, **more}.items()]
    command = ("env", *variables, program, "server", *given, *places)
    server = Server(command, port, folder / "tracking.log")
    try:
        server.start()
        await_ready(f"http://{HOST}:{port}/health", server.runs)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def services(record: Record) -> Iterator[list[Service]]:
    """Two services with separate state folders."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(_service(record, name)) for name in ("first", "second")]


@contextlib.contextmanager
def _service(record: Record, name: str) -> Iterator[Service]:
    folder = record.folder / f"service-{name}"
    folder.mkdir()
    settings = record.environment(name)
    query = ("--model", f"models:/{NAME}@champion")
    with serving(*query, environment=settings, folder=folder) as service:
        yield service


def label_places(service: Service) -> tuple[str, list[Any]]:
    """Label fixed entities; returns the version in service and its results."""
    names = pq.read_table(BRANDS)["name"].slice(0, ENTITIES).to_pylist()
    entities = [{"id": str(number), "name": name} for number, name in enumerate(names)]
    with service.client() as client:
        response = client.post("/v1/labels", json={"entities": entities})
    response.raise_for_status()
    content = response.json()
    return content["model"]["version"], content["results"]


class Load:
    """Sends requests to services in a loop until the context ends."""

    def __init__(self, services: list[Service]) -> None:
        self.predictions: list[tuple[str, list[Any]]] = []
        self.failed: list[str] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._send_requests, args=(one,)) for one in services
        ]

    def _send_requests(self, service: Service) -> None:
        while not self._stop.is_set():
            try:
                self.predictions.append(label_places(service))
            except httpx.HTTPError as error:
                self.failed.append(repr(error))
            time.sleep(0.02)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)


def expected_results(record: Record, version: str, folder: Path) -> list[Any]:
    """The results of a version for the fixed entities, from a separate service."""
    folder.mkdir()
    settings = record.environment("right")
    with serving(
        "--model", f"models:/{NAME}/{version}", environment=settings, folder=folder
    ) as one:
        return label_places(one)[1]


def test_two_services_give_correct_results_during_a_promotion(
    record: Record, services: list[Service], tmp_path: Path
) -> None:
    more = ("--seed", 1, "--threads", 1, "--no-promote")
    with Load(services) as load:
        trained = record.run("train", "--data", record.data, "--name", NAME, *more)
        promoted = record.run("promote", NAME, 2, "--force")
    assert trained.code == 0, trained.err
    assert promoted.code == 0, promoted.err
    assert record.versions() == {"1": False, "2": True}
    assert not load.failed
    assert len(load.predictions) > 5
    served = {version for version, _ in load.predictions}
    assert served <= {"1", "2"}
    expected = {
        version: expected_results(record, version, tmp_path / version) for version in served
    }
    for version, results in load.predictions:
        assert results == expected[version]
    assert not list(
        (record.folder / "training").glob("artifacts/*")
    )  # all artifacts are in the store


@pytest.mark.parametrize("away", ["database", "store"])
def test_a_lost_server_stops_the_training_but_not_the_services(
    record: Record, services: list[Service], away: str
) -> None:
    before = record.versions()
    place = {
        "database": "labelwright.training.tracking.runs:experiment_id_of",
        "store": "labelwright.training.tracking.record:write_run",
    }[away]
    server = record.database if away == "database" else record.store
    arguments = ("train", "--data", record.data, "--name", NAME, "--seed", 2, "--threads", 1)
    training = subprocess.Popen(
        signalling_command(place, "before", signal.SIGSTOP, *arguments),
        env=record.environment("training"),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        await_stop(training.pid)
        server.stop(signal.SIGINT)
        with Load(services) as load:
            os.kill(training.pid, signal.SIGCONT)
            lines = training.communicate(timeout=400)[1].splitlines()
            fresh = record.run("label", record.data, "-", "--model", f"models:/{NAME}@champion")
    finally:
        training.kill()
        training.wait()
        server.start()
    assert training.returncode in (5, 6), lines
    assert len(lines) == 1, lines
    assert lines[0].startswith("labelwright: "), lines
    if away == "database":
        assert fresh.code == 5, fresh.err
        assert len(fresh.err.splitlines()) == 1, fresh.err
    assert len(load.predictions) > 5
    assert not load.failed

    assert record.versions() == before
    repeated = record.run(*arguments)
    assert repeated.code == 0, repeated.err
    assert len(record.versions()) == len(before) + 1


def await_stop(process: int) -> None:
    """Wait until a process is in the stopped state."""
    deadline = time.monotonic() + 2 * PATIENCE
    while (status := psutil.Process(process).status()) != psutil.STATUS_STOPPED:
        assert status != psutil.STATUS_ZOMBIE, "the training has ended before"
        assert time.monotonic() < deadline, "the training does not come to that point"
        time.sleep(0.05)
