"""Train a model in this process and tell how long each stage took and how much memory it had."""

import argparse
import contextlib
import json
import os
import time
from pathlib import Path

NAME = "cost"


class Stages:
    """A Progress that books what has passed since its last call on the stage it is told of."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peak_bytes: dict[str, int] = {}
        self._last = time.perf_counter()
        _reset_peak()

    def __call__(self, stage: str, share: float) -> None:
        """`share` of `stage` has been done."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self.peak_bytes[stage] = max(self.peak_bytes.get(stage, 0), _peak())
        self._last = now
        _reset_peak()


def _peak() -> int:
    """The most bytes that this process has had in memory since the last reset (Linux)."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return 1024 * int(kilobytes)


def _reset_peak() -> None:
    """Without the right to do so, peaks are those since the start."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")


def main() -> None:
    """Train on DATA with default settings; seconds and peaks go to OUTPUT as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--schema", default="places")
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line sets it

    from labelwright.entities.schema import load_schema
    from labelwright.training.fitting.fit import Configuration
    from labelwright.training.job import Task, train
    from labelwright.training.tracking.versions import current_champion

    current_champion(NAME)  # makes an empty registry, which is no part of a training's cost
    schema = load_schema(given.schema)
    configuration = Configuration(threads=given.threads)
    stages = Stages()
    outcome = train(Task([given.data], [given.test], schema, NAME, configuration), stages)
    content = {
        "seconds": outcome.seconds,
        "stages": stages.seconds,
        "peak_bytes": stages.peak_bytes,
    }
    given.output.write_text(json.dumps(content), "utf-8")


if __name__ == "__main__":
    main()
