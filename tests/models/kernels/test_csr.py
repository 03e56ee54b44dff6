"""Sparse rows give the same results as dense matrices."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from labelwright.models.kernels.csr import (
    SparseRows,
    find_keys,
    positions_in_rows,
    row_numbers,
)

in_any_time = settings(deadline=None)

Dense = npt.NDArray[np.bool_]
MATRICES = st_numpy.arrays(np.bool_, st.tuples(st.integers(0, 6), st.integers(0, 6)))


def sparse(dense: Dense) -> SparseRows:
    rows, ids = np.nonzero(dense)
    return SparseRows.from_pairs(rows, ids, dense.shape)


def dense(matrix: SparseRows, columns: int) -> Dense:
    found = np.zeros((len(matrix.indptr) - 1, columns), np.bool_)
    found[matrix.rows(), matrix.ids] = True
    return found


@in_any_time
@given(MATRICES, st.integers(0, 99))
def test_the_order_and_repetition_of_pairs_do_not_change_the_matrix(
    given: Dense, seed: int
) -> None:
    rows, ids = np.nonzero(given)
    order = np.random.default_rng(seed).permutation(np.tile(np.arange(len(rows)), 2))
    matrix = SparseRows.from_pairs(rows[order], ids[order], given.shape)
    assert np.array_equal(dense(matrix, given.shape[1]), given)
    assert matrix.indptr.dtype == np.int64
    assert matrix.ids.dtype == np.int32
    assert all(np.all(np.diff(row) > 0) for row in np.split(matrix.ids, matrix.indptr[1:-1]))


@in_any_time
@given(MATRICES, st.data())
def test_rows_are_taken_in_any_order(given: Dense, data: st.DataObject) -> None:
    choice = st.lists(st.integers(0, len(given) - 1), max_size=8) if len(given) else st.just([])
    rows = np.array(data.draw(choice), np.int64)
    assert np.array_equal(dense(sparse(given).take(rows), given.shape[1]), given[rows])


@in_any_time
@given(st.lists(MATRICES, min_size=1, max_size=4))
def test_joined_matrices_have_the_rows_of_all_parts_in_order(parts: list[Dense]) -> None:
    columns = max(part.shape[1] for part in parts)
    wide = [np.pad(part, ((0, 0), (0, columns - part.shape[1]))) for part in parts]
    joined = SparseRows.joined([sparse(part) for part in wide])
    assert np.array_equal(dense(joined, columns), np.concatenate(wide))


def test_an_empty_matrix_has_rows_but_no_elements() -> None:
    empty = SparseRows.empty(3)
    assert dense(empty, 2).tolist() == [[False, False]] * 3


def test_each_element_has_a_row_number_and_a_position_in_its_row() -> None:
    indptr = np.array([0, 2, 2, 5], np.int64)
    assert row_numbers(indptr).tolist() == [0, 0, 2, 2, 2]
    assert positions_in_rows(indptr).tolist() == [0, 1, 0, 1, 2]


@pytest.mark.parametrize("keys", [[], [7], [9, 2, 5, 0]])
def test_keys_are_found_and_missing_keys_are_minus_one(keys: list[int]) -> None:
    wanted = [5, 0, 1, 9, 7, -1, 5]
    expected = [keys.index(key) if key in keys else -1 for key in wanted]
    assert find_keys(np.array(keys, np.int64), np.array(wanted)).tolist() == expected
