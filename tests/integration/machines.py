"""Checks that the machine has the root rights, programs and packages that a test needs."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pytest

DEBIAN = {
    "bash": "bash: apt-get install bash",
    "debootstrap": "debootstrap: apt-get install debootstrap",
    "git": "git: apt-get install git",
    "ip": "ip: apt-get install iproute2",
    "unshare": "unshare: apt-get install util-linux",
}
"""Commands that make and enter a fresh Debian, with the installation of each."""


def need(commands: Mapping[str, str]) -> None:
    """Skip the test if it does not run as root or a command is missing; in CI, fail it.

    `commands` maps a command to a hint how to install it.
    """
    missing = [reason for command, reason in commands.items() if shutil.which(command) is None]
    if os.geteuid() != 0:
        missing.append("root: run pytest with sudo")
    if missing:
        _skip(f"this test needs {', '.join(missing)}")


def postgresql() -> Path:
    """The program folder of the newest PostgreSQL server; skips or fails the test without one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_major)
    if not found:
        _skip("this test needs a PostgreSQL server: apt-get install postgresql")
    return found[-1].parent


def need_package(name: str) -> None:
    """Skip the test if a Python package is missing; in CI, fail it."""
    if importlib.util.find_spec(name) is None:
        _skip(f"this test needs {name}: pip install {name}")


def need_command(name: str, install: str) -> None:
    """Skip the test if a command is missing; in CI, fail it. `install` is a hint for the user."""
    if shutil.which(name) is None:
        _skip(f"this test needs {name}: {install}")


def _major(program: Path) -> int:
    return int(program.parts[-3])


def _skip(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def prove(
    script: Path, environment: Mapping[str, str], capture: pytest.CaptureFixture[str]
) -> None:
    """Run a shell script, show its output, and assert that it exits with 0."""
    need(DEBIAN)
    settings = {**os.environ, **environment}
    with capture.disabled(), subprocess.Popen([script], env=settings) as process:
        try:
            code = process.wait()
        finally:
            process.terminate()  # after this signal, the script removes its files
    assert code == 0, f"{script.name} ended with {code}; its output is above"
