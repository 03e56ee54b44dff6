"""Novelty of entities: the share of their tokens that a model does not know."""

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


class TokenCounts(NamedTuple):
    """Counts for each row of a column.

    `tokens` is the number of distinct tokens, `known` the number of those that are features, and
    `digest` the sum of all tokens.
    """

    tokens: Counts
    known: Counts
    digest: Hashes

    def unseen_share(self, of: int) -> Counts:
        """The share of tokens that are not features, as a whole number from 0 to `of`.

        The share is rounded down. It is 0 for a row without tokens.
        """
        return (self.tokens - self.known) * of // np.maximum(self.tokens, 1)


def count_known_tokens(space: FeatureSpace, entities: Entities, column: Column) -> TokenCounts:
    """Count the tokens of each row in a column, which must not be numeric."""
    alone = Entities(entities.schema, entities.table.select(["id", column.name]))
    source = token_source(alone, space.edges)
    found = TokenCounts(
        np.zeros(len(entities), np.int64),
        np.zeros(len(entities), np.int64),
        np.zeros(len(entities), np.uint64),
    )
    _count_known_tokens(source, tokens.scratch(source), space.table, found)
    return found


@compiled
def _count_known_tokens(
    source: TokenSource, scratch: Scratch, table: LookupTable, found: TokenCounts
) -> None:
    for row in range(found.tokens.size):
        n = row_tokens(row, source, scratch)
        found.tokens[row] = n
        for i in range(n):
            found.known[row] += find(table, scratch.tokens[i]) >= 0
            found.digest[row] += scratch.tokens[i]
