"""Compilation of kernels with Numba: one decorator with one set of options.

Only this module uses private names of Numba, which may change with any minor version: the upper
bound of Numba in pyproject.toml is the minor version after the tested one.
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
"""From a compiled function to the object that finds its machine code on disk."""
PRIVATE_NAMES_OF_CACHE_FILE = ("_source_stamp", "_load_index")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` with Numba on its first call; it then runs without the interpreter lock.

    Machine code is cached on disk beside the source, or in `NUMBA_CACHE_DIR`. Where neither these
    folders nor the user's cache folder can be written to, every process compiles again. A change in
    the kernel's module or in any module of `models` makes the cached code invalid, because kernels
    are inlined into one another; Numba itself checks only the module of the kernel. The times of
    files do not matter: another installation of the same code uses the same machine code. Of the
    relaxations of floating-point rules, only the fusion of a multiplication and an addition is
    allowed, so the result of a row depends neither on its neighbours nor on the number of threads.
    """
    jit: Any = numba.njit(nogil=True, fastmath={"contract"}, error_model="numpy")(function)
    with contextlib.suppress(RuntimeError):  # no folder can be written to
        jit.enable_caching()
        file = functools.reduce(getattr, PRIVATE_NAMES, jit)
        file._source_stamp = _source_stamp(Path(inspect.getfile(function)))
        file._load_index = functools.partial(_load_or_empty, file._load_index)
    _kernels.append(jit)
    return cast(Callable[P, R], jit)


def cache_folders() -> list[Path]:
    """The folders of the machine code of all imported kernels; empty if none is writable."""
    paths = {kernel.stats.cache_path for kernel in _kernels}
    return sorted(Path(path) for path in paths if path)


def processor_has(context: Any, feature: str) -> bool:
    """Whether the processor that is compiled for has some instructions, by LLVM's name for them.

    `context` is Numba's target context.
    """
    _, _, features = context.codegen().magic_tuple()
    return f"+{feature}" in features.split(",")


def _load_or_empty(load: Callable[[], dict[Any, str]]) -> dict[Any, str]:
    """The index of cached machine code; an empty one if it refers to types that do not exist."""
    try:
        return load()
    except (AttributeError, ImportError):
        return {}


@functools.cache
def _source_stamp(module: Path) -> str:
    """A hash of the sources of a module and of all modules of `models`."""
    sources = [module, *sorted(Path(__file__).parents[1].rglob("*.py"))]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()
