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
    size = 1 << int(2 * len(keys)).bit_length()
    table = LookupTable(np.zeros(size, np.uint64), np.zeros(size, np.int32))
    _fill(np.asarray(keys), table)
    return table


@compiled
def _fill(keys: npt.NDArray[np.uint64], table: LookupTable) -> None:
    mask = np.uint64(table.slots.size - 1)
    for i in range(keys.size):
        slot = keys[i] & mask
        while table.slots[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        table.slots[slot] = keys[i]
        table.positions[slot] = i


@compiled
def find(table: LookupTable, key: np.uint64) -> int:
    """The position of a hash, -1 if it is not in the table or 0."""
    mask = np.uint64(table.slots.size - 1)
    slot = key & mask
    while table.slots[slot] != 0:
        if table.slots[slot] == key:
            return int(table.positions[slot])
        slot = (slot + np.uint64(1)) & mask
    return -1
