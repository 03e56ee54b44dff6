"""Namesakes: the training entities with the same normalised name, and their labels.

The branches of a chain have the same name and the same labels. The features of the linear stage are
only the words and character n-grams of a name; the reranker also gets the labels of the namesakes.
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
"""The largest number that is stored as a count, because counts are uint8."""

Recalled = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Namesakes:
    """The labels of the training entities of each name.

    `keys` (uint64) are hashes of names, as in `FeatureRows.names`. `counts[k]` (uint8) is the
    number of entities with name k whose labels are all known. The listed labels of name k are
    `ids[indptr[k]:indptr[k + 1]]`. For each of them, `shares` (uint8) / 255 is the share of the
    name's entities that have the label, among those entities for which the label is known. If the
    count of a name is 0, the shares of all other labels are unknown.
    """

    keys: Hashes
    counts: npt.NDArray[np.uint8]
    indptr: npt.NDArray[np.int64]
    ids: npt.NDArray[np.unsignedinteger[Any]]
    shares: npt.NDArray[np.uint8]

    @functools.cached_property
    def arrays(self) -> "NamesakeArrays":
        """The arrays for kernels, with a look-up table of the names."""
        table = lookup_table(self.keys)
        return NamesakeArrays(table, self.counts, self.indptr, self.ids, self.shares)

    def recall(self, names: Hashes, chosen: LabelIds) -> Recalled:
        """For each candidate, the number of namesakes and the share of them that have the label.

        `names` (uint64[n]) are hashes, `chosen` (n x candidates) label ids. Returns n x candidates
        x 2: the number, then the share. An unknown share is NaN.
        """
        recalled = np.empty((*chosen.shape, 2), np.float32)
        _recall(self.arrays, names, chosen, recalled)
        return recalled


class NamesakeArrays(NamedTuple):
    """The arrays of `Namesakes`, with a table of the keys."""

    table: LookupTable
    counts: npt.NDArray[np.uint8]
    indptr: npt.NDArray[np.int64]
    ids: npt.NDArray[np.unsignedinteger[Any]]
    shares: npt.NDArray[np.uint8]


@compiled
def recall_row(
    arrays: NamesakeArrays, name: np.uint64, chosen: LabelIds, recalled: Recalled
) -> None:
    """Write the numbers and shares of `Namesakes.recall` for one entity, candidates x 2."""
    place = find(arrays.table, name)
    count = arrays.counts[place] if place >= 0 else 0
    recalled[:, 0] = count
    recalled[:, 1] = 0 if count > 0 else np.nan
    if place < 0:
        return
    for i in range(arrays.indptr[place], arrays.indptr[place + 1]):
        for candidate in range(chosen.size):
            if chosen[candidate] == arrays.ids[i]:
                recalled[candidate, 0] = max(count, 1)
                recalled[candidate, 1] = np.float32(arrays.shares[i]) / 255


@compiled
def _recall(arrays: NamesakeArrays, names: Hashes, chosen: LabelIds, recalled: Recalled) -> None:
    for row in range(names.size):
        recall_row(arrays, names[row], chosen[row], recalled[row])
