"""Namesakes: the training entities that are called the same, and the labels they have.

A chain has the same labels at every address. The linear stage has seen its name too, but only as
one row of letters among many; what its namesakes are is told to the reranker as it stands.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from labelwright.models.kernels.hash_table import LookupTable, find, lookup_table
from labelwright.models.kernels.hashes import Hashes
from labelwright.models.kernels.jit import compiled
from labelwright.models.stages.linear import LabelIds

COUNTED_AT_MOST = 255
"""Namesakes beyond this number are not counted."""

Recalled = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Namesakes:
    """The labels of the training entities of each name.

    `keys` (uint64) are names as `FeatureRows.names` has them, and `counts` (uint8) how many
    entities are called so. The entities of name k have the labels `ids[indptr[k]:indptr[k + 1]]`,
    each of them 1/255 of `shares` (uint8) of these entities, whether or not the others tell of it.
    Where the count is 0, entities of the name tell of the labels that are listed, and of no others.
    """

    keys: Hashes
    counts: npt.NDArray[np.uint8]
    indptr: npt.NDArray[np.int64]
    ids: npt.NDArray[np.unsignedinteger[Any]]
    shares: npt.NDArray[np.uint8]

    @functools.cached_property
    def memory(self) -> "Memory":
        """The same with a table to look names up in, for kernels."""
        table = lookup_table(self.keys)
        return Memory(table, self.counts, self.indptr, self.ids, self.shares)

    def recall(self, names: Hashes, chosen: LabelIds) -> Recalled:
        """How many namesakes each entity has and what share of them has each candidate.

        Returns n x candidates x 2: the number, and the share, NaN where no namesake tells of it.
        """
        recalled = np.empty((*chosen.shape, 2), np.float32)
        _recall(self.memory, names, chosen, recalled)
        return recalled


class Memory(NamedTuple):
    """The arrays of `Namesakes`, and the positions of its keys."""

    table: LookupTable
    counts: npt.NDArray[np.uint8]
    indptr: npt.NDArray[np.int64]
    ids: npt.NDArray[np.unsignedinteger[Any]]
    shares: npt.NDArray[np.uint8]


@compiled
def recall_row(memory: Memory, name: np.uint64, chosen: LabelIds, recalled: Recalled) -> None:
    """What is recalled of the candidates of one entity, candidates x 2."""
    place = find(memory.table, name)
    count = memory.counts[place] if place >= 0 else 0
    recalled[:, 0] = count
    recalled[:, 1] = 0 if count > 0 else np.nan
    if place < 0:
        return
    for i in range(memory.indptr[place], memory.indptr[place + 1]):
        for candidate in range(chosen.size):
            if chosen[candidate] == memory.ids[i]:
                recalled[candidate, 0] = max(count, 1)
                recalled[candidate, 1] = np.float32(memory.shares[i]) / 255


@compiled
def _recall(memory: Memory, names: Hashes, chosen: LabelIds, recalled: Recalled) -> None:
    for row in range(names.size):
        recall_row(memory, names[row], chosen[row], recalled[row])
