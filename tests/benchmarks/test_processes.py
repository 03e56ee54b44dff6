"""Commands are measured with all their processes, and are stopped at the time limit."""

import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.processes import ProcessError, ProcessTimeoutError, run_measured

SLEEPS = "import time; time.sleep(60)"


def _python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_memory_includes_child_processes(tmp_path: Path) -> None:
    inner = "b = bytearray(b'x' * 80_000_000); import time; time.sleep(0.5)"
    outer = (
        "b = bytearray(b'x' * 60_000_000); import subprocess, sys;"
        f"subprocess.run([sys.executable, '-c', {inner!r}], check=True)"
    )
    ran = run_measured(_python(outer), 60, tmp_path / "log")
    assert 140_000_000 < ran.peak_bytes < 400_000_000
    assert 0.5 < ran.seconds < 60


def test_at_the_time_limit_a_command_and_its_children_are_stopped(tmp_path: Path) -> None:
    file = tmp_path / "child"
    code = (
        "import pathlib, subprocess, sys;"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEPS!r}]);"
        f"pathlib.Path({str(file)!r}).write_text(str(child.pid)); child.wait()"
    )
    started = time.monotonic()
    with pytest.raises(ProcessTimeoutError, match="not finished in"):
        run_measured(_python(code), 3, tmp_path / "log")
    assert time.monotonic() - started < 30
    child = int(file.read_text("utf-8"))
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_error_about_a_failed_command_has_the_last_line_of_its_output(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="ValueError: no luck"):
        run_measured(_python("raise ValueError('no luck')"), 60, tmp_path / "log")
    with pytest.raises(ProcessError, match="code 3"):
        run_measured(_python("raise SystemExit(3)"), 60, tmp_path / "log")
