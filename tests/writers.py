"""Processes that write corrections until they are killed, for tests of durability."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable

_WRITER = """
import dataclasses, os, sys
import pyarrow.parquet, sqlalchemy.dialects.sqlite
from labelwright.entities.corrections import Correction, CorrectionStore

url = sys.argv[1]
for line in sys.stdin:
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        print("dead", flush=True)
        continue
    print(os.getpid(), flush=True)
    store = CorrectionStore(url)
    for number in range(1_000_000):
        key = f"{line.strip()}-{number}"
        labels = [{"label": "a", "probability": 0.5, "asserted": True}] * 20
        store.add(Correction(key, "0" * 64, "anna", "e", "{}", ["a"], [], [], {}, labels))
        print(key, flush=True)
"""


def kills(count: int, seed: int) -> list[float]:
    """`count` random delays between the first acknowledged correction and the kill, in seconds."""
    return [random.Random(seed + n).uniform(0, 0.1) for n in range(count)]


def acknowledged(url: str, moments: Iterable[float]) -> set[str]:
    """Keys of all corrections that were acknowledged before their writer was killed.

    `moments` are the delays of the kills in seconds. One writer runs at a time, and the next one
    starts after each kill. Writers are forked from a process that has imported all modules, so a
    start needs only milliseconds.
    """
    found: set[str] = set()
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for turn, moment in enumerate(moments):
            process.stdin.write(f"{turn}\n")
            child = int(process.stdout.readline())
            found.add(process.stdout.readline().strip())
            time.sleep(moment)
            os.kill(child, signal.SIGKILL)
            for line in process.stdout:
                if line.strip().endswith("dead"):
                    break
                found.add(line.strip())
        process.stdin.close()
    return found
