"""Sparse matrices in CSR layout: offsets, selection and concatenation of rows, look-up of keys.

Row r of such a matrix has the elements `indptr[r]:indptr[r + 1]` of the other arrays.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

Offsets = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int64]


class SparseRows(NamedTuple):
    """A sparse matrix of zeros and ones; `ids` are the columns of the ones, ascending by row."""

    indptr: Offsets
    ids: npt.NDArray[np.int32]

    @classmethod
    def empty(cls, rows: int) -> Self:
        """A matrix of zeros."""
        return cls(np.zeros(rows + 1, np.int64), np.zeros(0, np.int32))

    @classmethod
    def from_pairs(
        cls, rows: npt.NDArray[np.int64], ids: npt.NDArray[np.int64], shape: tuple[int, int]
    ) -> Self:
        """A matrix with ones at the pairs (`rows[i]`, `ids[i]`); pairs may repeat, in any order."""
        columns = max(shape[1], 1)
        keys = np.sort(rows * columns + ids)
        keys = keys[np.diff(keys, prepend=-1) > 0]
        owners, found = np.divmod(keys, columns)
        return cls(offsets(np.bincount(owners, minlength=shape[0])), found.astype(np.int32))

    @classmethod
    def joined(cls, parts: Sequence["SparseRows"]) -> Self:
        """Concatenate the rows of several matrices."""
        return cls(
            joined_offsets([part.indptr for part in parts]),
            np.concatenate([part.ids for part in parts]),
        )

    def rows(self) -> Positions:
        """The row number of each one."""
        return row_numbers(self.indptr)

    def take(self, rows: Positions) -> "SparseRows":
        """The given rows, in the given order."""
        indptr, positions = take_rows(self.indptr, rows)
        return SparseRows(indptr, self.ids[positions])


def offsets(lengths: npt.NDArray[Any]) -> Offsets:
    """The `indptr` of rows with these lengths."""
    indptr = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    return indptr


def row_numbers(indptr: npt.NDArray[Any]) -> Positions:
    """The row number of each element."""
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))


def positions_in_rows(indptr: Offsets) -> Positions:
    """The position of each element within its row."""
    return np.arange(indptr[-1]) - np.repeat(indptr[:-1], np.diff(indptr))


def take_rows(indptr: Offsets, rows: Positions) -> tuple[Offsets, Positions]:
    """The `indptr` of the given rows, in the given order, and the positions of their elements."""
    lengths = np.diff(indptr)[rows]
    taken = offsets(lengths)
    return taken, positions_in_rows(taken) + np.repeat(indptr[rows], lengths)


def joined_offsets(parts: Sequence[Offsets]) -> Offsets:
    """The `indptr` of the concatenated rows of several matrices."""
    return offsets(np.concatenate([np.zeros(0, np.int64), *map(np.diff, parts)]))


def find_keys(keys: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> Positions:
    """The position in `keys` of each item of `wanted`, or -1 if `keys` does not contain it.

    `keys` must be distinct; they may have any order.
    """
    if not len(keys):
        return np.full(len(wanted), -1)
    order = np.argsort(keys)
    found = order[np.searchsorted(keys, wanted, sorter=order).clip(max=len(keys) - 1)]
    return np.where(keys[found] == wanted, found, -1)
