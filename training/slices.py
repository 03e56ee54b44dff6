"""Parts of the test rows that are looked at on their own: where is a model weak?"""

import dataclasses
import unicodedata
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from entities.schema import Kind
from entities.tables import Entities

LEAST_ROWS = 100
"""Smaller slices say nothing."""
VALUES_AT_MOST = 20
"""Of a category, the most frequent values are looked at."""
_CODES_AT_MOST = 300
"""A category with more distinct values than this names places, not kinds of places."""

Rows = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Slice:
    """A named part of some rows: `rows` (bool[n]) says which belong to it."""

    name: str
    rows: Rows


def slices(entities: Entities) -> list[Slice]:
    """All slices of at least LEAST_ROWS rows, in a fixed order.

    By the values of categories with few of them, by whether a web address is known, and by the
    script of the name.
    """
    found = [*_categories(entities), *_presence(entities), *_scripts(entities)]
    return [part for part in found if part.rows.sum() >= LEAST_ROWS and not part.rows.all()]


def _categories(entities: Entities) -> Iterator[Slice]:
    for column in entities.schema.columns:
        values = entities.column(column.name) if column.kind is Kind.CATEGORY else None
        if values is None:
            continue
        counts = pc.value_counts(values.drop_null()).to_pylist()
        if len(counts) > _CODES_AT_MOST:
            continue
        frequent = sorted(counts, key=lambda count: (-count["counts"], count["values"]))
        for count in frequent[:VALUES_AT_MOST]:
            yield Slice(
                f"{column.name}={count['values']}", _mask(pc.equal(values, count["values"]))
            )


def _presence(entities: Entities) -> Iterator[Slice]:
    for column in entities.schema.columns:
        values = entities.column(column.name) if column.kind is Kind.WEB else None
        if values is not None:
            known = _mask(pc.is_valid(values))
            yield Slice(f"with {column.name}", known)
            yield Slice(f"without {column.name}", ~known)


def _scripts(entities: Entities) -> Iterator[Slice]:
    identity = entities.schema.identity
    names = entities.column(identity) if identity else None
    if identity is None or names is None:
        return
    scripts = np.array([script(name) for name in names.to_pylist()], object)
    for found in sorted(set(scripts)):
        yield Slice(f"script of {identity}={found}", scripts == found)


def script(text: str | None) -> str:
    """The script of the first letter, as Unicode names it: `latin`, `cyrillic`, `cjk`, ..."""
    for character in text or "":
        if character.isalpha():
            return unicodedata.name(character, "unknown").split(" ", 1)[0].lower()
    return "none"


def _mask(array: pa.BooleanArray) -> Rows:
    mask: Rows = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
    return mask
