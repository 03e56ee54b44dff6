"""Spans: the parts of the input that the features of an entity come from.

Each word, each pair of neighbouring words and each whole value becomes a separate entity, whose
features are computed in the normal way. Therefore `models.features.tokens` is the only tokenizer,
and spans need not match its tokens exactly: a feature that no smaller span has belongs to the whole
value.
"""

import functools
import itertools
import unicodedata
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from labelwright.entities.schema import NUMERIC, Column, Kind
from labelwright.entities.tables import Entities
from labelwright.entities.text import normalise_one
from labelwright.models.features.space import FeatureSpace
from labelwright.models.features.tokens import (
    IDEOGRAPH,
    JOINER,
    LETTER,
    SEPARATOR,
    SYMBOL,
    character_classes,
)
from labelwright.models.kernels.csr import find_keys, row_numbers

WORDS_LIMIT = 250
"""At most so many words of a value get their own spans. Features of later words belong to the whole
value."""

_CONTINUES = -1  # belongs to the character before it, such as a combining accent
_WORD, _PAIR, _APART, _VALUE = range(4)

Classifier = Callable[[str], int]


class Span(NamedTuple):
    """A part of the value of a column: the text from code point `start` to `end` - 1."""

    column: Column
    text: str
    start: int
    end: int


class Origins(NamedTuple):
    """The spans from which the k features of an entity come.

    The share `shares[i]` of feature `features[i]` (a number below k) comes from span
    `spans[places[i]]`. The shares of a feature add up to 1.
    """

    spans: list[Span]
    places: npt.NDArray[np.int64]
    features: npt.NDArray[np.int64]
    shares: npt.NDArray[np.float64]


def trace(space: FeatureSpace, entity: Entities, features: npt.NDArray[np.int32]) -> Origins:
    """Find the spans of the `features` (int32[k], distinct) of one entity.

    A feature belongs to the words and symbols that have it. If there are none, it belongs to pairs
    of neighbours, or else to pairs of words that only symbols separate, or else to the whole value.
    If several spans of the same kind have a feature, each gets an equal share.
    """
    cuts = list(_cuts(entity)) if len(features) else []
    if not cuts:
        return Origins([], np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    found = space.transform(_as_entities(cuts, entity))
    at = find_keys(features, found.indices)
    places = row_numbers(found.indptr)[at >= 0]
    at = at[at >= 0]
    extents = np.array([extent for _, extent in cuts], np.int8)
    smallest = np.full(len(features), _VALUE, np.int8)
    np.minimum.at(smallest, at, extents[places])
    kept = extents[places] == smallest[at]
    places, at = places[kept], at[kept]
    shares = 1 / np.bincount(at, minlength=len(features))[at]
    return Origins([span for span, _ in cuts], places, at, shares)


def word_bounds(text: str, kind: Kind) -> list[tuple[int, int]]:
    """The (start, end) of each word of a value, at most WORDS_LIMIT words.

    Categories and tags are split only at semicolons. Web addresses, phone numbers and other numbers
    are not split: they have no words.
    """
    if kind not in _CLASSIFIERS:
        return []
    found: list[tuple[int, int]] = []
    open_kind = SEPARATOR
    for at, character in enumerate(text):
        kind_of = _CLASSIFIERS[kind](character)
        joins = kind_of == _CONTINUES or (kind_of == LETTER == open_kind)
        if kind_of == SEPARATOR:
            open_kind = SEPARATOR
        elif kind_of == JOINER:
            continue
        elif joins and open_kind != SEPARATOR:
            found[-1] = (found[-1][0], at + 1)
        elif len(found) == WORDS_LIMIT:
            break
        else:
            found.append((at, at + 1))
            open_kind = kind_of if kind_of in (IDEOGRAPH, SYMBOL) else LETTER
    return found


def _cuts(entity: Entities) -> Iterator[tuple[Span, int]]:
    """All spans of one entity, with their kind (_WORD, _PAIR, _APART or _VALUE)."""
    for column in entity.schema.columns:
        array = None if column.kind is Kind.POINT else entity.column(column.name)
        value = None if array is None else array[0].as_py()
        if value is None or value == "":
            continue
        text = repr(value) if column.kind in NUMERIC else value
        yield Span(column, text, 0, len(text)), _VALUE
        words = word_bounds(text, column.kind)
        for start, end in words:
            yield Span(column, text[start:end], start, end), _WORD
        if column.kind is Kind.TEXT:
            for (start, _), (_, end) in itertools.pairwise(words):
                yield Span(column, text[start:end], start, end), _PAIR
            spelt = [cut for cut in words if _letter_class(text[cut[0]]) != SYMBOL]
            for (start, _), (_, end) in itertools.pairwise(spelt):
                yield Span(column, text[start:end], start, end), _APART


def _as_entities(cuts: list[tuple[Span, int]], entity: Entities) -> Entities:
    """One entity for each span. Its only field is the span's column, with the span's text."""
    table = Entities.empty(entity.schema, len(cuts)).table
    for column in dict.fromkeys(span.column for span, _ in cuts):
        values = [span.text if span.column is column else None for span, _ in cuts]
        array = pa.array(values, pa.string())
        number = column.kind in NUMERIC
        table = table.append_column(column.name, array.cast(pa.float64()) if number else array)
    return Entities(entity.schema, table)


@functools.lru_cache(1 << 16)
def _letter_class(character: str) -> int:
    """The class that the tokenizer gives to a character after normalisation."""
    form = normalise_one(character)
    if not form:
        return JOINER
    if unicodedata.combining(form[0]):
        return _CONTINUES
    classes = character_classes()
    kinds = {int(classes[ord(c)]) if ord(c) < classes.size else SEPARATOR for c in form}
    return kinds.pop() if len(kinds) == 1 else LETTER


@functools.lru_cache(1 << 16)
def _space_class(character: str) -> int:
    form = normalise_one(character)
    if not form:
        return JOINER
    return SEPARATOR if all(ord(c) <= 32 for c in form) else LETTER


@functools.lru_cache(1 << 16)
def _semicolon_class(character: str) -> int:
    """The class of a character in values that semicolons separate; inner spaces join a value."""
    if normalise_one(character) == ";":
        return SEPARATOR
    return LETTER if _space_class(character) == LETTER else JOINER


_CLASSIFIERS: dict[Kind, Classifier] = {
    Kind.TEXT: _letter_class,
    Kind.WORDS: _space_class,
    Kind.CATEGORY: _semicolon_class,
    Kind.TAGS: _semicolon_class,
}
