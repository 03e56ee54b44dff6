"""Selection of features: the tokens that occur in enough training entities."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from labelwright.entities.tables import Entities
from labelwright.models.features import tokens
from labelwright.models.features.space import FeatureSpace, number_columns, token_source
from labelwright.models.features.tokens import Scratch, TokenSource, row_tokens
from labelwright.models.kernels.csr import find_keys
from labelwright.models.kernels.hash_table import slot_of
from labelwright.models.kernels.jit import compiled
from labelwright.training.fitting.spill import SpillingAllocator

MAX_FEATURES = 1 << 19
MIN_ENTITIES = 2
"""Minimum number of entities that have a token: a token of a single entity does not generalise."""
BINS = 16
"""Number of bins of a number column."""
GROUP_LENGTHS = np.array([1.0, 1.0, 0.7], np.float32)
"""Euclidean length of each group of features in a row, before the row is scaled to unit length.

The groups are character n-grams, words, and all other features (`models.features.tokens`).
"""

Keys = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int32]
Weights = npt.NDArray[np.float32]


def fit_features(
    batches: Iterable[Entities],
    sample: Entities,
    allocator: SpillingAllocator | None = None,
    base: FeatureSpace | None = None,
) -> tuple[FeatureSpace, int]:
    """Count the tokens of all batches and select the frequent ones, most frequent first.

    The bin edges of number columns are quantiles of the values in `sample`. The weight of a feature
    is its inverse document frequency, ln((1 + n) / (1 + count)) + 1. The features of `base` are
    also selected and keep their weights; then its bin edges are used, too. Returns the feature
    space, and the sum of the numbers of features of all rows.
    """
    edges = _bin_edges(sample) if base is None else base.edges
    counter = _TokenCounter(allocator or SpillingAllocator())
    for entities in batches:
        counter.add(token_source(entities, edges))
    keys, counts = counter.frequent(MIN_ENTITIES)
    weights = (np.log((1 + counter.rows) / (1 + counts)) + 1).astype(np.float32)
    order = np.lexsort((keys, -counts))
    if base is not None:
        keys, counts, weights = _with_base(keys, counts, weights, counter, base)
        order = np.lexsort((keys, weights))
    order = order[:MAX_FEATURES]
    space = FeatureSpace(sample.schema, keys[order], weights[order], GROUP_LENGTHS, edges)
    return space, int(counts[order].sum(dtype=np.int64))


def _with_base(
    keys: Keys, counts: Counts, weights: Weights, counter: "_TokenCounter", base: FeatureSpace
) -> tuple[Keys, Counts, Weights]:
    """The keys of the base and, after them, the other keys, with their counts and weights."""
    new = find_keys(base.keys, keys) < 0
    return (
        np.concatenate([base.keys, keys[new]]),
        np.concatenate([counter.counts_of(base.keys), counts[new]]),
        np.concatenate([base.weights, weights[new]]),
    )


def _bin_edges(sample: Entities) -> npt.NDArray[np.float64]:
    columns = number_columns(sample.schema)
    edges = np.zeros((len(columns), BINS - 1))
    for row, column in zip(edges, columns, strict=True):
        array = sample.column(column.name)
        if array is not None and array.null_count < len(array):
            known = array.drop_null().to_numpy()
            row[:] = np.quantile(known, np.arange(1, BINS) / BINS)
    return edges


class _TokenCounter:
    """Hash table with the number of entities of each token; it grows when it is half full."""

    def __init__(self, allocator: SpillingAllocator) -> None:
        self.rows = 0
        self._used = 0
        self._allocator = allocator
        self._keys: Keys = allocator.zeros((1 << 16,), np.uint64)
        self._counts: Counts = allocator.zeros((1 << 16,), np.int32)

    def add(self, source: TokenSource) -> None:
        """Count the tokens of some entities."""
        row, rows = 0, len(source.number_tokens)
        scratch = tokens.scratch(source)
        while row < rows:
            if 2 * self._used > len(self._keys):
                self._grow()
            row, self._used = _count(source, scratch, row, self._keys, self._counts, self._used)
        self.rows += rows

    def frequent(self, at_least: int) -> tuple[Keys, Counts]:
        """The tokens of at least `at_least` entities, and the number of entities of each token."""
        kept = self._counts >= at_least
        return self._keys[kept], self._counts[kept]

    def counts_of(self, keys: Keys) -> Counts:
        """The number of entities of each of these tokens."""
        found = find_keys(self._keys[self._counts > 0], keys)
        counts: Counts = np.where(found < 0, 0, self._counts[self._counts > 0][found])
        return counts

    def _grow(self) -> None:
        keys = self._allocator.zeros((4 * len(self._keys),), np.uint64)
        counts = self._allocator.zeros((len(keys),), np.int32)
        _move(self._keys, self._counts, keys, counts)
        self._keys, self._counts = keys, counts


@compiled
def _count(
    source: TokenSource, scratch: Scratch, row: int, keys: Keys, counts: Counts, used: int
) -> tuple[int, int]:
    """Count the tokens of the rows from `row` on, until the table is half full.

    Returns the first row that is not counted, and the number of used slots.
    """
    while row < source.number_tokens.shape[0] and 2 * used <= keys.size:
        n = row_tokens(row, source, scratch)
        if used + n >= keys.size:
            break
        for i in range(n):
            slot = slot_of(keys, keys.size, scratch.tokens[i])
            if keys[slot] == 0:
                keys[slot] = scratch.tokens[i]
                used += 1
            counts[slot] += 1
        row += 1
    return row, used


@compiled
def _move(keys: Keys, counts: Counts, to_keys: Keys, to_counts: Counts) -> None:
    for i in range(keys.size):
        if keys[i] != 0:
            slot = slot_of(to_keys, to_keys.size, keys[i])
            to_keys[slot] = keys[i]
            to_counts[slot] = counts[i]
