"""Counts of what was seen last, added up over all processes of a service."""

import contextlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from labelwright.entities.io.files import try_lock
from labelwright.models.monitoring.profile import Counts, Profile

ROWS = 10_000
"""After so many rows a process forgets: it knows the last of them, and up to twice as many."""
_GENERATIONS = 2


class Window:
    """The last rows of one model, in two generations of counts: whole rows are added and forgotten.

    With a `folder`, each process keeps its counts in a file there, and any of them reads all; the
    file of a process that has died is taken over by the next. Where no file can be made, a process
    knows its own counts alone.
    """

    def __init__(self, size: int, folder: Path | None, key: str) -> None:
        self._shape = (_GENERATIONS, size)
        self._counts = np.zeros(self._shape, np.int64)
        self._folder, self._file, self._name = None, None, f"drift-{key}"
        if folder is not None:
            with contextlib.suppress(OSError):
                self._file = self._claimed(folder)
                self._counts = np.memmap(self._file, np.int64, "r+", shape=self._shape)
                self._folder = folder

    def add(self, seen: Profile) -> None:
        """Count some more rows."""
        current = Profile(self._counts[0], seen.columns)
        if current.rows >= ROWS:
            self._counts[1] = self._counts[0]
            self._counts[0] = 0
        self._counts[0] += seen.counts

    def total(self) -> Counts:
        """The counts of all processes; a row that is being added may be missing in some."""
        parts = [self._counts] if self._folder is None else self._shared(self._folder)
        total = np.zeros(self._shape[1], np.int64)
        for counts in parts:
            total += counts.sum(axis=0)
        return total

    def close(self) -> None:
        """Leave the file to whoever comes next."""
        self._counts = np.array(self._counts)  # the map of a file holds it open as well
        if self._file is not None:
            self._file.close()

    def _shared(self, folder: Path) -> list[Counts]:
        found = [np.fromfile(path, np.int64) for path in folder.glob(f"{self._name}-*")]
        return [part.reshape(self._shape) for part in found if part.size == self._counts.size]

    def _claimed(self, folder: Path) -> BinaryIO:
        """The first file that no living process holds; it is full of zeros if it is new."""
        number = 0
        while True:
            file = (folder / f"{self._name}-{number}").open("a+b")
            if not try_lock(file):
                file.close()
                number += 1
                continue
            if file.tell() != self._counts.nbytes:  # room is taken now, not when it is needed
                file.truncate(0)
                file.write(bytes(self._counts.nbytes))
                file.flush()
            return file
