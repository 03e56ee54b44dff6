"""Allocation of large arrays: in memory up to a limit, then in spill files."""

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
    """Allocates arrays of zeros; thread-safe.

    The arrays in memory have at most `limit` bytes in total; None is no limit. Arrays beyond the
    limit are memory-mapped spill files in the state folder. A spill file has no name, so the
    system deletes it when the process ends, even if the process is killed. The system caches the
    file in free memory. An array in a spill file can be slower, but has the same content.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._available = math.inf if limit is None else limit
        self._lock = threading.Lock()

    @property
    def available(self) -> float:
        """Bytes of memory that can still be allocated; infinity without a limit."""
        return self._available

    def zeros(self, shape: tuple[int, ...], kind: npt.DTypeLike) -> npt.NDArray[Any]:
        """An array of zeros; raises StorageError if the disk is full."""
        size = math.prod(shape) * np.dtype(kind).itemsize
        with self._lock:
            fits = size <= self._available
            if fits:
                self._available -= size
        if not fits:
            return np.frombuffer(_spill_file(size), kind).reshape(shape)
        array = np.zeros(shape, kind)
        weakref.finalize(array, self._release, size)
        return array

    def _release(self, size: int) -> None:
        with self._lock:
            self._available += size


def _spill_file(size: int) -> mmap.mmap:
    """A memory-mapped file of zeros without a name.

    All its disk blocks are reserved at once; raises StorageError if this fails.
    """
    try:
        home().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home()) as file:
            os.posix_fallocate(file.fileno(), 0, size)
            return mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise StorageError(
            f"no spill file of {size:,} bytes can be made in {home()}: {reason(error)}; free disk "
            "space, or raise --memory"
        ) from error
