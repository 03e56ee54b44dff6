"""Tokens of an entity: hashes of words, character n-grams and values, computed by kernels.

A token is a 64-bit hash of (column, kind of token, characters). The functions `..._tokens` of one
value write its tokens to `out`, from position `at` on, and return the position after the last
token. `points[:n]` is the value as code points.
"""

import functools
import unicodedata
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from labelwright.models.kernels.hash_table import slot_of, table_size
from labelwright.models.kernels.hashes import Hashes, mix
from labelwright.models.kernels.jit import compiled

TEXT, NAME, WORDS, VALUES, TAGS, WEB, PHONE = range(7)
"""Ways to split a value into tokens; `models.features.space` maps kinds of columns to these."""

GROUPS = 3
LETTER_GROUP, WORD_GROUP, CONTEXT_GROUP = range(GROUPS)
"""Groups of tokens: character n-grams of names; words of names and of word columns; all others."""

SEPARATOR, JOINER, LETTER, IDEOGRAPH, SYMBOL = range(5)
"""Classes of characters; see `character_classes`."""

_WORD, _PAIR, _GRAM, _VALUE, _PREFIX = (np.uint64(code) for code in range(1, 6))
_EDGE = 32
_SHORTEST_GRAM, _LONGEST_GRAM = 3, 5
_PHONE_PREFIXES = (2, 4, 5, 6, 7, 8)
_CLASSIFIED = 0x32000  # all planes in which Unicode has letters
_SEMICOLON, _SLASH, _DOT, _COLON, _EQUALS = 0x3B, 0x2F, 0x2E, 0x3A, 0x3D
_A, _Z = ord("A"), ord("Z")
_AFTER_DOMAIN = (_SLASH, _COLON, ord("?"), ord("#"))

CodePoints = npt.NDArray[np.int32]
Counts = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]


class TokenSource(NamedTuple):
    """The columns of entities as arrays for kernels.

    The value of column c in row r is `data[starts[c, r]:starts[c, r + 1]]`. It is UTF-8 of at most
    `longest` bytes, normalised except for the case of ASCII letters. `kinds[c]` is the way to split
    the values of column c, and `seeds[c]` the seed of their hashes. `number_tokens` (rows x number
    columns with values) are tokens of numbers, 0 for a missing number. `classes` are the
    `character_classes`. `identity` is the number of the column with the names of entities, or -1.
    """

    kinds: npt.NDArray[np.int8]
    seeds: Hashes
    starts: npt.NDArray[np.int64]
    data: Bytes
    number_tokens: Hashes
    classes: Bytes
    identity: int
    longest: int


class Scratch(NamedTuple):
    """Working memory for one row, and the output of `row_tokens`.

    The output is in `tokens`, in `counts` (int32, the number of occurrences of each token), and in
    `name` (one element), which is a hash of the entity's name.
    """

    points: CodePoints
    padded: CodePoints
    tokens: Hashes
    counts: Counts
    name: Hashes
    slots: Hashes
    places: Counts


def scratch(source: TokenSource) -> Scratch:
    """Working memory for any row of `source`."""
    columns, number_tokens = len(source.kinds), source.number_tokens.shape[1]
    at_most = columns * tokens_at_most(source.longest) + number_tokens
    slots = table_size(at_most)
    return Scratch(
        np.empty(source.longest, np.int32),
        np.empty(2 * source.longest + 2, np.int32),
        np.empty(at_most, np.uint64),
        np.empty(at_most, np.int32),
        np.zeros(1, np.uint64),
        np.empty(slots, np.uint64),
        np.empty(slots, np.int32),
    )


def tokens_at_most(length: int) -> int:
    """An upper bound of the number of tokens of a value with `length` bytes, of any kind."""
    grams = _LONGEST_GRAM - _SHORTEST_GRAM + 1
    return (grams + 2) * (length + 2) + len(_PHONE_PREFIXES)


@functools.cache
def character_classes() -> Bytes:
    """The class of each code point.

    Letters include digits and the combining marks of scripts such as Devanagari. Ideographs are the
    letters of scripts that are written without spaces; each of them is a word. Symbols are all
    other visible characters, such as the hash in C# and emoji. Joiners, such as the apostrophe, are
    ignored, so that the letters around them form one word. All other characters are separators. The
    semicolon is a separator, too, because it separates values.
    """
    categories = map(unicodedata.category, map(chr, range(_CLASSIFIED)))
    majors = np.frombuffer("".join([category[0] for category in categories]).encode(), np.uint8)
    classes = np.full(_CLASSIFIED, SEPARATOR, np.uint8)
    classes[np.isin(majors, list(b"LMN"))] = LETTER
    classes[np.isin(majors, list(b"PS"))] = SYMBOL
    classes[_SEMICOLON] = SEPARATOR
    for first, last in (
        (0x0E00, 0x0EFF),
        (0x1000, 0x109F),
        (0x1780, 0x17FF),
        (0x3040, 0x30FF),
        (0x3400, 0x9FFF),
        (0xF900, 0xFAFF),
        (0x20000, 0x31FFF),
    ):
        block = classes[first : last + 1]
        block[block == LETTER] = IDEOGRAPH
    joiners = (0x200C, 0x200D, 0xFE0E, 0xFE0F)
    classes[[ord("'"), 0x2019, 0x02BC, 0x00B4, 0x0060, *joiners]] = JOINER
    return classes


@compiled
def group_of(token: np.uint64) -> int:
    """The group of a token of `row_tokens`, which is stored in the token's highest two bits."""
    return int(token >> np.uint64(62))


@compiled
def decode(data: Bytes, start: int, end: int, points: CodePoints) -> int:
    """Decode valid UTF-8 bytes [start, end) into `points`; returns the number of code points.

    ASCII letters are converted to lower case. All other characters must be normalised already.
    """
    n = 0
    i = start
    while i < end:
        lead = np.int32(data[i])
        if lead < 0x80:
            points[n] = lead + 32 if _A <= lead <= _Z else lead
            i += 1
        elif lead < 0xE0:
            points[n] = ((lead & 0x1F) << 6) | (np.int32(data[i + 1]) & 0x3F)
            i += 2
        elif lead < 0xF0:
            points[n] = (
                ((lead & 0x0F) << 12)
                | ((np.int32(data[i + 1]) & 0x3F) << 6)
                | (np.int32(data[i + 2]) & 0x3F)
            )
            i += 3
        else:
            points[n] = (
                ((lead & 0x07) << 18)
                | ((np.int32(data[i + 1]) & 0x3F) << 12)
                | ((np.int32(data[i + 2]) & 0x3F) << 6)
                | (np.int32(data[i + 3]) & 0x3F)
            )
            i += 4
        n += 1
    return n


@compiled
def text_tokens(
    points: CodePoints,
    n: int,
    classes: Bytes,
    seed: np.uint64,
    padded: CodePoints,
    out: Hashes,
    at: int,
) -> tuple[int, int]:
    """Write words, pairs of neighbours, symbols, and pairs of a symbol and a word next to it.

    The words are also written to `padded` (of length 2 * n + 2 or more), the input of
    `letter_tokens`, with an edge mark before and after each word. The second returned number is the
    length of the text in `padded`.
    """
    word_seed = mix(seed, _WORD)
    pair_seed = mix(seed, _PAIR)
    padded[0] = _EDGE
    m = 1
    word = word_seed
    previous = np.uint64(0)
    symbol = np.uint64(0)
    length = 0
    for i in range(n + 1):
        kind = SEPARATOR
        point = 0
        if i < n:
            point = points[i]
            kind = classes[point] if point < classes.size else SEPARATOR
        if kind == JOINER:
            continue
        if kind != LETTER and length > 0:
            out[at] = word
            at += 1
            if previous != 0:
                out[at] = mix(mix(pair_seed, previous), word)
                at += 1
            if symbol != 0:
                out[at] = mix(mix(pair_seed, symbol), word)
                at += 1
                symbol = np.uint64(0)
            previous = word
            word = word_seed
            padded[m] = _EDGE
            m += 1
        if kind == SYMBOL:
            mark = mix(word_seed, np.uint64(point))
            out[at] = mark
            at += 1
            if length > 0:
                out[at] = mix(mix(pair_seed, previous), mark)
                at += 1
            symbol = mark
        elif kind != LETTER:
            symbol = np.uint64(0)
        if kind != LETTER:
            length = 0
        if kind == LETTER:
            word = mix(word, np.uint64(point))
            length += 1
            padded[m] = point
            m += 1
        elif kind == IDEOGRAPH:
            single = mix(word_seed, np.uint64(point))
            out[at] = single
            at += 1
            if previous != 0:
                out[at] = mix(mix(pair_seed, previous), single)
                at += 1
            previous = single
    return at, m


@compiled
def letter_tokens(padded: CodePoints, n: int, seed: np.uint64, out: Hashes, at: int) -> int:
    """Write character n-grams: 3 to 5 letters of one word. The edge marks count as letters."""
    gram_seed = mix(seed, _GRAM)
    for i in range(n - _SHORTEST_GRAM + 1):
        gram = gram_seed
        for j in range(i, min(i + _LONGEST_GRAM, n)):
            gram = mix(gram, np.uint64(padded[j]))
            if j - i + 1 >= _SHORTEST_GRAM:
                out[at] = gram
                at += 1
            if j > i and padded[j] == _EDGE:
                break
    return at


@compiled
def word_tokens(points: CodePoints, n: int, seed: np.uint64, out: Hashes, at: int) -> int:
    """Write the words between white space; they are not split further."""
    word_seed = mix(seed, _WORD)
    word = word_seed
    length = 0
    for i in range(n + 1):
        if i == n or points[i] <= 32:
            if length > 0:
                out[at] = word
                at += 1
            word = word_seed
            length = 0
        else:
            word = mix(word, np.uint64(points[i]))
            length += 1
    return at


@compiled
def value_tokens(
    points: CodePoints, n: int, seed: np.uint64, keys: bool, out: Hashes, at: int
) -> int:
    """Write whole values between semicolons; with `keys`, also the text before each equals sign."""
    value_seed = mix(seed, _VALUE)
    value = value_seed
    length = 0
    spaces = 0
    for i in range(n + 1):
        if i == n or points[i] == _SEMICOLON:
            if length > 0:
                out[at] = value
                at += 1
            value = value_seed
            length = 0
            spaces = 0
        elif points[i] <= 32:
            spaces += 1
        else:
            if keys and points[i] == _EQUALS:
                out[at] = mix(value, _PREFIX)
                at += 1
            if length > 0 and spaces > 0:
                value = mix(value, np.uint64(32))
            spaces = 0
            value = mix(value, np.uint64(points[i]))
            length += 1
    return at


@compiled
def phone_tokens(points: CodePoints, n: int, seed: np.uint64, out: Hashes, at: int) -> int:
    """Write for each phone number: all digits, and prefixes of them (country, area, exchange)."""
    prefix_seed = mix(seed, _PREFIX)
    value_seed = mix(seed, _VALUE)
    digits = 0
    number = prefix_seed
    for i in range(n + 1):
        if i == n or points[i] == _SEMICOLON:
            if digits > 0:
                out[at] = mix(value_seed, number)
                at += 1
            digits = 0
            number = prefix_seed
        elif 48 <= points[i] <= 57:
            number = mix(number, np.uint64(points[i]))
            digits += 1
            for prefix in _PHONE_PREFIXES:
                if digits == prefix:
                    out[at] = number
                    at += 1
    return at


@compiled
def web_tokens(
    points: CodePoints,
    n: int,
    classes: Bytes,
    seed: np.uint64,
    padded: CodePoints,
    out: Hashes,
    at: int,
) -> int:
    """Write for each web address: the domain, the domain's last part, and the tokens of its rest.

    These are the words and character n-grams of the text before the last part.
    """
    value_seed = mix(seed, _VALUE)
    prefix_seed = mix(seed, _PREFIX)
    start = 0
    for i in range(n + 1):
        if i < n and points[i] != _SEMICOLON:
            continue
        first = start
        while first < i and points[first] <= 32:
            first += 1
        for j in range(first, i - 2):
            if points[j] == _COLON and points[j + 1] == _SLASH and points[j + 2] == _SLASH:
                first = j + 3
                break
        if i - first > 4 and (
            points[first] == 119
            and points[first + 1] == 119
            and points[first + 2] == 119
            and points[first + 3] == _DOT
        ):
            first += 4
        last = first
        dot = -1
        while last < i and points[last] > 32 and points[last] not in _AFTER_DOMAIN:
            if points[last] == _DOT:
                dot = last
            last += 1
        if last > first:
            domain = value_seed
            for j in range(first, last):
                domain = mix(domain, np.uint64(points[j]))
            out[at] = domain
            at += 1
            if dot > first:
                suffix = prefix_seed
                for j in range(dot, last):
                    suffix = mix(suffix, np.uint64(points[j]))
                out[at] = suffix
                at += 1
                last = dot
            at, m = text_tokens(points[first:last], last - first, classes, seed, padded, out, at)
            at = letter_tokens(padded, m, seed, out, at)
        start = i + 1
    return at


@compiled
def _set_group(out: Hashes, first: int, end: int, group: int) -> None:
    """Store the group of some tokens in their highest two bits."""
    for i in range(first, end):
        out[i] = (out[i] >> np.uint64(2)) | (np.uint64(group) << np.uint64(62))


@compiled
def _count_tokens(out: Hashes, n: int, counts: Counts, slots: Hashes, places: Counts) -> int:
    """Remove duplicates among n tokens, in place; returns the number of distinct tokens.

    The first of equal tokens is kept, and the order is kept. The number of occurrences of each
    token that is kept is written to `counts`.
    """
    size = table_size(n)
    slots[:size] = 0
    kept = 0
    for i in range(n):
        slot = slot_of(slots, size, out[i])
        if slots[slot] == 0:
            slots[slot] = out[i]
            places[slot] = kept
            out[kept] = out[i]
            counts[kept] = 1
            kept += 1
        else:
            counts[places[slot]] += 1
    return kept


@compiled
def row_tokens(row: int, source: TokenSource, scratch: Scratch) -> int:
    """Write all distinct tokens of one row, and their counts; returns the number of tokens.

    The hash of the name is the sum of the hashes of its words and pairs of words.
    """
    points, padded, out, counts, name, slots, places = scratch
    name[0] = 0
    at = 0
    for c in range(source.kinds.size):
        start, end = source.starts[c, row], source.starts[c, row + 1]
        if start == end:
            continue
        n = decode(source.data, start, end, points)
        kind, seed = source.kinds[c], source.seeds[c]
        first = at
        group = WORD_GROUP if kind in (NAME, WORDS) else CONTEXT_GROUP
        m = 0
        if kind in (TEXT, NAME):
            at, m = text_tokens(points, n, source.classes, seed, padded, out, at)
        elif kind == WORDS:
            at = word_tokens(points, n, seed, out, at)
        elif kind in (VALUES, TAGS):
            at = value_tokens(points, n, seed, kind == TAGS, out, at)
        elif kind == WEB:
            at = web_tokens(points, n, source.classes, seed, padded, out, at)
        elif kind == PHONE:
            at = phone_tokens(points, n, seed, out, at)
        if c == source.identity:
            name[0] = out[first:at].sum()
        if kind == NAME:
            _set_group(out, first, at, WORD_GROUP)
            first, group = at, LETTER_GROUP
            at = letter_tokens(padded, m, seed, out, at)
        _set_group(out, first, at, group)
    first = at
    for c in range(source.number_tokens.shape[1]):
        if source.number_tokens[row, c] != 0:
            out[at] = source.number_tokens[row, c]
            at += 1
    _set_group(out, first, at, CONTEXT_GROUP)
    return _count_tokens(out, at, counts, slots, places)
