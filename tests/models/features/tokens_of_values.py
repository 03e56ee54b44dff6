"""Tokens of single values and rows, for the tests of tokens."""

from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import from_records
from labelwright.models.features import tokens
from labelwright.models.features.space import token_source
from labelwright.models.features.tokens import TokenSource, row_tokens, scratch

some = settings(max_examples=60, deadline=None)

SCHEMA = EntitySchema.from_mapping(
    {
        "name": "all",
        "columns": {
            "text": {"kind": "text", "grams": False},
            "name": {"kind": "text"},
            "words": {"kind": "words"},
            "category": {"kind": "category"},
            "tags": {"kind": "tags"},
            "web": {"kind": "web"},
            "phone": {"kind": "phone"},
        },
    }
)
KINDS = {
    "text": tokens.TEXT,
    "name": tokens.NAME,
    "words": tokens.WORDS,
    "category": tokens.VALUES,
    "tags": tokens.TAGS,
    "web": tokens.WEB,
    "phone": tokens.PHONE,
}
"""The way in which the values of each column are split."""
NO_NUMBERS = np.zeros((0, 15))

TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
NASTY = st.text(st.sampled_from(";=:/. wa1-'\u4e2d\u0e01\u0301\U00020000"), max_size=40)
"""Texts in which nearly every character begins or ends a token."""


def source_of(*records: dict[str, Any]) -> TokenSource:
    """Records, none of which may be rejected, as arrays for kernels."""
    entities = from_records(records, SCHEMA)
    assert not entities.rejected
    return token_source(entities, NO_NUMBERS)


def laid_out(name: str, text: str) -> TokenSource:
    """One value as arrays for kernels. The value is not parsed, even in the column `tags`."""
    data = np.frombuffer(bytearray(text.encode()), np.uint8)
    return TokenSource(
        np.array([KINDS[name]], np.int8),
        np.array([0x5EED], np.uint64),
        np.array([[0, data.size]], np.int64),
        data,
        np.zeros((1, 0), np.uint64),
        tokens.character_classes(),
        0,
        data.size,
    )


def found(source: TokenSource) -> frozenset[int]:
    """The tokens of the only row."""
    space = scratch(source)
    count = row_tokens(0, source, space)
    result = frozenset(space.tokens[:count].tolist())
    assert len(result) == count
    return result


def tokens_of(**record: Any) -> frozenset[int]:
    return found(source_of(record))


def groups_of(given: frozenset[int]) -> set[int]:
    return {tokens.group_of(np.uint64(token)) for token in given}


def counts_of(**record: Any) -> dict[int, int]:
    """The tokens of a record, and how often each of them occurs."""
    source = source_of(record)
    space = scratch(source)
    size = row_tokens(0, source, space)
    return dict(zip(space.tokens[:size].tolist(), space.counts[:size].tolist(), strict=True))
