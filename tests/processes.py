"""The command line and the service as processes of their own."""

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


@dataclasses.dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str


class Command(Protocol):
    """Runs a command line in this process, where libraries are imported and kernels compiled."""

    def __call__(self, *arguments: object) -> Said: ...


def spawn(
    *arguments: object, environment: Mapping[str, str], timeout: float = PATIENCE, **more: Any
) -> Said:
    """Run a command in a process of its own."""
    done = subprocess.run(
        [LABELWRIGHT, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        **more,
    )
    return Said(done.returncode, done.stdout, done.stderr)


@dataclasses.dataclass(frozen=True)
class FirstVisit:
    """What `serve` says in a state folder that has never been used, and what it leaves there."""

    said: Said
    home: Path


def environment(home: Path) -> dict[str, str]:
    """The environment of a process with that state folder, and no other settings of ours."""
    ours = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "LABELWRIGHT_")
    given = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**given, "LABELWRIGHT_HOME": str(home)}


@dataclasses.dataclass(frozen=True)
class Service:
    """A service that answers, its process, and the file with what it says on standard error."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}"

    def client(self) -> httpx.Client:
        """A client that knows where it answers."""
        return httpx.Client(base_url=self.url, timeout=60)

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Stop it; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(by)
        return self.process.wait(PATIENCE)


@contextlib.contextmanager
def serving(*arguments: object, environment: Mapping[str, str], folder: Path) -> Iterator[Service]:
    """`labelwright serve` on a free port, from the moment it is ready; `folder` is its own."""
    port, log = free_port(), folder / "service.log"
    with log.open("wb") as words:
        process = subprocess.Popen(
            [LABELWRIGHT, "serve", "--port", str(port), *map(str, arguments)],
            env=environment,
            cwd=folder,
            stdout=words,
            stderr=words,
        )
    service = Service(process, port, log)
    try:
        await_answer(f"{service.url}/readyz", lambda: process.poll() is None)
        yield service
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def await_answer(url: str, alive: Callable[[], bool]) -> None:
    """Wait until a URL answers 200."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if not alive():
            raise AssertionError(f"the process that should answer {url} has ended")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url).status_code == httpx.codes.OK:
                return
        time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


def await_port(port: int, alive: Callable[[], bool]) -> None:
    """Wait until somebody listens on a port of this machine."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if not alive():
            raise AssertionError(f"the process that should listen on port {port} has ended")
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
            return
        time.sleep(0.1)
    raise AssertionError(f"nobody listens on port {port}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


_STRUCK = """
import importlib, os, sys

place, moment, number, *arguments = sys.argv[1:]
module, _, name = place.partition(":")
owner = importlib.import_module(module)
*owners, function = name.split(".")
for each in owners:
    owner = getattr(owner, each)
whole = getattr(owner, function)


def struck(*given, **named):
    if moment == "after":
        whole(*given, **named)
    os.kill(os.getpid(), int(number))
    return whole(*given, **named)


setattr(owner, function, struck)
from labelwright.__main__ import main

sys.exit(main(arguments))
"""


def striking(place: str, moment: str, by: signal.Signals, *arguments: object) -> list[str]:
    """A command line that gets a signal right before or `after` its first call of a function.

    `place` is `module:function` or `module:Class.method`: nothing else can tell when a process is
    between two steps.
    """
    return [sys.executable, "-c", _STRUCK, place, moment, str(by.value), *map(str, arguments)]


def struck(
    place: str,
    moment: str,
    by: signal.Signals,
    *arguments: object,
    environment: Mapping[str, str],
    timeout: float = PATIENCE,
) -> Said:
    """Run `striking` in a process of its own to its end."""
    done = subprocess.run(
        striking(place, moment, by, *arguments),
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return Said(done.returncode, done.stdout, done.stderr)
