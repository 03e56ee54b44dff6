"""How the service stops: what is under way is answered, what is impatient is obeyed."""

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

pytest_plugins = ["tests.worlds"]

READY = ("/readyz", "/v2/health/ready", "/ping", "/health")
"""Where those who send requests ask whether to."""


@dataclasses.dataclass(frozen=True)
class Stopped:
    """What was said by a service that was told to stop while it read a request, and its end."""

    ready: list[httpx.Response]
    response: bytes
    code: int
    seconds: float
    log: str


def everything(caller: socket.socket) -> bytes:
    """What is sent until the connection is closed."""
    return b"".join(iter(lambda: caller.recv(1 << 16), b""))


@pytest.fixture(scope="module")
def stopped(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """A service that was told to stop while it read a request."""
    folder = tmp_path_factory.mktemp("stopped")
    with (
        serving("--model", bundle, environment=environment(folder), folder=folder) as service,
        connected(service) as caller,
        service.client() as client,
    ):
        begin_request(caller, body())
        service.process.send_signal(signal.SIGTERM)
        ready = [client.get(path) for path in READY]
        while "Shutting down" not in service.log.read_text():
            time.sleep(0.05)
        caller.sendall(body())
        response = everything(caller)
        started = time.monotonic()
        code = service.process.wait(PATIENCE)
        return Stopped(ready, response, code, time.monotonic() - started, service.log.read_text())


def test_it_is_not_ready_any_more_as_soon_as_it_is_told_to_stop(stopped: Stopped) -> None:
    for ready in stopped.ready:
        assert ready.status_code == 503
        assert "stopping" in ready.text
        assert ready.headers["connection"] == "close"  # that the next request goes elsewhere


def test_a_request_that_is_under_way_is_answered_before_the_service_stops(
    stopped: Stopped,
) -> None:
    head, _, content = stopped.response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(content)["results"][0]["labels"]
    assert stopped.seconds < PATIENCE / 3
    assert "Traceback" not in stopped.log


def test_being_told_to_stop_is_no_failure(stopped: Stopped) -> None:
    assert stopped.code == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_being_told_twice_ends_it_at_once(bundle: Path, tmp_path: Path, workers: int) -> None:
    with (
        serving(
            "--model", bundle, "--workers", workers, environment=environment(tmp_path),
            folder=tmp_path,
        ) as service,
        connected(service) as caller,
    ):  # fmt: skip
        begin_request(caller, body())
        children = psutil.Process(service.process.pid).children(recursive=True)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert service.process.poll() is None
        assert service.stop() == -signal.SIGTERM
        assert everything(caller) == b""
    assert not psutil.wait_procs(children, timeout=10)[1]
    assert "Traceback" not in service.log.read_text()
