"""Counts over a window of recent rows, summed over all processes of a service."""

import contextlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from labelwright.entities.io.files import try_lock
from labelwright.models.monitoring.profile import Counts, Profile

ROWS = 10_000
"""Rows of one generation of counts. A window has the last ROWS to 2 * ROWS rows of a process."""
_GENERATIONS = 2


class Window:
    """Counts of the last rows of one model, in a current and a previous generation.

    When the current generation is full, it replaces the previous one.

    With a `folder`, each process maps its counts to a file there, and each can read the files of
    all processes. A file whose process has died is taken over by the next process. If no file can
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
        """The counts of all processes. A row that is being added may be counted in part."""
        parts = [self._counts] if self._folder is None else self._read_all(self._folder)
        total = np.zeros(self._shape[1], np.int64)
        for counts in parts:
            total += counts.sum(axis=0)
        return total

    def close(self) -> None:
        """Close the file, so that another process can take it over."""
        self._counts = np.array(self._counts)  # a memory map would keep the file open
        if self._file is not None:
            self._file.close()

    def _read_all(self, folder: Path) -> list[Counts]:
        """The counts in all files of this model; files of another size are skipped."""
        found = [np.fromfile(path, np.int64) for path in folder.glob(f"{self._name}-*")]
        return [part.reshape(self._shape) for part in found if part.size == self._counts.size]

    def _claim_file(self, folder: Path) -> BinaryIO:
        """Lock the first file that no living process holds; a new file is filled with zeros."""
        number = 0
        while True:
            file = (folder / f"{self._name}-{number}").open("a+b")
            if not try_lock(file):
                file.close()
                number += 1
                continue
            if file.tell() != self._counts.nbytes:  # allocates the disk space now, not at first use
                file.truncate(0)
                file.write(bytes(self._counts.nbytes))
                file.flush()
            return file
