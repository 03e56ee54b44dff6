"""SIGINT and SIGTERM in situations in which Python would lose or replace the exception."""

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
"""The source of a module `secrets`, which a compiled module of NumPy imports."""


def run(work: str, folder: Path, imported: str = "", then: str = "") -> tuple[int, list[str]]:
    """Run a script that does `work`; returns the exit code and the printed lines."""
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
    ids=["statement", "finalizer", "exec", "import", "second signal in a compiled import"],
)
def test_a_signal_ends_the_work_at_any_moment(work: str, tmp_path: Path) -> None:
    assert run(work, tmp_path, "interrupt(); interrupt()") == (9, ["SIGTERM"])


def test_a_signal_during_a_compiled_import_raises_after_the_import(tmp_path: Path) -> None:
    code, lines = run("import numpy.random; time.sleep(60)", tmp_path, "interrupt()")
    assert (code, lines) == (9, ["imported", "SIGTERM"])


def test_a_signal_that_still_waits_at_the_end_of_the_work_is_dropped(tmp_path: Path) -> None:
    work = "import labelwright.interrupts as module; module.RETRY_SECONDS = 0.3; Thing()"
    assert run(work, tmp_path, then="time.sleep(0.6)") == (0, ["done"])


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    assert run("interrupt(signal.SIGINT)", tmp_path) == (0, ["done"])
