"""Feature space: turns entities into sparse feature rows.

A feature is a token (`models.features.tokens`) that is frequent enough in the training rows. The
value of a feature in a row is (1 + ln count) times its inverse document frequency (Salton & Buckley
1988). The values of each group of tokens are scaled to a fixed length, and then the row is scaled
to unit length. Otherwise the many character n-grams of a name would outweigh its few words.
"""

import dataclasses
import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from labelwright.entities.arrays import buffers
from labelwright.entities.schema import NUMERIC, Column, EntitySchema, Kind
from labelwright.entities.tables import Entities
from labelwright.entities.text import normalise
from labelwright.models.features import tokens
from labelwright.models.features.tokens import Scratch, TokenSource, group_of, row_tokens
from labelwright.models.kernels.csr import take_rows
from labelwright.models.kernels.hash_table import LookupTable, find, lookup_table, prefetch_hashes
from labelwright.models.kernels.hashes import Hashes, hash_numbers, text_hash
from labelwright.models.kernels.jit import compiled

_TOKEN_KINDS = {
    Kind.TEXT: tokens.TEXT,
    Kind.WORDS: tokens.WORDS,
    Kind.CATEGORY: tokens.VALUES,
    Kind.TAGS: tokens.TAGS,
    Kind.WEB: tokens.WEB,
    Kind.PHONE: tokens.PHONE,
}


class FeatureRows(NamedTuple):
    """A sparse matrix by rows: row r has `values[indptr[r]:indptr[r + 1]]` at `indices[...]`.

    `names` (uint64[rows]) are hashes of the names of the entities; 0 for an entity without a name.
    Names that differ only in spacing have the same hash.
    """

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]
    names: npt.NDArray[np.uint64]

    def take(self, rows: npt.NDArray[np.int64]) -> "FeatureRows":
        """The given rows, in the given order."""
        indptr, positions = take_rows(self.indptr, rows)
        return FeatureRows(
            indptr, self.indices[positions], self.values[positions], self.names[rows]
        )


def fill_rows(rows: FeatureRows, parts: Iterable[FeatureRows]) -> FeatureRows:
    """Concatenate `parts` into the arrays of `rows`, which must be large enough; returns `rows`."""
    row, at = 0, 0
    for part in parts:
        count, size = len(part.names), len(part.indices)
        rows.indptr[row + 1 : row + count + 1] = at + part.indptr[1:]
        rows.names[row : row + count] = part.names
        rows.indices[at : at + size] = part.indices
        rows.values[at : at + size] = part.values
        row, at = row + count, at + size
    return rows


@dataclasses.dataclass(frozen=True)
class FeatureSpace:
    """The features of a model, the most frequent first.

    `keys` (uint64) are the tokens of the features, and `weights` (float32) their inverse document
    frequencies. `shares` (float32[groups of tokens]) are the lengths to which the groups are scaled
    before the row is scaled. `edges` (float64, one row for each number column) are the bounds of
    the bins of numbers.
    """

    schema: EntitySchema
    keys: npt.NDArray[np.uint64]
    weights: npt.NDArray[np.float32]
    shares: npt.NDArray[np.float32]
    edges: npt.NDArray[np.float64]

    def take(self, features: npt.NDArray[np.int32]) -> "FeatureSpace":
        """The space of the given features, in the given order."""
        keys, weights = self.keys[features], self.weights[features]
        return dataclasses.replace(self, keys=keys, weights=weights)

    @functools.cached_property
    def table(self) -> LookupTable:
        """The hash table that finds the feature of a token."""
        return lookup_table(self.keys)

    def transform(self, entities: Entities) -> FeatureRows:
        """The feature rows of some entities; tokens that are not features are left out."""
        source = token_source(entities, self.edges)
        at_most = _tokens_at_most(source)
        indices = np.empty(at_most, np.int32)
        values = np.empty(at_most, np.float32)
        names = np.empty(len(entities), np.uint64)
        indptr = np.zeros(len(entities) + 1, np.int64)
        scratch = tokens.scratch(source)
        rows = FeatureRows(indptr, indices, values, names)
        used = _transform(source, scratch, self.table, self.weights, self.shares, rows)
        return FeatureRows(indptr, indices[:used], values[:used], names)


def token_source(entities: Entities, edges: npt.NDArray[np.float64]) -> TokenSource:
    """The columns of entities as arrays for kernels. `FeatureSpace` explains `edges`."""
    kinds: list[int] = []
    seeds, starts, data = [], [], []
    base, identity = 0, -1
    for column in entities.schema.columns:
        array = None if column.kind in NUMERIC else entities.column(column.name)
        if array is None or array.null_count == len(array):
            continue
        offsets, letters = _letters(array)
        if column.name == entities.schema.identity:
            identity = len(kinds)
        kinds.append(_token_kind(column))
        seeds.append(seed_of(column.name))
        starts.append(offsets + base)
        data.append(letters)
        base += letters.size
    n = len(entities)
    laid_out = np.array(starts, np.int64).reshape(len(starts), n + 1)
    longest = int(np.diff(laid_out, axis=1).max(initial=0))
    return TokenSource(
        np.array(kinds, np.int8),
        np.array(seeds, np.uint64),
        laid_out,
        np.concatenate(data) if data else np.zeros(0, np.uint8),
        _number_tokens(entities, edges),
        tokens.character_classes(),
        identity,
        longest,
    )


def number_columns(schema: EntitySchema) -> list[Column]:
    """The number columns, in the order of the rows of `FeatureSpace.edges`."""
    return [column for column in schema.columns if column.kind is Kind.NUMBER]


def _token_kind(column: Column) -> int:
    if column.kind is Kind.TEXT and column.grams:
        return tokens.NAME
    return _TOKEN_KINDS[column.kind]


@functools.cache
def seed_of(name: str) -> np.uint64:
    """The seed of a column: with it, equal values in different columns have different hashes."""
    return np.uint64(int.from_bytes(text_hash(name), "big"))


def _letters(array: pa.StringArray) -> tuple[npt.NDArray[np.int64], tokens.Bytes]:
    """Offsets and bytes of a string column; null becomes empty.

    The text is normalised, but ASCII text may still have upper-case letters.
    """
    offsets, letters = buffers(array)
    return (offsets, letters) if letters.tobytes().isascii() else buffers(normalise(array))


def _number_tokens(entities: Entities, edges: npt.NDArray[np.float64]) -> Hashes:
    """Tokens of numbers: hashes of the numbers' bins, rows x number columns with values."""
    number_tokens: list[Hashes] = []
    for column, bounds in zip(number_columns(entities.schema), edges, strict=True):
        array = entities.column(column.name)
        if array is not None:
            numbers = array.to_numpy(zero_copy_only=False)
            tokens_of_column = np.empty(len(numbers), np.uint64)
            bins, missing = np.searchsorted(bounds, numbers), np.isnan(numbers)
            hash_numbers(seed_of(column.name), bins, missing, tokens_of_column)
            number_tokens.append(tokens_of_column)
    return (
        np.stack(number_tokens, axis=1)
        if number_tokens
        else np.zeros((len(entities), 0), np.uint64)
    )


def _tokens_at_most(source: TokenSource) -> int:
    """An upper bound of the number of tokens of all rows together; see `tokens.tokens_at_most`."""
    values = source.kinds.size * len(source.number_tokens)
    return 5 * source.data.size + tokens.tokens_at_most(0) * values + source.number_tokens.size


@compiled
def term_weight(count: int) -> np.float32:
    """The factor of a token that occurs `count` times in a row: 1 + ln(count)."""
    return np.float32(1) if count == 1 else np.float32(1 + np.log(count))


@compiled
def _transform(
    source: TokenSource,
    scratch: Scratch,
    table: LookupTable,
    weights: npt.NDArray[np.float32],
    shares: npt.NDArray[np.float32],
    rows: FeatureRows,
) -> int:
    """Write all rows to `rows`; returns the number of their elements."""
    indptr, indices, values, names = rows
    squares, factors = np.empty((2, shares.size), np.float32)
    at = 0
    for row in range(source.number_tokens.shape[0]):
        n = row_tokens(row, source, scratch)
        names[row] = scratch.name[0]
        first = at
        squares[:] = 0
        prefetch_hashes(table, scratch.tokens[:n])
        for i in range(n):
            token = scratch.tokens[i]
            feature = find(table, token)
            if feature >= 0:
                weight = weights[feature] * term_weight(scratch.counts[i])
                scratch.tokens[at - first] = token
                indices[at] = feature
                values[at] = weight
                squares[group_of(token)] += weight * weight
                at += 1
        length = np.float32(0)
        for group in range(shares.size):
            if squares[group] > 0:
                length += shares[group] * shares[group]
        for group in range(shares.size):
            factors[group] = shares[group] / np.sqrt(squares[group] * length)
        for i in range(first, at):
            values[i] *= factors[group_of(scratch.tokens[i - first])]
        indptr[row + 1] = at
    return at
