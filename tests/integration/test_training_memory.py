"""Tests that a training with a memory limit uses less memory and gives the same model."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks.training_memory import memory_of, write_synthetic

PLACES = Path(os.environ.get("LABELWRIGHT_DATA", "../shared/data")).resolve() / "places"
pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(1_800),
    pytest.mark.skipif(
        not PLACES.exists(), reason=f"no real places at {PLACES}: set LABELWRIGHT_DATA"
    ),
]
ROWS = 60_000
THREADS = 2
DUALS = ROWS * 128 * 4
"""Bytes of the dual variables of one thread; the other thread may not have allocated its own."""
FIT = """
import json, sys
from labelwright.entities.schema import load_schema
from labelwright.models.bundle.format import content_hash
from labelwright.training.data import read_labelled
from labelwright.training.fitting.fit import Configuration, fit_labeler

data, memory, threads = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
rows = read_labelled([data], load_schema("places"))
quick = Configuration(passes=1, trees=5, folds=2, threads=threads)
stages = []

def progress(stage, share):
    if stage not in stages:
        stages.append(stage)
        print(stage, flush=True)

print(content_hash(fit_labeler(rows, quick, progress, memory)))
"""


def fitted(data: Path, home: Path, memory: int | None) -> tuple[str, int]:
    """The content hash of a model, and the peak memory of its first pass in bytes."""
    command = [sys.executable, "-c", FIT, str(data), json.dumps(memory), str(THREADS)]
    settings = {**os.environ, "LABELWRIGHT_HOME": str(home)}
    lines: list[str] = []
    peak = 0
    with subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, text=True) as process:
        reader = threading.Thread(target=lambda: lines.extend(map(str.strip, process.stdout or ())))
        reader.start()
        while process.poll() is None:
            if lines[-1:] == ["features"]:  # measured from here to the end of the first pass
                peak = max(peak, memory_of(process.pid)[0])
            time.sleep(0.02)
        reader.join()
    assert process.returncode == 0
    return lines[-1], peak


def test_a_memory_limit_bounds_memory_and_keeps_the_model(tmp_path: Path) -> None:
    write_synthetic(PLACES / "train.parquet", tmp_path / "data", ROWS)
    whole, unbounded = fitted(tmp_path / "data", tmp_path / "home", None)
    model, bounded = fitted(tmp_path / "data", tmp_path / "home", 1 << 20)
    assert model == whole
    assert bounded < unbounded - DUALS
    assert not list((tmp_path / "home").iterdir())
