"""Counts of recent rows, which can be summed over all processes of a service."""

import contextlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from labelwright.entities.io.files import try_lock
from labelwright.models.monitoring.profile import Counts, Profile

ROWS = 10_000
"""Number of rows in one full generation of counts. After the first ROWS rows, a window has the last
ROWS to 2 * ROWS rows of a process."""
_GENERATIONS = 2


class Window:
    """Counts of the last rows of one model, in a current and a previous generation.

    When the current generation is full, it replaces the previous one, and a new one begins.

    With a `folder`, each process maps its counts to a file in the folder, and can read the files of
    all processes. When a process has died, the next new process takes over its file. If no file can
    be created, a process has only its own counts.
    """

    def __init__(self, size: int, folder: Path | None, key: str) -> None:
        self._shape = (_GENERATIONS, size)
        self._counts = np.zeros(self._shape, np.int64)
        self._folder, self._file, self._name = None, None, f"drift-{key}"
        if folder is not None:
            with contextlib.suppress(OSError):
                self._file = self._claim_file(folder)
                self._counts = np.memmap(self._file, np.int64, "r+", shape=self._shape)
                self._folder = folder

    def add(self, profile: Profile) -> None:
        """Add the counts of further rows."""
        current = Profile(self._counts[0], profile.columns)
        if current.rows >= ROWS:
            self._counts[1] = self._counts[0]
            self._counts[0] = 0
        self._counts[0] += profile.counts

    def total(self) -> Counts:
        """The sum of the counts of all processes.

        If a process is adding a row at the same time, some of the row's counts may be missing.
        """
        parts = [self._counts] if self._folder is None else self._read_all(self._folder)
        total = np.zeros(self._shape[1], np.int64)
        for counts in parts:
            total += counts.sum(axis=0)
        return total

    def close(self) -> None:
        """Close the file, so that another process can take it over. The counts stay readable."""
        self._counts = np.array(self._counts)  # a memory map would keep the file open
        if self._file is not None:
            self._file.close()

    def _read_all(self, folder: Path) -> list[Counts]:
        """The counts in all files of this model; files of another size are skipped."""
        found = [np.fromfile(path, np.int64) for path in folder.glob(f"{self._name}-*")]
        return [part.reshape(self._shape) for part in found if part.size == self._counts.size]

    def _claim_file(self, folder: Path) -> BinaryIO:
        """Open and lock the first file that no living process has locked.

        A new file is filled with zeros.
        """
        number = 0
        while True:
            file = (folder / f"{self._name}-{number}").open("a+b")
            if not try_lock(file):
                file.close()
                number += 1
                continue
            if file.tell() != self._counts.nbytes:  # reserves disk space now, not at the first use
                file.truncate(0)
                file.write(bytes(self._counts.nbytes))
                file.flush()
            return file
