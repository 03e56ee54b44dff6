"""Run a command with a time limit, and measure its memory."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

SAMPLING_SECONDS = 0.05
"""Seconds between two samples of the memory."""
GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""


class ProcessError(Exception):
    """A process failed; the message is the last line of its output."""


class ProcessTimeoutError(Exception):
    """A process did not finish within its time limit and was stopped."""


@dataclasses.dataclass(frozen=True)
class Usage:
    """Wall seconds of a command, and the peak of the summed resident memory of its processes."""

    seconds: float
    peak_bytes: int


def run_measured(
    command: Sequence[str],
    seconds: float,
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Usage:
    """Run a command until it exits, and write its output to `log`.

    Raises ProcessTimeoutError after `seconds`, and ProcessError if the exit code is not 0. In all
    cases, all processes of the command are stopped.
    """
    started = time.monotonic()
    peak = 0
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    try:
        while process.poll() is None:
            if time.monotonic() - started > seconds:
                raise ProcessTimeoutError(f"not finished in {seconds / 60:g} minutes")
            peak = max(peak, sum(resident_bytes(process.pid).values()))
            time.sleep(SAMPLING_SECONDS)
    finally:
        _stop(process)
    if process.returncode:
        raise ProcessError(last_line(log) or f"ended with code {process.returncode}")
    return Usage(time.monotonic() - started, peak)


def last_line(log: Path) -> str:
    """The last line of a log that is not blank, shortened to 200 characters."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")[:200]


def resident_bytes(pid: int) -> dict[int, int]:
    """Resident memory of a process and of its descendants, by process id."""
    found = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                found[process.pid] = process.memory_info().rss
    return found


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop all processes of a session; children may still run after their parent has exited."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
