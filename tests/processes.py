"""Runs the command line and the service as separate processes."""

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import httpx

LABELWRIGHT = str(Path(sys.executable).with_name("labelwright"))
HOST = "127.0.0.1"
PATIENCE = 240.0
"""Seconds to wait for a process or a service before a test fails; enough for busy machines."""


@dataclasses.dataclass(frozen=True)
class CommandResult:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


class Command(Protocol):
    """A function that runs a command in the test process, which has loaded all libraries."""

    def __call__(self, *arguments: object) -> CommandResult: ...


def spawn(
    *arguments: object, environment: Mapping[str, str], timeout: float = PATIENCE, **more: Any
) -> CommandResult:
    """Run a command in a separate process."""
    done = subprocess.run(
        [LABELWRIGHT, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        **more,
    )
    return CommandResult(done.returncode, done.stdout, done.stderr)


@dataclasses.dataclass(frozen=True)
class FirstVisit:
    """The result of `serve` in an unused state folder, and that folder afterwards."""

    result: CommandResult
    home: Path


def environment(home: Path) -> dict[str, str]:
    """The environment of this process with another state folder and no other setting of ours."""
    ours = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "LABELWRIGHT_")
    given = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**given, "LABELWRIGHT_HOME": str(home)}


@dataclasses.dataclass(frozen=True)
class Service:
    """A ready service: its process, its port, and the file with its output."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Base URL of the service."""
        return f"http://{HOST}:{self.port}"

    def client(self) -> httpx.Client:
        """An HTTP client for the service."""
        return httpx.Client(base_url=self.url, timeout=60)

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Stop the process and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(by)
        return self.process.wait(PATIENCE)


@contextlib.contextmanager
def serving(*arguments: object, environment: Mapping[str, str], folder: Path) -> Iterator[Service]:
    """Run `labelwright serve` in `folder` on a free port until the end of the block."""
    port, log = free_port(), folder / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [LABELWRIGHT, "serve", "--port", str(port), *map(str, arguments)],
            env=environment,
            cwd=folder,
            stdout=output,
            stderr=output,
        )
    service = Service(process, port, log)
    try:
        await_ready(f"{service.url}/readyz", lambda: process.poll() is None)
        yield service
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def await_ready(url: str, alive: Callable[[], bool]) -> None:
    """Wait until a URL returns status 200; fail if the process is not alive or needs too long."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if not alive():
            raise AssertionError(f"the process behind {url} has ended")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url).status_code == httpx.codes.OK:
                return
        time.sleep(0.1)
    raise AssertionError(f"{url} did not return 200 within {PATIENCE:.0f} s")


def await_port(port: int, alive: Callable[[], bool]) -> None:
    """Wait until a process listens on a local port; fail if the process is not alive."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if not alive():
            raise AssertionError(f"the process for port {port} has ended")
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
            return
        time.sleep(0.1)
    raise AssertionError(f"no process listens on port {port}")


def free_port() -> int:
    """A free local port."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


_SIGNALLING_PROGRAM = """
import importlib, os, sys

place, moment, number, *arguments = sys.argv[1:]
module, _, name = place.partition(":")
owner = importlib.import_module(module)
*owners, function = name.split(".")
for each in owners:
    owner = getattr(owner, each)
original = getattr(owner, function)


def signalling(*given, **named):
    if moment == "after":
        original(*given, **named)
    os.kill(os.getpid(), int(number))
    return original(*given, **named)


setattr(owner, function, signalling)
from labelwright.__main__ import main

sys.exit(main(arguments))
"""


def signalling_command(
    place: str, moment: str, by: signal.Signals, *arguments: object
) -> list[str]:
    """Arguments of a process that sends itself a signal when it first calls a function.

    `place` is `module:function` or `module:Class.method`. The signal is sent before the call or, if
    `moment` is "after", after the call. This interrupts a command exactly between two steps.
    """
    return [
        sys.executable,
        "-c",
        _SIGNALLING_PROGRAM,
        place,
        moment,
        str(by.value),
        *map(str, arguments),
    ]


def run_signalled(
    place: str,
    moment: str,
    by: signal.Signals,
    *arguments: object,
    environment: Mapping[str, str],
    timeout: float = PATIENCE,
) -> CommandResult:
    """Run a command that sends itself a signal, as in `signalling_command`."""
    done = subprocess.run(
        signalling_command(place, moment, by, *arguments),
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return CommandResult(done.returncode, done.stdout, done.stderr)
