"""Instructions of the processor that kernels use and Numba has no names for.

Each is LLVM's own, so it runs on any processor, in whatever vectors that one has. What the vector
instructions do could be written as loops; they are here because Numba's loops leave most of the
machine idle: they neither keep sums in registers over an inner loop nor fetch memory ahead.
"""

from collections.abc import Callable
from typing import Any

import numba
import numba.extending
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils

from models.compiled import compiled

BLOCK = 64
"""Labels whose weights `add_rows` adds at once: those in one cache line."""
LANES = 16
"""Pairs that are treated at once."""
CACHE_LINE = 64

_cgutils: Any = cgutils
_FLOAT, _BYTE, _SHORT, _INT = ir.FloatType(), ir.IntType(8), ir.IntType(16), ir.IntType(32)
_FLOATS, _BYTES = ir.VectorType(_FLOAT, BLOCK), ir.VectorType(_BYTE, BLOCK)
_LANES, _LEAVES = ir.VectorType(_FLOAT, LANES), ir.VectorType(_SHORT, LANES)


def _number(value: int) -> Any:
    return ir.Constant(_INT, value)


def _array(context: Any, builder: Any, signature: Any, arguments: Any, place: int) -> Any:
    return context.make_array(signature.args[place])(context, builder, arguments[place])


def _function(builder: Any, name: str, result: Any, parameters: list[Any]) -> Any:
    kind = ir.FunctionType(result, parameters)
    return _cgutils.get_or_insert_function(builder.module, kind, name)


def _repeated(builder: Any, value: Any, kind: Any) -> Any:
    """A vector that holds one value everywhere."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, value, _number(0))
    zeros = ir.Constant(ir.VectorType(_INT, kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, undefined, zeros)


def _load(builder: Any, address: Any, kind: Any, alignment: int) -> Any:
    vector = builder.load(builder.bitcast(address, kind.as_pointer()))
    vector.align = alignment
    return vector


def _store(builder: Any, vector: Any, address: Any, alignment: int) -> None:
    builder.store(vector, builder.bitcast(address, vector.type.as_pointer())).align = alignment


def _fetch(builder: Any, address: Any) -> None:
    """Ask for the cache line of an address before it is read."""
    pointer = _BYTE.as_pointer()
    fetch = _function(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer, _INT, _INT, _INT])
    read, keep, data = _number(0), _number(3), _number(1)
    builder.call(fetch, [builder.bitcast(address, pointer), read, keep, data])


def _generate_prefetch(typing: Any, table: Any, row: Any, column: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = _array(context, builder, signature, arguments, 0)
        _fetch(
            builder,
            _cgutils.get_item_pointer(
                context, builder, signature.args[0], array, arguments[1:], wraparound=False
            ),
        )
        return context.get_dummy_value()

    return numba.void(table, row, column), generate


def _generate_fetch(typing: Any, values: Any, position: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = _array(context, builder, signature, arguments, 0)
        _fetch(builder, builder.gep(array.data, [arguments[1]]))
        return context.get_dummy_value()

    return numba.void(values, numba.intp), generate


def _generate_widen(typing: Any, half: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), _FLOAT)

    return numba.float32(half), generate


def _generate_narrow(typing: Any, single: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(builder.fptrunc(arguments[0], ir.HalfType()), _SHORT)

    return numba.uint16(single), generate


def _generate_trailing_zeros(typing: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        flag, kind = ir.IntType(1), arguments[0].type
        count = _function(builder, f"llvm.cttz.i{kind.width}", kind, [kind, flag])
        zeros = builder.call(count, [arguments[0], ir.Constant(flag, 0)])
        return zeros if kind.width == 64 else builder.zext(zeros, ir.IntType(64))

    return numba.intp(bits), generate


def _generate_add_rows(
    typing: Any, table: Any, rows: Any, factors: Any, count: Any, ahead: Any, more: Any, block: Any,
    sums: Any,
) -> Any:  # fmt: skip
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        dense, picked, given, upcoming, out = (
            _array(context, builder, signature, arguments, place) for place in (0, 1, 2, 4, 7)
        )
        n, m, first = (
            arguments[3],
            arguments[5],
            builder.mul(arguments[6], ir.Constant(arguments[6].type, BLOCK)),
        )
        stride = _cgutils.unpack_tuple(builder, dense.strides)[0]
        base = builder.gep(builder.bitcast(dense.data, _BYTE.as_pointer()), [first])

        def line(rows: Any, position: Any) -> Any:
            row = builder.sext(builder.load(builder.gep(rows.data, [position])), stride.type)
            return builder.gep(base, [builder.mul(row, stride)])

        with _cgutils.for_range(builder, m) as loop:
            _fetch(builder, line(upcoming, loop.index))
        place = builder.gep(out.data, [first])
        total = _cgutils.alloca_once(builder, _FLOATS)
        builder.store(_load(builder, place, _FLOATS, 4), total)
        add = _function(builder, f"llvm.fma.v{BLOCK}f32", _FLOATS, [_FLOATS] * 3)
        with _cgutils.for_range(builder, n) as loop:
            weights = _load(builder, line(picked, loop.index), _BYTES, 1)
            factor = builder.load(builder.gep(given.data, [loop.index]))
            terms = builder.sitofp(weights, _FLOATS), _repeated(builder, factor, _FLOATS)
            builder.store(builder.call(add, [*terms, builder.load(total)]), total)
        _store(builder, builder.load(total), place, 4)
        largest = _function(builder, f"llvm.vector.reduce.fmax.v{BLOCK}f32", _FLOAT, [_FLOATS])
        return builder.call(largest, [builder.load(total)], fastmath=("nnan",))

    return (
        numba.float32(table, rows, factors, numba.intp, ahead, numba.intp, numba.intp, sums),
        generate,
    )


def _generate_keep_leaves(
    typing: Any, leaves: Any, tree: Any, pairs: Any, feature: Any, threshold: Any, right: Any
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        reached, values = (
            _array(context, builder, signature, arguments, place) for place in (0, 2)
        )
        width = ir.Constant(arguments[1].type, LANES)
        place = builder.gep(reached.data, [builder.mul(arguments[1], width)])
        at = builder.gep(values.data, [builder.mul(arguments[3], width)])
        threshold, right = (
            _repeated(builder, arguments[4], _LANES),
            _repeated(builder, arguments[5], _LEAVES),
        )
        goes_left = builder.fcmp_ordered("<=", _load(builder, at, _LANES, 4), threshold)
        everything = ir.Constant(_LEAVES, [0xFFFF] * LANES)
        kept = builder.and_(
            _load(builder, place, _LEAVES, 2), builder.select(goes_left, everything, right)
        )
        _store(builder, kept, place, 2)
        return context.get_dummy_value()

    return (
        numba.void(leaves, numba.intp, pairs, numba.intp, numba.float32, numba.uint16),
        generate,
    )


def _generate_at_least(typing: Any, values: Any, block: Any, least: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = _array(context, builder, signature, arguments, 0)
        first = builder.mul(arguments[1], ir.Constant(arguments[1].type, BLOCK))
        given = _load(builder, builder.gep(array.data, [first]), _FLOATS, 4)
        least = _repeated(builder, arguments[2], _FLOATS)
        return builder.bitcast(builder.fcmp_ordered(">=", given, least), ir.IntType(BLOCK))

    return numba.uint64(values, numba.intp, numba.float32), generate


def _instruction(generate: Callable[..., Any]) -> Any:
    return numba.extending.intrinsic(generate)


_prefetch = _instruction(_generate_prefetch)


@compiled
def prefetch(table: npt.NDArray[np.generic], row: int) -> None:
    """Ask for a row of a C-ordered table before it is needed.

    Where rows are picked at random from a table larger than the caches, waiting for memory is most
    of the work.
    """
    for column in range(0, table.shape[1], max(CACHE_LINE // table.itemsize, 1)):
        _prefetch(table, np.intp(row), np.intp(column))


fetch = _instruction(_generate_fetch)
"""In kernels: ask for an element of a contiguous array, and its neighbours, before it is needed."""
widened = _instruction(_generate_widen)
"""In kernels: the float32 of a half-precision number, which Numba only knows as its uint16 bits."""
narrowed = _instruction(_generate_narrow)
"""In kernels: the bits (uint16) of the half-precision number next to a float32."""
trailing_zeros = _instruction(_generate_trailing_zeros)
"""In kernels: how many zeros end a uint16 or uint64, all of them for 0."""
at_least = _instruction(_generate_at_least)
"""In kernels: which values (float32) of a block reach a bound, one bit each (uint64)."""
add_rows = _instruction(_generate_add_rows)
"""In kernels: add rows of a table, each times a factor, to sums, for one block of BLOCK columns.

Takes the table (int8, C-ordered, whole blocks), the rows (int32) and factors (float32) of which the
first `count` are used, the rows of the next call and how many they are, which are fetched from
memory meanwhile, the number of the block, and the sums (float32, one for each column). Returns the
largest sum of the block.
"""
keep_leaves = _instruction(_generate_keep_leaves)
"""In kernels: at one node of a tree, keep only the leaves that LANES pairs can still reach.

Takes the leaves (uint16[trees, LANES], one bit each), the tree, the pairs (float32[features,
LANES]), the node's feature and threshold, and the leaves that remain where a value is larger.
"""
