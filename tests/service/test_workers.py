"""Several workers on one port: one that dies costs its own clients their connection, no more."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from labelwright.service.server import WORKER_SECONDS
from tests.processes import PATIENCE, FirstVisit, Service, environment, serving
from tests.service.registered import RENAMED, SOUND, URI, Registry, registry

pytest_plugins = ["tests.worlds"]

REPLACED_WITHIN = 240.0
"""Seconds; a new worker shares two cores with the load, and with whatever else the machine does."""
BODY = {"entities": [{"name": "Joe's Pizza", "country": "US"}]}


@pytest.fixture(scope="module")
def models(
    bundle: Path, first_visit: FirstVisit, tmp_path_factory: pytest.TempPathFactory
) -> Registry:
    """The registry that the workers' service follows."""
    home = tmp_path_factory.mktemp("registry") / "home"
    return registry(bundle, home, first_visit.home / "mlflow.db")


@pytest.fixture(scope="module")
def workers(models: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two workers that follow an alias."""
    folder = tmp_path_factory.mktemp("workers")
    given = ("--model", URI, "--poll", 0.1, "--workers", 2)
    with serving(*given, environment=environment(models.home), folder=folder) as service:
        both = time.monotonic() + REPLACED_WITHIN
        while service.log.read_text().count("startup complete") < 2:
            assert time.monotonic() < both
            time.sleep(0.1)
        yield service


def pids(service: Service) -> set[int]:
    """The workers of a service: its children that hold a bundle."""
    found = set()
    for child in psutil.Process(service.process.pid).children():
        with contextlib.suppress(psutil.Error):  # one that has just died
            if any(Path(file.path).suffix == ".npy" for file in child.memory_maps()):
                found.add(child.pid)
    return found


def _versions(service: Service, times: int = 20) -> set[str]:
    """Which versions answer on new connections."""
    found = set()
    for _ in range(times):
        with service.client() as client:
            found.add(client.post("/v1/labels", json=BODY).json()["model"]["version"])
    return found


def _await_versions(service: Service, versions: set[str]) -> None:
    deadline = time.monotonic() + REPLACED_WITHIN
    while _versions(service) != versions:
        assert time.monotonic() < deadline


def test_a_killed_worker_costs_its_clients_a_connection_and_is_replaced(workers: Service) -> None:
    over, closed = threading.Event(), []

    def work() -> int:
        """Ask on one connection after another, and take nothing but an answer or its end."""
        answered = 0
        while not over.is_set():
            try:
                with workers.client() as client:
                    for _ in range(20):
                        response = client.post("/v1/labels", json=BODY)
                        assert response.status_code == 200
                        assert response.json()["model"]["version"] == SOUND
                        assert response.json()["results"][0]["labels"]
                        answered += 1
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
                closed.append(error)
        return answered

    victim = min(pids(workers))
    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(work) for _ in range(4)]
        try:
            time.sleep(1)
            os.kill(victim, signal.SIGKILL)
            deadline = time.monotonic() + REPLACED_WITHIN
            while len(pids(workers) - {victim}) < 2:
                assert time.monotonic() < deadline
                with workers.client() as client:
                    assert client.get("/readyz").status_code == 200
                time.sleep(0.5)
        finally:
            over.set()
        assert all(done.result() for done in working)
    assert len(closed) <= 4
    assert len(pids(workers)) == 2


def test_who_dies_while_it_is_asked_whether_it_lives_is_replaced_at_once(workers: Service) -> None:
    before = pids(workers)
    victim = min(before)
    os.kill(victim, signal.SIGSTOP)
    time.sleep(2)  # the supervisor asks every half second, and now waits for an answer
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    while len(pids(workers) - {victim}) < 2:
        assert time.monotonic() < killed + WORKER_SECONDS / 2
        time.sleep(0.2)


def test_every_worker_takes_the_new_model(workers: Service, models: Registry) -> None:
    for version in (RENAMED, SOUND):
        models.point(version)
        _await_versions(workers, {version})


def test_no_worker_imports_mlflow_pandas_or_scipy(workers: Service) -> None:
    for pid in pids(workers):
        files = [file.path for file in psutil.Process(pid).memory_maps()]
        foreign = ("/pandas/", "/scipy/linalg/", "/_upb/")  # the last one is of MLflow
        assert not [path for path in files if any(part in path for part in foreign)]


def test_workers_end_with_their_supervisor(bundle: Path, tmp_path: Path) -> None:
    given = ("--model", bundle, "--workers", 2)
    with serving(*given, environment=environment(tmp_path / "home"), folder=tmp_path) as service:
        children = psutil.Process(service.process.pid).children(recursive=True)
        service.process.kill()
        service.process.wait()
        assert not psutil.wait_procs(children, timeout=PATIENCE)[1]
