"""How much of what entities say training has met: which of their tokens are features."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from labelwright.entities.schema import Column
from labelwright.entities.tables import Entities
from labelwright.models.features import tokens
from labelwright.models.features.space import FeatureSpace, token_source
from labelwright.models.features.tokens import Scratch, TokenSource, row_tokens
from labelwright.models.kernels.hash_table import LookupTable, find
from labelwright.models.kernels.hashes import Hashes
from labelwright.models.kernels.jit import compiled

Counts = npt.NDArray[np.int64]


class Met(NamedTuple):
    """Of each row of a column: all its `tokens`, those `known` to training, a `digest` of all."""

    tokens: Counts
    known: Counts
    digest: Hashes

    def unseen(self, of: int) -> Counts:
        """The share of tokens that training has never met, in parts `of` the whole; 0 of none."""
        return (self.tokens - self.known) * of // np.maximum(self.tokens, 1)


def met(space: FeatureSpace, entities: Entities, column: Column) -> Met:
    """Look up the tokens of a column that is not numeric."""
    alone = Entities(entities.schema, entities.table.select(["id", column.name]))
    source = token_source(alone, space.edges)
    found = Met(
        np.zeros(len(entities), np.int64),
        np.zeros(len(entities), np.int64),
        np.zeros(len(entities), np.uint64),
    )
    _meet(source, tokens.scratch(source), space.table, found)
    return found


@compiled
def _meet(source: TokenSource, scratch: Scratch, table: LookupTable, found: Met) -> None:
    for row in range(found.tokens.size):
        n = row_tokens(row, source, scratch)
        found.tokens[row] = n
        for i in range(n):
            found.known[row] += find(table, scratch.tokens[i]) >= 0
            found.digest[row] += scratch.tokens[i]
