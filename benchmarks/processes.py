"""A process with a deadline, whose memory is watched."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

BEAT = 0.05
"""Seconds between two looks at the memory of the processes."""
GRACE = 10.0
"""Seconds between asking processes to end and ending them."""


class ProcessError(Exception):
    """A process failed; its last words are the message."""


class OutOfTimeError(Exception):
    """A process was ended at its deadline."""


@dataclasses.dataclass(frozen=True)
class Ran:
    """Wall seconds, and the largest sum of resident memory over the process and all below it."""

    seconds: float
    peak_bytes: int


def run_measured(
    command: Sequence[str],
    seconds: float,
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Ran:
    """Run a command to its end; its output goes to `log`.

    Raises OutOfTimeError or ProcessError; whatever happens, no process of it is left.
    """
    started = time.monotonic()
    peak = 0
    with log.open("wb") as words:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    try:
        while process.poll() is None:
            if time.monotonic() - started > seconds:
                raise OutOfTimeError(f"not finished in {seconds / 60:g} minutes")
            peak = max(peak, sum(resident(process.pid).values()))
            time.sleep(BEAT)
    finally:
        _end(process)
    if process.returncode:
        raise ProcessError(last_words(log) or f"ended with code {process.returncode}")
    return Ran(time.monotonic() - started, peak)


def last_words(log: Path) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")[:200]


def resident(pid: int) -> dict[int, int]:
    """Bytes of resident memory of a process and of all below it, by process."""
    found = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                found[process.pid] = process.memory_info().rss
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the whole session of a process: its leader may be gone and its children not."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
