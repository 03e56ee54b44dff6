"""Adapter of prometheus_client, and the only module that uses private names of prometheus_client.

There is no public function that observes an array of values, and none that reserves disk space for
the files in which processes share their metrics. pyproject.toml limits the version of
prometheus_client. If the installed version lacks one of the names, a test fails and shows which.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, Histogram, Metric, values
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from labelwright.entities.errors import reason
from labelwright.models.decisions import Probabilities

FILE_BYTES = 1 << 16
"""Size of a new file of metrics. A full file is doubled."""
ENTRY_BYTES = 32
"""Maximum size of an entry in a file of metrics, without the key."""
RETRY_SECONDS = 10.0
"""Seconds between two attempts to reserve disk space."""
_LOST = ".lost"
"""Suffix of an empty file that is created when values of a file of metrics are lost."""
LOST_METRICS = (
    "labelwright_metrics_lost",
    "Processes that lost metrics, because the disk was full.",
)
"""Name and description of the metric about lost metrics."""
_log = logging.getLogger(__name__)


def observe_all(histogram: Histogram, values: Probabilities) -> None:
    """Add all values to a histogram without labels.

    The result is the same as with one call of `observe` for each value.
    """
    bounds = histogram._upper_bounds
    counts = np.bincount(np.searchsorted(bounds, values), minlength=len(bounds))
    for bucket, count in zip(histogram._buckets, counts.tolist(), strict=True):
        if count:
            bucket.inc(count)
    histogram._sum.inc(float(values.sum()))


def reserve_disk_space() -> None:
    """Let this process share its metrics in files of the class ReservedFile."""
    values.MmapedDict = ReservedFile  # type: ignore[attr-defined, assignment]


class ReservedFile:
    """File of the metrics of one process, with reserved disk space.

    The files of prometheus_client have holes. If the disk is full when a process writes into a
    hole, the operating system kills the process (SIGBUS). This class reserves the disk space first.
    If there is none, it drops the value, logs this, and creates an empty file with the suffix
    `_LOST`. All values are totals, so a value that is written later is complete again.
    """

    def __init__(self, filename: str) -> None:
        self._path = Path(filename)
        self._file: MmapedDict | None = None
        self._next_attempt = 0.0

    def read_value(self, key: str) -> tuple[float, float]:
        """Value and time of a key; zeros if the key is new."""
        file = self._file_with_space(key)
        return file.read_value(key) if file else (0.0, 0.0)

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Write the value and the time of a key; they are dropped if there is no disk space."""
        if file := self._file_with_space(key):
            file.write_value(key, value, timestamp)

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()

    def _file_with_space(self, key: str) -> MmapedDict | None:
        """The file, with reserved space for a key; None if there is no disk space."""
        if self._file and key in self._file._positions:
            return self._file
        if time.monotonic() < self._next_attempt:
            return None
        try:
            return self._reserve(key)
        except OSError as error:
            self._report_loss(error)
            return None

    def _report_loss(self, error: OSError) -> None:
        mark = self._path.with_suffix(_LOST)
        if self._next_attempt == 0:
            _log.error(
                "metrics of this process are lost: %s in the folder of temporary files; free disk "
                "space, or set TMPDIR to another folder",
                reason(error),
            )
        self._next_attempt = time.monotonic() + RETRY_SECONDS
        with contextlib.suppress(OSError):
            mark.touch()

    def _reserve(self, key: str) -> MmapedDict:
        """Reserve disk space for a new key in the file, and return the file; raises OSError."""
        if self._file is None:
            with self._path.open("ab") as new:
                if new.tell() == 0:
                    _allocate(new.fileno(), FILE_BYTES)
            self._file = MmapedDict(str(self._path))
        file = self._file
        capacity = file._capacity
        while file._used + len(key.encode()) + ENTRY_BYTES > capacity:
            capacity *= 2
            _allocate(file._f.fileno(), capacity)
        return file


class SharedMetrics(MultiProcessCollector):
    """Collector of the metrics of all processes, in the files of a folder."""

    def __init__(self, registry: CollectorRegistry, folder: str) -> None:
        super().__init__(registry, folder)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """All metrics, and the number of processes that lost metrics."""
        files = [entry for entry in os.scandir(self._path) if entry.name.endswith(".db")]
        filled = [entry.path for entry in files if entry.stat().st_size]
        yield from self.merge(filled)  # type: ignore[no-untyped-call]
        lost = {path.stem.rpartition("_")[2] for path in Path(self._path).glob(f"*{_LOST}")}
        yield GaugeMetricFamily(*LOST_METRICS, len(lost))


def _allocate(file: int, size: int) -> None:
    """Reserve disk space for the first `size` bytes of a file.

    Raises OSError; the size of the file is then unchanged.
    """
    before = os.fstat(file).st_size
    try:
        os.posix_fallocate(file, 0, size)
    except OSError:
        os.ftruncate(file, before)
        raise
