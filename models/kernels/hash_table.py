"""Hash tables that find the position of a 64-bit hash: open addressing with linear probing."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from labelwright.models.kernels.jit import compiled
from labelwright.models.kernels.simd import prefetch_element


class LookupTable(NamedTuple):
    """An array of hashes, and slots that refer to it.

    A slot contains 1 + the position of a hash in `keys`, or 0 if the slot is free. The number of
    slots is a power of two, at least twice the number of hashes. `keys` is not copied, so that
    processes can share a memory-mapped array.
    """

    keys: npt.NDArray[np.uint64]
    slots: npt.NDArray[np.int32]


def lookup_table(keys: npt.NDArray[np.uint64]) -> LookupTable:
    """A table of hashes, which must be distinct and not 0."""
    table = LookupTable(np.asarray(keys), np.zeros(table_size(len(keys)), np.int32))
    _fill(table)
    return table


@compiled
def table_size(hashes: int) -> int:
    """The number of slots for some hashes: a power of two, at least twice the number of hashes."""
    size = 64
    while size < 2 * hashes:
        size *= 2
    return size


@compiled
def slot_of(slots: npt.NDArray[np.uint64], size: int, key: np.uint64) -> int:
    """The slot of a hash among the first `size` slots, or the free slot where it can be stored.

    These slots contain the hashes themselves, or 0 if they are free.
    """
    mask = np.uint64(size - 1)
    slot = key & mask
    while slots[slot] != 0 and slots[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return int(slot)


@compiled
def _place(table: LookupTable, key: np.uint64) -> int:
    """The slot of a hash, or the free slot where it can be stored."""
    mask = np.uint64(table.slots.size - 1)
    slot = key & mask
    while table.slots[slot] != 0 and table.keys[table.slots[slot] - 1] != key:
        slot = (slot + np.uint64(1)) & mask
    return int(slot)


@compiled
def _fill(table: LookupTable) -> None:
    for i in range(table.keys.size):
        table.slots[_place(table, table.keys[i])] = i + 1


@compiled
def find(table: LookupTable, key: np.uint64) -> int:
    """The position of a hash in `keys`; -1 for a hash that is not in the table."""
    return int(table.slots[_place(table, key)]) - 1


@compiled
def prefetch_hashes(table: LookupTable, hashes: npt.NDArray[np.uint64]) -> None:
    """Prefetch the memory that `find` reads for some hashes. The memory accesses then overlap."""
    mask = np.uint64(table.slots.size - 1)
    for key in hashes:
        prefetch_element(table.slots, np.intp(key & mask))
    for key in hashes:
        prefetch_element(table.keys, max(table.slots[key & mask] - 1, 0))
