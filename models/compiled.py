"""How this room compiles its kernels: one decorator, one set of options."""

import contextlib
from collections.abc import Callable
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
    the user's cache folder, can be written, every process compiles anew. The only liberty
    taken with floating point is fusing a multiply and an add, so that a row's result depends
    neither on its neighbours nor on the number of threads.
    """
    jit = numba.njit(nogil=True, fastmath={"contract"}, error_model="numpy")(function)
    with contextlib.suppress(RuntimeError):  # nowhere to write
        jit.enable_caching()
    return cast(Callable[P, R], jit)


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
