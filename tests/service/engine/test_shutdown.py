"""Tests of the shutdown after one signal and after two signals."""

import dataclasses
import json
import signal
import socket
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.processes import PATIENCE, environment, serving
from tests.service.test_app import begin_request, body, connected
from tests.service.waiting import wait_until

pytest_plugins = ["tests.worlds"]

READY = ("/readyz", "/v2/health/ready", "/ping", "/health")
"""Paths that load balancers and clients poll for readiness."""


@dataclasses.dataclass(frozen=True)
class Stopped:
    """Responses, exit code and log of a service that was stopped while it read a request.

    `ready` has the responses of the READY paths after the signal, and `response` the response to
    the running request. `seconds` is the time from that response to the end of the process.
    """

    ready: list[httpx.Response]
    response: bytes
    code: int
    seconds: float
    log: str


def read_all(connection: socket.socket) -> bytes:
    """All data until the service closes the connection."""
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


@pytest.fixture(scope="module")
def stopped(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """Stop a service while it reads a request, and collect its last responses."""
    folder = tmp_path_factory.mktemp("stopped")
    with (
        serving("--model", bundle, environment=environment(folder), folder=folder) as service,
        connected(service) as connection,
        service.client() as client,
    ):
        begin_request(connection, body())
        service.process.send_signal(signal.SIGTERM)
        ready = [client.get(path) for path in READY]
        wait_until(lambda: "Shutting down" in service.log.read_text())
        connection.sendall(body())
        response = read_all(connection)
        started = time.monotonic()
        code = service.process.wait(PATIENCE)
        return Stopped(ready, response, code, time.monotonic() - started, service.log.read_text())


def test_a_stopping_service_is_not_ready(stopped: Stopped) -> None:
    for ready in stopped.ready:
        assert ready.status_code == 503
        assert "stopping" in ready.text
        assert ready.headers["connection"] == "close"  # so that the client connects elsewhere


def test_a_running_request_is_finished_before_the_service_stops(
    stopped: Stopped,
) -> None:
    head, _, content = stopped.response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(content)["results"][0]["labels"]
    assert stopped.seconds < PATIENCE / 3
    assert "Traceback" not in stopped.log


def test_a_stopped_service_exits_with_0(stopped: Stopped) -> None:
    assert stopped.code == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_signal_ends_the_service_at_once(
    bundle: Path, tmp_path: Path, workers: int
) -> None:
    with (
        serving(
            "--model", bundle, "--workers", workers, environment=environment(tmp_path),
            folder=tmp_path,
        ) as service,
        connected(service) as connection,
    ):  # fmt: skip
        begin_request(connection, body())
        children = psutil.Process(service.process.pid).children(recursive=True)
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "Shutting down" in service.log.read_text())
        assert service.process.poll() is None  # the service waits for the body of the request
        assert service.stop() == -signal.SIGTERM
        assert read_all(connection) == b""
    assert not psutil.wait_procs(children, timeout=10)[1]
    assert "Traceback" not in service.log.read_text()
