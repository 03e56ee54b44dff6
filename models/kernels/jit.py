"""Compilation of kernels with Numba: one decorator with one set of options.

Only this module uses private names of Numba. They may change with any minor version, so
pyproject.toml excludes all minor versions of Numba after the tested one.
"""

import contextlib
import functools
import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")
_kernels: list[Any] = []
"""All kernels that this process has imported."""

PRIVATE_NAMES = ("_cache", "_cache_file")
"""The attributes that lead from a compiled function to the cache file of its machine code."""
PRIVATE_NAMES_OF_CACHE_FILE = ("_source_stamp", "_load_index")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` with Numba at its first call. It runs without the interpreter lock.

    Machine code is cached on disk in `NUMBA_CACHE_DIR`, or else beside the source, or else in the
    user's cache folder. If none of these folders is writable, every process compiles again. Kernels
    are inlined into one another. Therefore a change in the kernel's module or in any module of
    `models` makes the cached code invalid; Numba itself checks only the module of the kernel. The
    time stamps of files do not matter: another installation of the same code can use the same
    machine code. The compiler may fuse a multiplication and an addition, but no other rule of
    floating-point arithmetic is relaxed. Therefore the result of a row depends neither on other
    rows nor on the number of threads.
    """
    jit: Any = numba.njit(nogil=True, fastmath={"contract"}, error_model="numpy")(function)
    with contextlib.suppress(RuntimeError):  # no cache folder is writable
        jit.enable_caching()
        file = functools.reduce(getattr, PRIVATE_NAMES, jit)
        file._source_stamp = _source_stamp(Path(inspect.getfile(function)))
        file._load_index = functools.partial(_load_or_empty, file._load_index)
    _kernels.append(jit)
    return cast(Callable[P, R], jit)


def cache_folders() -> list[Path]:
    """The cache folders of all imported kernels; empty if no cache folder is writable."""
    paths = {kernel.stats.cache_path for kernel in _kernels}
    return sorted(Path(path) for path in paths if path)


def processor_has(context: Any, feature: str) -> bool:
    """Whether the target processor has a feature, such as "avx2"; `feature` is LLVM's name.

    `context` is Numba's target context.
    """
    _, _, features = context.codegen().magic_tuple()
    return f"+{feature}" in features.split(",")


def _load_or_empty(load: Callable[[], dict[Any, str]]) -> dict[Any, str]:
    """The index of cached machine code; empty if the index refers to types that no longer exist."""
    try:
        return load()
    except (AttributeError, ImportError):
        return {}


@functools.cache
def _source_stamp(module: Path) -> str:
    """A hash of the sources of a module and of all modules of `models`."""
    sources = [module, *sorted(Path(__file__).parents[1].rglob("*.py"))]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()
