"""Processor instructions give the same results as plain NumPy."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite.binding import get_host_cpu_features

from labelwright.models.kernels.jit import compiled
from labelwright.models.kernels.simd import (
    BLOCK,
    LANES,
    add_rows,
    at_least,
    float_to_half,
    half_to_float,
    keep_leaves,
    keep_leaves_nan_left,
    prefetch_row,
    sum_leaves,
    trailing_zeros,
    transpose,
)

some = settings(max_examples=60, deadline=None)
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@compiled
def added(
    table: npt.NDArray[np.int8],
    rows: npt.NDArray[np.int32],
    steps: npt.NDArray[np.int16],
    count: int,
    block: int,
    size: float,
    sums: Floats,
) -> float:
    return add_rows(table, rows, steps, count, rows, count, block, np.float32(size), sums)  # type: ignore[no-any-return]


@compiled
def reached(values: Floats, block: int, least: float) -> int:
    return at_least(values, block, np.float32(least))  # type: ignore[no-any-return]


@compiled
def kept(
    leaves: npt.NDArray[np.uint16],
    trees: npt.NDArray[np.int32],
    thresholds: Floats,
    right: npt.NDArray[np.uint16],
    pairs: Floats,
    feature: int,
    nan_left: bool,
) -> None:
    if nan_left:
        keep_leaves_nan_left(
            leaves, trees, thresholds, right, 1, trees.size, pairs, feature * LANES
        )
    else:
        keep_leaves(leaves, trees, thresholds, right, 1, trees.size, pairs, feature * LANES)


@compiled
def turned(
    table: npt.NDArray[np.uint16],
    rows: npt.NDArray[np.int32],
    first: int,
    out: npt.NDArray[np.uint16],
) -> None:
    transpose(table, rows, first, out)


@compiled
def summed(leaves: npt.NDArray[np.uint16], values: npt.NDArray[np.float64]) -> Doubles:
    out = np.empty(LANES, np.float64)
    sum_leaves(leaves, values, out)
    return out


@compiled
def zeros_of(bits: np.uint64) -> int:
    return trailing_zeros(bits)  # type: ignore[no-any-return]


@compiled
def halved(value: np.float32) -> np.float32:
    return half_to_float(float_to_half(value))  # type: ignore[no-any-return]


@some
@given(st.integers(0, 9_999), st.integers(0, 9), st.integers(0, 2))
def test_rows_are_added_to_one_block(seed: int, count: int, block: int) -> None:
    random = np.random.default_rng(seed)
    table = random.integers(-128, 128, (7, 3 * BLOCK)).astype(np.int8)
    rows = random.integers(0, 7, count + 1).astype(np.int32)
    steps = random.integers(-(2**15), 2**15, count + 1).astype(np.int16)
    steps[count] = 0
    size = 2.0 ** random.integers(-10, 3)  # a power of two: only sums are rounded
    sums = random.normal(size=3 * BLOCK).astype(np.float32)
    part = slice(block * BLOCK, (block + 1) * BLOCK)
    expected = sums.copy()
    products = steps[:count].astype(np.int64) @ table[rows[:count], part].astype(np.int64)
    expected[part] = (products.astype(np.float32) * np.float64(size) + sums[part]).astype(
        np.float32
    )
    assert added(table, rows, steps, count, block, size, sums) == sums[part].max()
    np.testing.assert_array_equal(sums, expected)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_factors_do_not_overflow(sign: int) -> None:
    table = np.full((1, BLOCK), -128, np.int8)
    steps = np.full(513, sign * (2**15 - 1), np.int16)
    steps[512] = 0
    sums = np.zeros(BLOCK, np.float32)
    added(table, np.zeros(513, np.int32), steps, 512, 0, 1.0, sums)
    np.testing.assert_array_equal(sums, np.float32(-sign * 128 * 512 * (2**15 - 1)))


@some
@given(st.integers(0, 9_999), st.integers(0, 1))
def test_each_value_that_is_at_least_the_bound_has_a_bit(seed: int, block: int) -> None:
    values = np.random.default_rng(seed).integers(-3, 4, 2 * BLOCK).astype(np.float32)
    values[::7] = np.nan
    bits = reached(values, block, 1.0)
    part = values[block * BLOCK : (block + 1) * BLOCK]
    assert [bool(bits >> i & 1) for i in range(BLOCK)] == (part >= 1).tolist()


@some
@given(st.integers(0, 9_999), st.integers(1, 6), st.booleans())
def test_leaves_are_removed_where_a_value_is_larger(seed: int, nodes: int, nan_left: bool) -> None:
    random = np.random.default_rng(seed)
    pairs = random.integers(-2, 3, (3, LANES)).astype(np.float32)
    pairs[2, ::5] = np.nan
    leaves = random.integers(0, 0x10000, (4, LANES)).astype(np.uint16)
    trees = random.integers(0, 4, nodes).astype(np.int32)
    thresholds = random.integers(-2, 3, nodes).astype(np.float32)
    right = random.integers(0, 0x10000, nodes).astype(np.uint16)
    expected = leaves.copy()
    for node in range(1, nodes):
        goes_left = (pairs[2] <= thresholds[node]) | (nan_left & np.isnan(pairs[2]))
        expected[trees[node]] &= np.where(goes_left, 0xFFFF, right[node]).astype(np.uint16)
    kept(leaves, trees, thresholds, right, pairs, 2, nan_left)
    np.testing.assert_array_equal(leaves, expected)


@some
@given(st.integers(0, 9_999), st.integers(0, 1))
def test_columns_of_some_rows_are_transposed(seed: int, part: int) -> None:
    random = np.random.default_rng(seed)
    table = random.integers(0, 0x10000, (9, 2 * LANES)).astype(np.uint16)
    rows = random.integers(0, 9, LANES).astype(np.int32)
    out = np.zeros((2 * LANES, LANES), np.uint16)
    turned(table, rows, part * LANES, out)
    expected = np.zeros_like(out)
    columns = slice(part * LANES, (part + 1) * LANES)
    expected[columns] = table[rows, columns].T
    np.testing.assert_array_equal(out, expected)


@some
@given(st.integers(0, 9_999), st.integers(0, 5))
def test_the_values_of_the_first_remaining_leaves_are_added(seed: int, trees: int) -> None:
    random = np.random.default_rng(seed)
    leaves = random.integers(1, 0x10000, (trees + 1, LANES)).astype(np.uint16)
    values = random.normal(size=(trees, LANES))
    expected = np.zeros(LANES)
    for tree in range(trees):
        lowest = leaves[tree] & -leaves[tree]
        expected += values[tree, np.log2(lowest).astype(np.int64)]
    np.testing.assert_array_equal(summed(leaves, values), expected)


@some
@given(st.integers(0, 63), st.integers(0, 2**64 - 1))
def test_trailing_zeros_are_counted(zeros: int, above: int) -> None:
    assert zeros_of(np.uint64((above << zeros | 1 << zeros) & (2**64 - 1))) == zeros
    assert zeros_of(np.uint64(0)) == 64


@some
@given(st.floats(-60_000, 60_000, width=32))
def test_float16_conversion_gives_the_same_as_numpy(value: float) -> None:
    assert halved(np.float32(value)) == np.float16(value)


@pytest.mark.parametrize("kind", [np.float32, np.int8, np.float64])
def test_prefetching_does_not_change_data(kind: type[np.generic]) -> None:
    @compiled
    def fetch_all(table: np.ndarray[tuple[int, int], np.dtype[np.generic]]) -> None:
        for row in range(table.shape[0]):
            prefetch_row(table, row)

    table = np.arange(300).reshape(3, 100).astype(kind)
    before = table.copy()
    fetch_all(table)
    np.testing.assert_array_equal(table, before)


PROCESSORS = {
    # without float16 conversion, so no model can be trained
    "generic": ("", "not float16 and not real and not of_a_model"),
    "haswell": ("+avx,+avx2,+fma,+bmi,+sse4.2,+f16c", ""),
}


@pytest.mark.integration
@pytest.mark.parametrize("name", PROCESSORS)
def test_other_processors_give_the_same_results(name: str, tmp_path: Path) -> None:
    """Run the tests of instructions, scores and trees in machine code for older processors."""
    if platform.machine() != "x86_64" or not get_host_cpu_features().get("avx2"):
        pytest.skip("this processor cannot run the machine code of the other processors")
    features, chosen = PROCESSORS[name]
    folder = Path(__file__).parents[1]
    files = ("kernels/test_simd.py", "stages/test_linear.py", "stages/test_trees.py")
    tests = [str(folder / file) for file in files]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *tests, "-k", chosen],
        cwd=Path(__file__).parents[3],
        env=os.environ
        | {
            "NUMBA_CPU_NAME": name,
            "NUMBA_CPU_FEATURES": features,
            "NUMBA_CACHE_DIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
