"""Train a model in this process, and measure the time and peak memory of each stage."""

import argparse
import contextlib
import json
import os
import time
from pathlib import Path

NAME = "cost"


class Stages:
    """A progress callback: adds the time since its last call to the stage of the current call."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peak_bytes: dict[str, int] = {}
        self._last = time.perf_counter()
        _reset_peak()

    def __call__(self, stage: str, share: float) -> None:
        """Record that `share` of `stage` is done."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self.peak_bytes[stage] = max(self.peak_bytes.get(stage, 0), _peak())
        self._last = now
        _reset_peak()


def _peak() -> int:
    """Peak resident bytes of this process since the last reset (Linux)."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return 1024 * int(kilobytes)


def _reset_peak() -> None:
    """Reset the peak; without permission, a peak is measured from the start of the process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")


def main() -> None:
    """Train on DATA with the default configuration; write seconds and peaks to OUTPUT as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--schema", default="places")
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does

    from labelwright.entities.schema import load_schema
    from labelwright.training.fitting.fit import Configuration
    from labelwright.training.job import Task, train
    from labelwright.training.tracking.versions import current_champion

    current_champion(NAME)  # creates the registry, which is not part of the cost of a training
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
