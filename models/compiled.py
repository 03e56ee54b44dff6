"""How this room compiles its kernels: one decorator, one set of options."""

import contextlib
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` with Numba on its first call; it then runs without the interpreter lock.

    Machine code is cached on disk beside the source, or under `NUMBA_CACHE_DIR`; where neither, nor
    the user's cache folder, can be written, every process compiles anew. The only liberty
    taken with floating point is fusing a multiply and an add, so that a row's result depends
    neither on its neighbours nor on the number of threads.
    """
    jit = numba.njit(nogil=True, fastmath={"contract"}, error_model="numpy")(function)
    with contextlib.suppress(RuntimeError):  # nowhere to write
        jit.enable_caching()
    return cast(Callable[P, R], jit)
