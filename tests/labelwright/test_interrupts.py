"""Signals that end the work, at the moments when an exception would be lost or misread."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import PATIENCE

SCRIPT = """
import os, signal, sys, time
from labelwright.interrupts import interruptible

def interrupt(by=signal.SIGTERM):
    os.kill(os.getpid(), by)

class Thing:
    def __del__(self):
        interrupt()

sys.modules["script"] = sys.modules["__main__"]
signal.signal(signal.SIGINT, signal.SIG_IGN)
with interruptible() as interrupts:
    try:
        {work}
    except KeyboardInterrupt:
        print(interrupts.number.name)
        sys.exit(9)
{then}
print("done")
"""
SECRETS = """
from random import getrandbits as randbits
from script import interrupt
{}
print("imported")
"""
"""What a compiled module of NumPy's imports when it is imported itself."""


def run(work: str, folder: Path, imported: str = "", then: str = "") -> tuple[int, list[str]]:
    """The exit code and the lines of a script that does some work."""
    (folder / "secrets.py").write_text(SECRETS.format(imported))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(work=work, then=then)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert not done.stderr
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize(
    "work",
    [
        *("interrupt()", "Thing(); time.sleep(60)", "exec('interrupt()')", "import secrets"),
        "import numpy.random",
    ],
    ids=["any", "finalizer", "exec", "import", "twice"],
)
def test_an_interrupt_ends_the_work_at_any_moment(work: str, tmp_path: Path) -> None:
    assert run(work, tmp_path, "interrupt(); interrupt()") == (9, ["SIGTERM"])


def test_one_that_comes_while_a_compiled_module_is_imported_waits_for_its_end(
    tmp_path: Path,
) -> None:
    code, lines = run("import numpy.random; time.sleep(60)", tmp_path, "interrupt()")
    assert (code, lines) == (9, ["imported", "SIGTERM"])


def test_one_that_waits_when_all_is_done_changes_nothing(tmp_path: Path) -> None:
    work = "import labelwright.interrupts as module; module._AGAIN = 0.3; Thing()"
    assert run(work, tmp_path, then="time.sleep(0.6)") == (0, ["done"])


def test_one_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    assert run("interrupt(signal.SIGINT)", tmp_path) == (0, ["done"])
