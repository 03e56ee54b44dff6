"""Room for arrays that grow with the rows: memory up to a limit, and files beyond it."""

import math
import mmap
import os
import tempfile
import threading
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

from labelwright.entities.errors import StorageError, reason
from labelwright.models.paths import home


class SpillingAllocator:
    """Hands out arrays of zeros; many threads may ask at once.

    All that are in use at a time take at most `limit` bytes of memory, None for no limit. Arrays
    beyond that lie in files of the state folder. These have no names, so that they go with the
    process whatever it dies of, and the system keeps in memory what of them it has room for. Where
    an array lies changes nothing but the time that it takes.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._available = math.inf if limit is None else limit
        self._lock = threading.Lock()

    @property
    def available(self) -> float:
        """Bytes of memory that nothing lies in; infinity without a limit."""
        return self._available

    def zeros(self, shape: tuple[int, ...], kind: npt.DTypeLike) -> npt.NDArray[Any]:
        """An array of zeros; raises StorageError where the disk has no room either."""
        size = math.prod(shape) * np.dtype(kind).itemsize
        with self._lock:
            fits = size <= self._available
            if fits:
                self._available -= size
        if not fits:
            return np.frombuffer(_file(size), kind).reshape(shape)
        array = np.zeros(shape, kind)
        weakref.finalize(array, self._give_back, size)
        return array

    def _give_back(self, size: int) -> None:
        with self._lock:
            self._available += size


def _file(size: int) -> mmap.mmap:
    """A file of zeros that has no name, mapped into memory; its blocks are taken at once."""
    try:
        home().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home()) as file:
            os.posix_fallocate(file.fileno(), 0, size)
            return mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise StorageError(f"{home()} has no room to train in: {reason(error)}") from error
