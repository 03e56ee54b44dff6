"""How this room compiles its kernels: one decorator, one set of options."""

import contextlib
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
import numba.extending
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` with Numba on its first call; it then runs without the interpreter lock.

    Machine code is cached on disk beside the source, or under `NUMBA_CACHE_DIR`; where neither, nor
    the user's cache folder, can be written, every process compiles anew. It is compiled anew as
    well when any module of this room has changed, because kernels are compiled into one another,
    and Numba by itself looks only at the module that a kernel stands in. The only liberty
    taken with floating point is fusing a multiply and an add, so that a row's result depends
    neither on its neighbours nor on the number of threads.
    """
    jit: Any = numba.njit(nogil=True, fastmath={"contract"}, error_model="numpy")(function)
    with contextlib.suppress(RuntimeError):  # nowhere to write
        jit.enable_caching()
        file = jit._cache._cache_file
        file._source_stamp = (*file._source_stamp, _room_stamp())
    return cast(Callable[P, R], jit)


@functools.cache
def _room_stamp() -> str:
    """A hash of the sources of this room."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()


def _generate_prefetch(typing: Any, table: Any, row: Any, column: Any) -> Any:
    """LLVM's instruction of that name, for the cache line of one element."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        element = _cgutils.get_item_pointer(
            context, builder, signature.args[0], array, arguments[1:], wraparound=False
        )
        address = builder.bitcast(element, _cgutils.voidptr_t)
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [_cgutils.voidptr_t, number, number, number])
        function = _cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [address, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return numba.void(table, row, column), generate


_CACHE_LINE = 64
_cgutils: Any = cgutils
_prefetch: Any = numba.extending.intrinsic(_generate_prefetch)


@compiled
def prefetch(table: npt.NDArray[np.generic], row: int) -> None:
    """Ask for a row of a C-ordered table before it is needed.

    Where rows are picked at random from a table larger than the caches, waiting for memory is most
    of the work.
    """
    for column in range(0, table.shape[1], max(_CACHE_LINE // table.itemsize, 1)):
        _prefetch(table, np.intp(row), np.intp(column))


def _generate_widen(typing: Any, half: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return numba.float32(half), generate


def _generate_narrow(typing: Any, single: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(builder.fptrunc(arguments[0], ir.HalfType()), ir.IntType(16))

    return numba.uint16(single), generate


widened: Any = numba.extending.intrinsic(_generate_widen)
"""In kernels: the float32 of a half-precision number, which Numba only knows as its uint16 bits."""
narrowed: Any = numba.extending.intrinsic(_generate_narrow)
"""In kernels: the bits (uint16) of the half-precision number next to a float32."""
