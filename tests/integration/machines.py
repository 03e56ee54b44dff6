"""What integration tests need of the machine they run on."""

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
"""The commands that make a fresh Debian and use it, and how to get them."""


def need(commands: Mapping[str, str]) -> None:
    """Skip where this is not root or a command is missing; in CI that is a failure."""
    missing = [word for command, word in commands.items() if shutil.which(command) is None]
    if os.geteuid() != 0:
        missing.append("root: run pytest with sudo")
    if missing:
        _stop(f"this test needs {', '.join(missing)}")


def postgresql() -> Path:
    """The folder of the newest PostgreSQL server's programs; skips or fails as `need` does."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_major)
    if not found:
        _stop("this test needs a PostgreSQL server: apt-get install postgresql")
    return found[-1].parent


def need_package(name: str) -> None:
    """Skip where a Python package is missing; in CI that is a failure."""
    if importlib.util.find_spec(name) is None:
        _stop(f"this test needs {name}: pip install {name}")


def need_command(name: str, install: str) -> None:
    """Skip where a command is missing, and say how to get it; in CI that is a failure."""
    if shutil.which(name) is None:
        _stop(f"this test needs {name}: {install}")


def _major(program: Path) -> int:
    return int(program.parts[-3])


def _stop(word: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(word)
    pytest.skip(word)


def prove(
    script: Path, environment: Mapping[str, str], capture: pytest.CaptureFixture[str]
) -> None:
    """Run a script that ends with 0 when it has proven its claim, and let its words be seen."""
    need(DEBIAN)
    settings = {**os.environ, **environment}
    with capture.disabled(), subprocess.Popen([script], env=settings) as process:
        try:
            code = process.wait()
        finally:
            process.terminate()  # it cleans up behind itself
    assert code == 0, f"{script.name} ended with {code}; what it said is in the output above"
