"""Tests of trainings that are interrupted at random moments during their start."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import BRANDS
from tests.processes import PATIENCE, environment
from tests.repeats import repeats

pytestmark = [pytest.mark.integration, pytest.mark.repeated, pytest.mark.timeout(1800)]

TIMES = repeats(4, 100)
BEGINNING = 1.0
"""Seconds that a training needs for its imports."""
WITHIN = 10.0
"""Limit in seconds; an uninterrupted training takes twice as long."""


@pytest.mark.parametrize(
    ("by", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["terminated", "Ctrl-C"]
)
def test_an_interrupt_during_the_start_ends_the_training(
    tmp_path: Path, by: signal.Signals, code: int
) -> None:
    chance = random.Random(by)
    for attempt in range(TIMES):
        process = subprocess.Popen(
            [sys.executable, "-m", "labelwright", "train", "--data", BRANDS, "--name", "m"],
            env=environment(tmp_path / str(attempt)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        _await_handler(process)
        time.sleep(chance.uniform(0, BEGINNING))
        process.send_signal(by)
        sent = time.monotonic()
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out, err) == (code, "", "labelwright: interrupted\n")
        assert time.monotonic() - sent < WITHIN


def _await_handler(process: subprocess.Popen[str]) -> None:
    """Wait until the process handles SIGTERM, which is shortly before its command starts."""
    deadline = time.monotonic() + PATIENCE
    status = Path(f"/proc/{process.pid}/status")
    while time.monotonic() < deadline:
        words = status.read_text().split()
        handled = int(words[words.index("SigCgt:") + 1], 16)
        if handled >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.01)
    raise AssertionError("no command begins")
