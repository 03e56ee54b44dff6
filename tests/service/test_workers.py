"""Tests of several workers on one port: restarts, model changes and shutdown."""

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
from tests.service.waiting import wait_until

pytest_plugins = ["tests.worlds"]

BODY = {"entities": [{"name": "Joe's Pizza", "country": "US"}]}


@pytest.fixture(scope="module")
def models(
    bundle: Path, first_visit: FirstVisit, tmp_path_factory: pytest.TempPathFactory
) -> Registry:
    """The registry whose alias the workers follow."""
    home = tmp_path_factory.mktemp("registry") / "home"
    return registry(bundle, home, first_visit.home / "mlflow.db")


@pytest.fixture(scope="module")
def workers(models: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two workers that follow an alias."""
    folder = tmp_path_factory.mktemp("workers")
    options = ("--model", URI, "--poll", 0.1, "--workers", 2)
    with serving(*options, environment=environment(models.home), folder=folder) as service:
        wait_until(lambda: service.log.read_text().count("startup complete") == 2)
        yield service


def pids(service: Service) -> set[int]:
    """Process ids of a service's workers: the child processes that map a bundle's arrays."""
    found = set()
    for child in psutil.Process(service.process.pid).children():
        with contextlib.suppress(psutil.Error):  # the child has just ended
            if any(Path(file.path).suffix == ".npy" for file in child.memory_maps()):
                found.add(child.pid)
    return found


def is_ready(service: Service) -> bool:
    """Assert that the service responds as ready on a new connection; returns True."""
    with service.client() as client:
        assert client.get("/readyz").status_code == 200
    return True


def _versions(service: Service, times: int = 20) -> set[str]:
    """The versions of the model that label the requests of new connections."""
    found = set()
    for _ in range(times):
        with service.client() as client:
            found.add(client.post("/v1/labels", json=BODY).json()["model"]["version"])
    return found


def await_version(service: Service, version: str) -> None:
    """Wait until all workers respond with a version of the model."""
    wait_until(lambda: _versions(service) == {version})


def test_a_killed_worker_is_replaced_and_breaks_only_its_own_connections(workers: Service) -> None:
    stop, started, errors = threading.Event(), threading.Barrier(5), []

    def work() -> int:
        """Send requests on one connection after another, and count the responses."""
        responses = 0
        while not stop.is_set():
            try:
                with workers.client() as client:
                    for _ in range(20):
                        response = client.post("/v1/labels", json=BODY)
                        assert response.status_code == 200
                        assert response.json()["model"]["version"] == SOUND
                        assert response.json()["results"][0]["labels"]
                        responses += 1
                        if responses == 1:
                            started.wait(PATIENCE)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
                errors.append(error)
        return responses

    victim = min(pids(workers))
    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(work) for _ in range(4)]
        try:
            started.wait(PATIENCE)
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: is_ready(workers) and len(pids(workers) - {victim}) == 2)
        finally:
            stop.set()
        assert all(done.result() for done in working)
    assert len(errors) <= 4
    assert len(pids(workers)) == 2


def test_a_worker_that_dies_during_its_health_check_is_replaced_at_once(workers: Service) -> None:
    before = pids(workers)
    victim = min(before)
    os.kill(victim, signal.SIGSTOP)
    time.sleep(2)  # the supervisor checks every half second: it now waits for the worker's reply
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(pids(workers) - {victim}) == 2, WORKER_SECONDS / 2)


def test_all_workers_load_the_model_of_the_alias(workers: Service, models: Registry) -> None:
    for version in (RENAMED, SOUND):
        models.point(version)
        await_version(workers, version)


def test_no_worker_imports_mlflow_pandas_or_scipy(workers: Service) -> None:
    for pid in pids(workers):
        files = [file.path for file in psutil.Process(pid).memory_maps()]
        skipped = ("/pandas/", "/scipy/linalg/", "/_upb/")  # MLflow imports the last one
        assert not [path for path in files if any(part in path for part in skipped)]


def test_workers_stop_when_their_supervisor_is_killed(bundle: Path, tmp_path: Path) -> None:
    options = ("--model", bundle, "--workers", 2)
    with serving(*options, environment=environment(tmp_path / "home"), folder=tmp_path) as service:
        children = psutil.Process(service.process.pid).children(recursive=True)
        service.process.kill()
        service.process.wait()
        assert not psutil.wait_procs(children, timeout=PATIENCE)[1]
