"""Canonical values: what a single value of Python or parsed JSON means in a column.

Columns of Arrow types that need no decision are converted as a whole, in `entities.arrays`.
"""

import datetime
import decimal
import math
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np

from labelwright.entities.json_text import parse_json
from labelwright.entities.schema import NUMERIC, Column, Kind

FIELD_LIMIT = 10_000
"""The largest number of bytes in one text value."""
EXACT_LIMIT = 2**53
"""Larger whole numbers lose digits in a float."""

TOO_LONG = f"{{}}: longer than {FIELD_LIMIT:,} bytes"
INFINITE = "{}: must be finite"
NOT_UTF8 = "not valid UTF-8"
FRACTION = "{}: must be text or a whole number, and has a fraction"
INEXACT = "{}: a whole number above 2^53 loses digits as a float; send it as an integer or as text"
"""Reasons of rejection; the name of the field replaces the braces."""

EXPECTED = {
    Kind.TEXT: "text or a list of texts",
    Kind.WORDS: "text or a list of texts",
    Kind.CATEGORY: "text, a whole number, or a list of texts",
    Kind.WEB: "text or a list of texts",
    Kind.PHONE: "text, a whole number, or a list of texts",
    Kind.NUMBER: "a number",
    Kind.POINT: "a number",
    Kind.TAGS: "an object of texts",
}
NUMBERED = frozenset({Kind.CATEGORY, Kind.PHONE})
"""Kinds of text whose values may be whole numbers, such as postcodes."""


class FieldValueError(Exception):
    """A value that is not valid for its field; the message is the reason, with the field's name."""


def canonical_value(value: Any, column: Column, field: str) -> str | float | None:
    """The canonical form of a value: a float for numbers and points, else text; None if missing.

    Raises FieldValueError for a value that the kind of the column does not allow.
    """
    try:
        is_string = type(value) is str  # the most frequent type, which is never missing
        if not is_string and is_missing(value):
            return None
        if column.kind in NUMERIC:
            return _number(value)
        if column.kind is Kind.TAGS:
            text = joined_tags(value)
        elif is_string:
            text = value
        elif isinstance(value, list | tuple | np.ndarray):
            items = [_text(item, column.kind) for item in value if not is_missing(item)]
            text = ";".join(items)
        else:
            text = _text(value, column.kind)
        if text is not None and len(text.encode()) > FIELD_LIMIT:
            raise FieldValueError(TOO_LONG)
        return text
    except UnicodeError:  # bytes that are not UTF-8, or text with half of a surrogate pair
        raise FieldValueError(f"{field}: {NOT_UTF8}") from None
    except FieldValueError as error:
        raise FieldValueError(str(error).format(field)) from None
    except (TypeError, ValueError, ArithmeticError):
        raise FieldValueError(f"{field}: must be {EXPECTED[column.kind]}") from None


def json_value(value: Any) -> Any:
    """A value that JSON does not have as one that it has, for `json.dumps`; raises TypeError."""
    if is_missing(value):
        return None
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        return _plain(value)
    if isinstance(value, decimal.Decimal):
        return int(value) if value.is_finite() and _is_whole(value) else float(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")  # the service rejects other bytes
    return _text(value, Kind.TEXT)


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, or NaT or NA of pandas.

    NaN and NaT are not equal to themselves, and NA has no truth value.
    """
    try:
        return value is None or bool(value != value)
    except (TypeError, ValueError, ArithmeticError):
        return type(value).__name__ == "NAType"


def joined_tags(tags: Any) -> str | None:
    """Convert tags to `key=value` joined by semicolons; None if there are no tags.

    Tags are a dictionary, a list of pairs, a list of objects with `key` and `value`, or JSON text.
    A value with semicolons is split and gives several tags of the same key. Raises TypeError or
    ValueError if `tags` does not map keys to scalars, and FieldValueError for an infinite number.
    """
    given = parse_json(tags) if isinstance(tags, str) and tags else tags
    if given is None or given == "":
        return None
    members = given if isinstance(given, Mapping) else dict(map(_pair, _listed(given)))
    if not all(isinstance(key, str) for key in members):
        raise TypeError("the keys of tags must be text")
    present = sorted((key, value) for key, value in members.items() if not is_missing(value))
    parts = (
        f"{key}={part.strip()}" for key, value in present for part in _tag_value(value).split(";")
    )
    return ";".join(parts) or None


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple | np.ndarray):
        raise TypeError("tags must map text to text")
    return list(value)


def _pair(item: Any) -> tuple[Any, Any]:
    if isinstance(item, Mapping) and item.keys() == {"key", "value"}:
        return str(item["key"]), item["value"]
    if not isinstance(item, list | tuple) or len(item) != 2:
        raise TypeError("a tag in a list must be a pair")
    return item[0], item[1]


def _tag_value(value: Any) -> str:
    value = _plain(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and math.isfinite(value):
        exact = value.is_integer() and abs(value) <= EXACT_LIMIT
        return str(int(value) if exact else value)
    if isinstance(value, decimal.Decimal) and not _is_whole(value):
        return f"{value.normalize():f}"
    return _text(value, Kind.CATEGORY)


def _number(value: Any) -> float | None:
    value = _plain(value)
    if isinstance(value, str):
        if not value.strip():
            return None
    elif isinstance(value, bool) or not isinstance(value, int | float | decimal.Decimal):
        raise TypeError("not a number")
    number = float(value)
    if math.isinf(number):
        raise FieldValueError(INFINITE)
    return None if math.isnan(number) else number


def _text(value: Any, kind: Kind) -> str:
    """Text that is a value or one item of a list; a date or a time at midnight is `2024-12-31`."""
    value = _plain(value)
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, datetime.datetime):
        midnight = value.tzinfo is None and value.time() == datetime.time()
        return value.date().isoformat() if midnight else value.isoformat()
    if isinstance(value, datetime.date):
        return value.isoformat()
    is_number = isinstance(value, int | float | decimal.Decimal) and not isinstance(value, bool)
    if kind not in NUMBERED or not is_number:
        raise TypeError("not a text")
    if not _is_whole(value):
        raise FieldValueError(FRACTION)
    return str(int(value))


def _is_whole(value: Any) -> bool:
    """Whether a number has no fraction.

    Raises FieldValueError if it is infinite, or a float that is too large for all its digits.
    """
    if isinstance(value, int):
        return True
    if not math.isfinite(value):
        raise FieldValueError(INFINITE)
    if int(value) != value:
        return False
    if isinstance(value, float) and abs(value) > EXACT_LIMIT:
        raise FieldValueError(INEXACT)
    return True


def _plain(value: Any) -> Any:
    """The Python object of a NumPy scalar; other values are returned unchanged."""
    if not isinstance(value, np.generic):
        return value
    if isinstance(value, np.timedelta64):
        raise TypeError("a duration is neither text nor a number")
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]").item()
    return value.item()
