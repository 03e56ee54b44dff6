"""The files of a bundle: only regular files are read, and their content cannot change afterwards.

A process that maps a file sees later changes of the file, and ends with a bus error if the file is
truncated. Other programs can write to most folders, so the files there are copied into memory. The
files of the cache are mapped, so all processes of a service share their memory.
"""

import io
import mmap
import os
import stat
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from labelwright.entities.errors import BundleError

_LARGEST = {"manifest.json": 16 << 20, "canned.json": 4 << 20}
"""Limits of the sizes of files whose whole content is parsed, in bytes."""


def open_file(path: Path) -> io.BufferedReader:
    """Open a file of a bundle; raises OSError, or BundleError if it is not a regular file.

    A FIFO is not opened, because this would wait for a writer, and a device may have no end.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")
    state = os.fstat(file.fileno())
    if not stat.S_ISREG(state.st_mode):
        file.close()
        raise BundleError(f"bundle {path.parent}: {path.name} cannot be read: not a regular file")
    if state.st_size > _LARGEST.get(path.name, state.st_size):
        file.close()
        raise BundleError(
            f"bundle {path.parent}: {path.name} has {state.st_size:,} bytes; the limit is "
            f"{_LARGEST[path.name]:,} bytes"
        )
    return file


def read_files(folder: Path, names: Sequence[str], mapped: bool) -> Mapping[str, memoryview]:
    """The contents of files, mapped from the files or copied into memory.

    Raises BundleError for a file that cannot be read.
    """
    with ThreadPoolExecutor() as pool:
        contents = pool.map(lambda name: _content(folder / name, mapped), names)
        return dict(zip(names, contents, strict=True))


def _content(path: Path, mapped: bool) -> memoryview:
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                return memoryview(b"")
            if mapped:
                return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))
            memory = mmap.mmap(-1, size)  # begins at a page, as kernels prefer
            file.readinto(memory)
            return memoryview(memory).toreadonly()
    except OSError as error:
        raise BundleError(f"bundle {path.parent}: {path.name} cannot be read") from error
