"""How this room compiles its kernels: one decorator, one set of options."""

import contextlib
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")
_kernels: list[Any] = []
"""All kernels that this process has imported."""


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` with Numba on its first call; it then runs without the interpreter lock.

    Machine code is cached on disk beside the source, or under `NUMBA_CACHE_DIR`; where neither, nor
    the user's cache folder, can be written, every process compiles anew. It is compiled anew as
    well when any module of this room has changed, because kernels are compiled into one another,
    and Numba by itself looks only at the module that a kernel stands in. The times of files do not
    count: another installation of the same code uses the same machine code. The only liberty
    taken with floating point is fusing a multiply and an add, so that a row's result depends
    neither on its neighbours nor on the number of threads.
    """
    jit: Any = numba.njit(nogil=True, fastmath={"contract"}, error_model="numpy")(function)
    with contextlib.suppress(RuntimeError):  # nowhere to write
        jit.enable_caching()
        file = jit._cache._cache_file
        file._source_stamp = _room_stamp()
        file._load_index = functools.partial(_readable, file._load_index)
    _kernels.append(jit)
    return cast(Callable[P, R], jit)


def cache_folders() -> list[Path]:
    """The folders of the machine code of all imported kernels; empty where none is writable."""
    paths = {kernel.stats.cache_path for kernel in _kernels}
    return sorted(Path(path) for path in paths if path)


def _readable(load: Callable[[], dict[Any, str]]) -> dict[Any, str]:
    """An index of machine code; an empty one if its types are of sources that are no more."""
    try:
        return load()
    except (AttributeError, ImportError):
        return {}


@functools.cache
def _room_stamp() -> str:
    """A hash of the sources of this room."""
    sources = sorted(Path(__file__).parents[1].rglob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()
