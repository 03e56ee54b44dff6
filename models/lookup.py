"""Looking up the position of a 64-bit hash: open addressing with linear probing."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.compiled import compiled


class LookupTable(NamedTuple):
    """Hashes in their slots, 0 where a slot is free, and the position of each.

    The number of slots is a power of two, at least twice the number of hashes.
    """

    slots: npt.NDArray[np.uint64]
    positions: npt.NDArray[np.int32]


def lookup_table(keys: npt.NDArray[np.uint64]) -> LookupTable:
    """A table of distinct hashes, none of which is 0."""
    size = table_size(len(keys))
    table = LookupTable(np.zeros(size, np.uint64), np.zeros(size, np.int32))
    _fill(np.asarray(keys), table)
    return table


@compiled
def table_size(hashes: int) -> int:
    """How many slots a table of some hashes has: a power of two, at least half of it free."""
    size = 64
    while size < 2 * hashes:
        size *= 2
    return size


@compiled
def slot_of(slots: npt.NDArray[np.uint64], size: int, key: np.uint64) -> int:
    """Where a hash is among the first `size` slots, or else the free slot where it belongs."""
    mask = np.uint64(size - 1)
    slot = key & mask
    while slots[slot] != 0 and slots[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return int(slot)


@compiled
def _fill(keys: npt.NDArray[np.uint64], table: LookupTable) -> None:
    for i in range(keys.size):
        slot = slot_of(table.slots, table.slots.size, keys[i])
        table.slots[slot] = keys[i]
        table.positions[slot] = i


@compiled
def find(table: LookupTable, key: np.uint64) -> int:
    """The position of a hash, -1 if it is not in the table or 0."""
    slot = slot_of(table.slots, table.slots.size, key)
    return int(table.positions[slot]) if table.slots[slot] != 0 else -1
