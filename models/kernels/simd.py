"""Processor instructions that Numba does not offer to kernels: vectors, prefetching, float16.

The instructions are generated with LLVM's vector types, so they run on any processor. Only float16
needs a processor that converts it; only training uses float16. If some processors have a faster
instruction, the code for all other processors gives the same results. Plain loops in Numba would
give the same results, too, but they are much slower. They do not keep sums in registers over an
inner loop, do not prefetch memory, and do not process a fixed number of values at once.
"""

from collections.abc import Callable
from typing import Any

import numba
import numba.extending
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils

from labelwright.models.kernels.jit import compiled, processor_has

BLOCK = 64
"""The number of labels whose weights `add_rows` adds at once: one cache line of bytes."""
LANES = 16
"""The number of (entity, label) pairs for which trees are evaluated at once."""
LEAVES = 16
"""The largest number of leaves of a tree: a uint16 has one bit for each leaf."""
CACHE_LINE = 64

_cgutils: Any = cgutils
_FLOAT, _BYTE, _SHORT, _INT = ir.FloatType(), ir.IntType(8), ir.IntType(16), ir.IntType(32)
_DOUBLE, _LONG = ir.DoubleType(), ir.IntType(64)
_FLOATS, _BYTES = ir.VectorType(_FLOAT, BLOCK), ir.VectorType(_BYTE, BLOCK)
_LANES, _LEAVES = ir.VectorType(_FLOAT, LANES), ir.VectorType(_SHORT, LANES)
_HALF = LANES // 2
_DOUBLES, _LONGS = ir.VectorType(_DOUBLE, _HALF), ir.VectorType(_LONG, _HALF)
_LOOKED_UP = ir.VectorType(_DOUBLE, LEAVES // 2)


def _number(value: int) -> Any:
    return ir.Constant(_INT, value)


def _array(context: Any, builder: Any, signature: Any, arguments: Any, place: int) -> Any:
    return context.make_array(signature.args[place])(context, builder, arguments[place])


def _function(builder: Any, name: str, result: Any, parameters: list[Any]) -> Any:
    kind = ir.FunctionType(result, parameters)
    return _cgutils.get_or_insert_function(builder.module, kind, name)


def _repeated(builder: Any, value: Any, kind: Any) -> Any:
    """A vector with the same value in every element."""
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


def _prefetch_line(builder: Any, address: Any, soon: bool = True) -> None:
    """Prefetch the cache line of an address: into the L1 cache if it is read `soon`, else into L2.

    In the L1 cache, it would displace data that are read earlier.
    """
    pointer = _BYTE.as_pointer()
    prefetch = _function(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer, _INT, _INT, _INT])
    read, keep, data = _number(0), _number(3 if soon else 2), _number(1)
    builder.call(prefetch, [builder.bitcast(address, pointer), read, keep, data])


def _generate_prefetch(typing: Any, table: Any, row: Any, column: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = _array(context, builder, signature, arguments, 0)
        _prefetch_line(
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
        _prefetch_line(builder, builder.gep(array.data, [arguments[1]]))
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
        count = _function(builder, "llvm.cttz.i64", _LONG, [_LONG, ir.IntType(1)])
        return builder.call(count, [arguments[0], ir.Constant(ir.IntType(1), 0)])

    return numba.intp(numba.uint64), generate


def _generate_add_rows(
    typing: Any, table: Any, rows: Any, steps: Any, count: Any, ahead: Any, more: Any, block: Any,
    unit: Any, sums: Any,
) -> Any:  # fmt: skip
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        dense, picked, given, upcoming, out = (
            _array(context, builder, signature, arguments, place) for place in (0, 1, 2, 4, 8)
        )
        first = builder.mul(arguments[6], ir.Constant(arguments[6].type, BLOCK))
        stride = _cgutils.unpack_tuple(builder, dense.strides)[0]
        base = builder.gep(builder.bitcast(dense.data, _BYTE.as_pointer()), [first])

        def line(rows: Any, position: Any) -> Any:
            row = builder.sext(builder.load(builder.gep(rows.data, [position])), stride.type)
            return builder.gep(base, [builder.mul(row, stride)])

        with _cgutils.for_range(builder, arguments[5]) as loop:
            _prefetch_line(builder, line(upcoming, loop.index), soon=False)
        one = ir.Constant(arguments[3].type, 1)
        products = _Products(context, builder)
        with _cgutils.for_range(builder, builder.ashr(builder.add(arguments[3], one), one)) as loop:
            even = builder.shl(loop.index, one)
            pair = [even, builder.add(even, one)]
            products.add(
                [_load(builder, line(picked, at), _BYTES, 1) for at in pair],
                [builder.load(builder.gep(given.data, [at])) for at in pair],
            )
        place = builder.gep(out.data, [first])
        add = _function(builder, f"llvm.fma.v{BLOCK}f32", _FLOATS, [_FLOATS] * 3)
        terms = builder.sitofp(products.total, _FLOATS), _repeated(builder, arguments[7], _FLOATS)
        found = builder.call(add, [*terms, _load(builder, place, _FLOATS, 4)])
        _store(builder, found, place, 4)
        largest = _function(builder, f"llvm.vector.reduce.fmax.v{BLOCK}f32", _FLOAT, [_FLOATS])
        return builder.call(largest, [found], fastmath=("nnan",))

    numbers = numba.intp, numba.float32
    return (
        numba.float32(table, rows, steps, numba.intp, ahead, numba.intp, *numbers, sums),
        generate,
    )


class _Products:
    """Sums (int32) of lines of BLOCK bytes, each line times a number (int16).

    Two lines are added at once. Some processors have an instruction that multiplies two
    neighbouring numbers and adds the products. For these processors, the bytes of two lines are
    interleaved, in the order that needs the fewest instructions.
    """

    def __init__(self, context: Any, builder: Any) -> None:
        self._builder = builder
        offered = (found for feature, found in _MULTIPLY.items() if processor_has(context, feature))
        self._name, self._size = next(offered, ("", BLOCK))
        kind = ir.VectorType(_INT, self._size)
        self._sums = [_cgutils.alloca_once(builder, kind) for _ in range(BLOCK // self._size)]
        for total in self._sums:
            builder.store(ir.Constant(kind, [0] * self._size), total)

    def add(self, lines: list[Any], numbers: list[Any]) -> None:
        """Add two lines of bytes, each line times its number."""
        add = self._side_by_side if self._name else self._one_by_one
        for total, products in zip(self._sums, add(lines, numbers), strict=True):
            self._builder.store(self._builder.add(self._builder.load(total), products), total)

    @property
    def total(self) -> Any:
        """The sums, in the order of the bytes."""
        parts, size = [self._builder.load(total) for total in self._sums], self._size
        while len(parts) > 1:
            size *= 2
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [self._shuffled(*pair, list(range(size))) for pair in pairs]
        if not self._name:
            return parts[0]
        return self._shuffled(parts[0], parts[0], [_UNPACKED.index(n) for n in range(BLOCK)])

    def _one_by_one(self, lines: list[Any], numbers: list[Any]) -> list[Any]:
        builder, kind = self._builder, ir.VectorType(_INT, BLOCK)
        products = [
            builder.mul(
                builder.sext(line, kind), _repeated(builder, builder.sext(number, _INT), kind)
            )
            for line, number in zip(lines, numbers, strict=True)
        ]
        return [builder.add(*products)]

    def _side_by_side(self, lines: list[Any], numbers: list[Any]) -> list[Any]:
        builder, shorts = self._builder, ir.VectorType(_SHORT, 2 * self._size)
        kind = ir.VectorType(_INT, self._size)
        multiply = _function(builder, self._name, kind, [shorts, shorts])
        pair = ir.Constant(ir.VectorType(_SHORT, 2), ir.Undefined)
        for place, number in enumerate(numbers):
            pair = builder.insert_element(pair, number, _number(place))
        factors = self._shuffled(pair, pair, [0, 1] * self._size)
        products = []
        for first in range(0, BLOCK, self._size):
            places = _UNPACKED[first : first + self._size]
            both = self._shuffled(lines[0], lines[1], [at for n in places for at in (n, BLOCK + n)])
            products.append(builder.call(multiply, [builder.sext(both, shorts), factors]))
        return products

    def _shuffled(self, first: Any, second: Any, places: list[int]) -> Any:
        mask = ir.Constant(ir.VectorType(_INT, len(places)), places)
        return self._builder.shuffle_vector(first, second, mask)


_MULTIPLY = {
    "avx512bw": ("llvm.x86.avx512.pmaddw.d.512", 16),
    "avx2": ("llvm.x86.avx2.pmadd.wd", 8),
}
"""For each processor feature, the instruction that multiplies neighbours and adds the products, and
the number of sums that the instruction gives; the widest instruction first."""
_UNPACKED = [
    16 * lane + 8 * half + place
    for half in range(2)
    for lane in range(BLOCK // 16)
    for place in range(8)
]
"""The order of the bytes after the halves of each group of 16 bytes are interleaved."""


def _keeping_leaves(comparison: Callable[..., Any]) -> Callable[..., Any]:
    """The code generator of `keep_leaves`. The `comparison` is true for values that go left."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        reached, trees, thresholds, right, pairs = (
            _array(context, builder, signature, arguments, place) for place in (0, 1, 2, 3, 6)
        )
        values = _load(builder, builder.gep(pairs.data, [arguments[7]]), _LANES, 4)
        everything = ir.Constant(_LEAVES, [0xFFFF] * LANES)
        with _cgutils.for_range_slice(
            builder, arguments[4], arguments[5], ir.Constant(arguments[4].type, 1)
        ) as (node, _):

            def of_node(array: Any, node: Any = node) -> Any:
                return builder.load(builder.gep(array.data, [node]))

            width = ir.Constant(arguments[4].type, LANES)
            tree = builder.sext(of_node(trees), width.type)
            place = builder.gep(reached.data, [builder.mul(tree, width)])
            threshold = _repeated(builder, of_node(thresholds), _LANES)
            remaining = _repeated(builder, of_node(right), _LEAVES)
            goes_left = comparison(builder, "<=", values, threshold)
            kept = builder.select(goes_left, everything, remaining)
            _store(builder, builder.and_(_load(builder, place, _LEAVES, 2), kept), place, 2)
        return context.get_dummy_value()

    def typed(
        typing: Any, leaves: Any, trees: Any, thresholds: Any, right: Any, first: Any, end: Any,
        pairs: Any, at: Any,
    ) -> Any:  # fmt: skip
        nodes = trees, thresholds, right, numba.intp, numba.intp
        return numba.void(leaves, *nodes, pairs, numba.intp), generate

    return typed


def _generate_transpose(typing: Any, table: Any, rows: Any, first: Any, out: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given, picked, turned = (
            _array(context, builder, signature, arguments, place) for place in (0, 1, 3)
        )
        stride = _cgutils.unpack_tuple(builder, given.strides)[0]
        start = builder.bitcast(builder.gep(given.data, [arguments[2]]), _BYTE.as_pointer())
        lines = []
        for lane in range(LANES):
            row = builder.load(builder.gep(picked.data, [_number(lane)]))
            at = builder.gep(start, [builder.mul(builder.sext(row, stride.type), stride)])
            lines.append(_load(builder, at, _LEAVES, 2))
        width = ir.Constant(arguments[2].type, LANES)
        for number, line in enumerate(_transposed(builder, lines)):
            row = builder.add(arguments[2], ir.Constant(arguments[2].type, number))
            _store(builder, line, builder.gep(turned.data, [builder.mul(row, width)]), 2)
        return context.get_dummy_value()

    return numba.void(table, rows, numba.intp, out), generate


def _transposed(builder: Any, lines: list[Any]) -> list[Any]:
    """Transpose a square matrix (LANES vectors) by swapping smaller and smaller squares in it."""
    size = LANES // 2
    while size:
        from_first = [k if not k & size else LANES + k - size for k in range(LANES)]
        from_second = [k + size if not k & size else LANES + k for k in range(LANES)]
        pairs = [(k, k + size) for k in range(LANES) if not k & size]
        turned = list(lines)
        for first, second in pairs:
            for place, picked in ((first, from_first), (second, from_second)):
                mask = ir.Constant(ir.VectorType(_INT, LANES), picked)
                turned[place] = builder.shuffle_vector(lines[first], lines[second], mask)
        lines, size = turned, size // 2
    return lines


def _generate_sum_leaves(typing: Any, reached: Any, values: Any, out: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, added, sums = (
            _array(context, builder, signature, arguments, place) for place in range(3)
        )
        trees = _cgutils.unpack_tuple(builder, added.shape)[0]
        count = _function(builder, f"llvm.cttz.v{LANES}i16", _LEAVES, [_LEAVES, ir.IntType(1)])
        halves = [list(range(first, first + _HALF)) for first in (0, _HALF)]
        totals = [_cgutils.alloca_once(builder, _DOUBLES) for _ in halves]
        for total in totals:
            builder.store(ir.Constant(_DOUBLES, [0.0] * _HALF), total)
        with _cgutils.for_range(builder, trees) as loop:
            row = builder.mul(loop.index, ir.Constant(trees.type, LANES))
            leaves = _load(builder, builder.gep(left.data, [row]), _LEAVES, 2)
            found = builder.call(count, [leaves, ir.Constant(ir.IntType(1), 0)])
            row = builder.mul(loop.index, ir.Constant(trees.type, LEAVES))
            tree = builder.gep(added.data, [row])
            for half, total in zip(halves, totals, strict=True):
                mask = ir.Constant(ir.VectorType(_INT, _HALF), half)
                places = builder.zext(builder.shuffle_vector(found, found, mask), _LONGS)
                picked = _picked(context, builder, tree, places)
                builder.store(builder.fadd(builder.load(total), picked), total)
        for half, total in zip(halves, totals, strict=True):
            at = builder.gep(sums.data, [_number(half[0])])
            _store(builder, builder.load(total), at, 8)
        return context.get_dummy_value()

    return numba.void(reached, values, out), generate


def _picked(context: Any, builder: Any, table: Any, places: Any) -> Any:
    """The numbers (float64) at the given places (int64) of a table with LEAVES entries."""
    if processor_has(context, "avx512f"):
        low, high = (
            _load(builder, builder.gep(table, [_number(first)]), _LOOKED_UP, 8)
            for first in (0, LEAVES // 2)
        )
        name = "llvm.x86.avx512.vpermi2var.pd.512"
        pick = _function(builder, name, _DOUBLES, [_LOOKED_UP, _LONGS, _LOOKED_UP])
        return builder.call(pick, [low, places, high])  # reads only the lowest four bits of a place
    places = builder.and_(places, ir.Constant(_LONGS, [LEAVES - 1] * _HALF))
    picked = ir.Constant(_DOUBLES, ir.Undefined)
    for lane in range(_HALF):
        place = builder.extract_element(places, _number(lane))
        number = builder.load(builder.gep(table, [place]))
        picked = builder.insert_element(picked, number, _number(lane))
    return picked


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


_prefetch_column = _instruction(_generate_prefetch)


@compiled
def prefetch_row(table: npt.NDArray[np.generic], row: int) -> None:
    """Prefetch a row of a C-ordered table.

    If rows are read in random order from a table larger than the caches, most of the time is spent
    on waiting for memory.
    """
    for column in range(0, table.shape[1], max(CACHE_LINE // table.itemsize, 1)):
        _prefetch_column(table, np.intp(row), np.intp(column))


prefetch_element = _instruction(_generate_fetch)
"""In kernels: prefetch the cache line of an element of a contiguous array."""
half_to_float = _instruction(_generate_widen)
"""In kernels: float16 to float32. Numba has no float16, so kernels see its bits as uint16."""
float_to_half = _instruction(_generate_narrow)
"""In kernels: float32 to the bits (uint16) of the nearest float16."""
trailing_zeros = _instruction(_generate_trailing_zeros)
"""In kernels: the number of trailing zero bits of a uint64; 64 for 0."""
at_least = _instruction(_generate_at_least)
"""In kernels: compare the BLOCK values (float32) of a block with a bound.

Returns a uint64; bit i is 1 if value i is at least the bound.
"""
add_rows = _instruction(_generate_add_rows)
"""In kernels: add rows of a table, each times its factor, to sums, for one block of BLOCK columns.

Arguments: the table (int8, C-ordered, whole blocks); the row numbers (int32); their factors as
multiples of a step (int16); the number of rows; the row numbers to prefetch for a later call, and
their number; the number of the block; the size of a step (float32); and the sums (float32, one for
each column). If the count is odd, the arrays must contain one more row, with a factor of 0.
The absolute factors of all rows must add up to fewer than 2^24 steps. Returns the largest sum of
the block.
"""
keep_leaves = _instruction(_keeping_leaves(ir.IRBuilder.fcmp_ordered))
"""In kernels: evaluate some nodes of trees for LANES pairs and keep only the reachable leaves.

Arguments: the reachable leaves (uint16[trees, LANES], one bit each), updated in place; arrays with
the tree (int32) and the threshold (float32) of each node, and the leaves that remain reachable if
the value is larger or NaN (uint16); the number of the first node to evaluate and the number after
the last one; the feature values of the pairs (float32), and the position of the first of the LANES
values that these nodes compare.
"""
keep_leaves_nan_left = _instruction(_keeping_leaves(ir.IRBuilder.fcmp_unordered))
"""In kernels: like `keep_leaves`, for nodes where NaN goes left."""
transpose = _instruction(_generate_transpose)
"""In kernels: transpose LANES columns of LANES rows of a table.

Arguments: the table (uint16), the row numbers (int32[LANES]), the first column, and the output
(uint16[columns, LANES]), whose rows are the columns of the table.
"""
sum_leaves = _instruction(_generate_sum_leaves)
"""In kernels: for each of LANES pairs, the sum of the values of each tree's first reachable leaf.

Arguments: the reachable leaves (uint16[trees or more, LANES], at least one bit each), the values of
the leaves (float64[trees, LEAVES]), and the output (float64[LANES]). The values are added in the
order of the trees.
"""
