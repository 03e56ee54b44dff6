"""The processor's instructions, against plain NumPy."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.compiled import compiled
from models.instructions import (
    BLOCK,
    LANES,
    add_rows,
    at_least,
    keep_leaves,
    narrowed,
    prefetch,
    trailing_zeros,
    widened,
)

some = settings(max_examples=60, deadline=None)
Floats = npt.NDArray[np.float32]


@compiled
def added(
    table: npt.NDArray[np.int8],
    rows: npt.NDArray[np.int32],
    factors: Floats,
    block: int,
    sums: Floats,
) -> float:
    return add_rows(table, rows, factors, rows.size, rows, rows.size, block, sums)  # type: ignore[no-any-return]


@compiled
def reached(values: Floats, block: int, least: float) -> int:
    return at_least(values, block, np.float32(least))  # type: ignore[no-any-return]


@compiled
def kept(
    leaves: npt.NDArray[np.uint16], pairs: Floats, feature: int, threshold: float, right: int
) -> None:
    keep_leaves(leaves, 1, pairs, feature, np.float32(threshold), np.uint16(right))


@compiled
def zeros_of(short: np.uint16, long: np.uint64) -> tuple[int, int]:
    return trailing_zeros(short), trailing_zeros(long)


@compiled
def halved(value: np.float32) -> np.float32:
    return widened(narrowed(value))  # type: ignore[no-any-return]


@some
@given(st.integers(0, 9_999), st.integers(0, 9), st.integers(0, 2))
def test_rows_are_added_to_one_block(seed: int, count: int, block: int) -> None:
    random = np.random.default_rng(seed)
    table = random.integers(-128, 128, (7, 3 * BLOCK)).astype(np.int8)
    rows = random.integers(0, 7, count).astype(np.int32)
    factors = random.normal(size=count).astype(np.float32)
    sums = random.normal(size=3 * BLOCK).astype(np.float32)
    part = slice(block * BLOCK, (block + 1) * BLOCK)
    expected = sums.copy()
    expected[part] += factors @ table[rows, part].astype(np.float32)
    assert added(table, rows, factors, block, sums) == sums[part].max()
    assert sums == pytest.approx(expected, rel=1e-4, abs=1e-3)


@some
@given(st.integers(0, 9_999), st.integers(0, 1))
def test_values_that_reach_a_bound_have_their_bits(seed: int, block: int) -> None:
    values = np.random.default_rng(seed).integers(-3, 4, 2 * BLOCK).astype(np.float32)
    values[::7] = np.nan
    bits = reached(values, block, 1.0)
    part = values[block * BLOCK : (block + 1) * BLOCK]
    assert [bool(bits >> i & 1) for i in range(BLOCK)] == (part >= 1).tolist()


@some
@given(st.integers(0, 9_999), st.integers(0, 0xFFFF))
def test_leaves_are_struck_out_where_a_value_is_larger(seed: int, right: int) -> None:
    random = np.random.default_rng(seed)
    pairs = random.integers(-2, 3, (3, LANES)).astype(np.float32)
    leaves = random.integers(0, 0x10000, (2, LANES)).astype(np.uint16)
    expected = leaves.copy()
    expected[1] &= np.where(pairs[2] <= 0.5, 0xFFFF, right).astype(np.uint16)
    kept(leaves, pairs, 2, 0.5, right)
    np.testing.assert_array_equal(leaves, expected)


@some
@given(st.integers(0, 15), st.integers(0, 63), st.integers(0, 2**64 - 1))
def test_zeros_at_the_end_are_counted(short: int, long: int, above: int) -> None:
    shorts = np.uint16((above << short | 1 << short) & 0xFFFF)
    longs = np.uint64((above << long | 1 << long) & (2**64 - 1))
    assert zeros_of(shorts, longs) == (short, long)
    assert zeros_of(np.uint16(0), np.uint64(0)) == (16, 64)


@some
@given(st.floats(-60_000, 60_000, width=32))
def test_half_precision_is_that_of_numpy(value: float) -> None:
    assert halved(np.float32(value)) == np.float16(value)


@pytest.mark.parametrize("kind", [np.float32, np.int8, np.float64])
def test_asking_for_a_row_changes_nothing(kind: type[np.generic]) -> None:
    @compiled
    def fetch_all(table: np.ndarray[tuple[int, int], np.dtype[np.generic]]) -> None:
        for row in range(table.shape[0]):
            prefetch(table, row)

    table = np.arange(300).reshape(3, 100).astype(kind)
    before = table.copy()
    fetch_all(table)
    np.testing.assert_array_equal(table, before)
