"""Conversion of Arrow columns of any type to canonical columns of text or float64.

Tables may come from untrusted callers. In a dictionary or string-view column, a few bytes can
represent many copies of a long value. The size is therefore checked before the values are copied.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.errors import DataError
from labelwright.entities.json_text import parse_json
from labelwright.entities.schema import NUMERIC, Column, Kind

FIELD_LIMIT = 10_000
"""The largest number of bytes in one text value."""

TOO_LONG = f"{{}}: longer than {FIELD_LIMIT:,} bytes"
INFINITE = "{}: must be finite"
NOT_UTF8 = "not valid UTF-8"
"""Reasons of rejection; the name of the field replaces the braces."""


class FieldValueError(Exception):
    """A value has the right type but is not valid for its field; the message is the reason."""


class RejectedRows:
    """The rejected rows: `reasons` maps each row number to the first reason that was found."""

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}

    def add(self, row: int, reason: str) -> None:
        """Reject one row; if it is rejected already, keep the first reason."""
        self.reasons.setdefault(row, reason)

    def add_where(self, mask: npt.NDArray[np.bool_], reason: str) -> None:
        """Reject the rows where `mask`, with one value for each row, is true."""
        if mask.any():
            for row in np.flatnonzero(mask):
                self.add(int(row), reason)


def canonical_array(
    source: pa.ChunkedArray, column: Column, field: str, rejected_rows: RejectedRows
) -> pa.Array:
    """Convert a column to the type of its kind: float64 for numbers and points, else text.

    Rows with values that cannot be converted are added to `rejected_rows`. Raises DataError for a
    type that the kind does not allow.
    """
    array = contiguous(source, field, rejected_rows)
    if pa.types.is_null(array.type):
        return array.cast(pa.float64() if column.kind in NUMERIC else pa.string())
    if column.kind in NUMERIC:
        return _numbers(array, field, rejected_rows)
    if column.kind is Kind.TAGS:
        return reject_long(_tag_text(array, field, rejected_rows), field, rejected_rows)
    return reject_long(_text(array, column, field, rejected_rows), field, rejected_rows)


def contiguous(source: pa.ChunkedArray, field: str, rejected_rows: RejectedRows) -> pa.Array:
    """Join the chunks of a column into one array, and decode dictionaries and string views.

    Arrow does not check that text in files is valid UTF-8. Rows with other text are rejected here.
    """
    array = source.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = _decoded_dictionary(array, field, rejected_rows)
    if pa.types.is_string_view(array.type):
        array = _copied_views(array, field)
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        values = []
        for row in range(len(array)):
            try:
                values.append(array[row].as_py())
            except UnicodeDecodeError:
                values.append(None)
                rejected_rows.add(row, f"{field}: {NOT_UTF8}")
        return pa.array(values, array.type)
    return array


def _decoded_dictionary(
    array: pa.DictionaryArray, field: str, rejected_rows: RejectedRows
) -> pa.Array:
    """Decode a dictionary column; values that are too long are not copied, their rows rejected."""
    kind = array.type.value_type
    if pa.types.is_nested(kind) or pa.types.is_dictionary(kind):
        raise DataError(f"column {field!r} holds a dictionary of {kind}; it must hold plain values")
    if not (is_text(kind) or pa.types.is_binary(kind)):
        return array.dictionary_decode()
    lengths = pc.binary_length(array.dictionary)
    too_long = pc.fill_null(pc.greater(lengths, FIELD_LIMIT), False)
    values = pc.if_else(too_long, pa.scalar(None, kind), array.dictionary)
    mask = pc.fill_null(too_long.take(array.indices), False).to_numpy(zero_copy_only=False)
    rejected_rows.add_where(mask, TOO_LONG.format(field))
    return values.take(array.indices)


def _copied_views(array: pa.Array, field: str) -> pa.StringArray:
    """Copy string views to strings.

    Raises DataError if the strings together would be longer than FIELD_LIMIT bytes a row.
    """
    views = np.frombuffer(array.buffers()[1], np.int32).reshape(-1, 4)
    lengths = views[array.offset : array.offset + len(array), 0]
    if lengths.sum(dtype=np.int64) > FIELD_LIMIT * len(array):
        raise DataError(f"column {field!r} holds texts longer than {FIELD_LIMIT:,} bytes")
    return array.cast(pa.string())


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type is a type of text."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _text(array: pa.Array, column: Column, field: str, rejected_rows: RejectedRows) -> pa.Array:
    kind = array.type
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and (
        is_text(kind.value_type) or pa.types.is_null(kind.value_type)
    ):
        if array.flatten().null_count:
            texts = [
                None if v is None else [t for t in v if t is not None] for v in array.to_pylist()
            ]
            array = pa.array(texts, kind)
        return pc.binary_join(array.cast(pa.list_(pa.string())), ";")
    if is_text(kind):
        return array.cast(pa.string())
    if column.kind in (Kind.CATEGORY, Kind.PHONE) and pa.types.is_integer(kind):
        return array.cast(pa.string())
    raise DataError(f"column {field!r} holds {kind}; its kind is {column.kind.value}")


def reject_long(array: pa.StringArray, field: str, rejected_rows: RejectedRows) -> pa.StringArray:
    """Reject the rows whose text is too long, and remove bytes that null strings may have."""
    lengths = pc.binary_length(array)
    too_long = pc.greater(lengths, FIELD_LIMIT)
    if pc.any(too_long).as_py():
        mask = pc.fill_null(too_long, False).to_numpy(zero_copy_only=False)
        rejected_rows.add_where(mask, TOO_LONG.format(field))
    if array.null_count and len(buffers(array)[1]) > (pc.sum(lengths).as_py() or 0):
        return with_nulls(array, array.is_null().to_numpy(zero_copy_only=False))
    return array


def with_nulls(array: pa.Array, rows: npt.NDArray[np.bool_]) -> pa.Array:
    """Copy an array and set the rows of a mask to null; null strings have no bytes in the copy."""
    return array.take(pa.array(np.arange(len(array)), mask=rows))


def buffers(array: pa.StringArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """The offsets (rows + 1) and the bytes of a string column; the first offset is 0."""
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    content = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
    return ends.astype(np.int64) - ends[0], content[ends[0] : ends[-1]]


def _numbers(array: pa.Array, field: str, rejected_rows: RejectedRows) -> pa.Array:
    kind = array.type
    if is_text(kind):
        array = _parsed(array, field, rejected_rows)
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise DataError(f"column {field!r} holds {kind}; it must be numbers")
    array = array.cast(pa.float64(), safe=False)
    rejected_rows.add_where(np.isinf(floats(array)), INFINITE.format(field))
    return pc.if_else(pc.is_nan(array), pa.scalar(None, pa.float64()), array)


def floats(array: pa.DoubleArray) -> npt.NDArray[np.float64]:
    """The numbers of a column, NaN for null."""
    numbers: npt.NDArray[np.float64] = array.to_numpy(zero_copy_only=False)
    return numbers


def _parsed(array: pa.Array, field: str, rejected_rows: RejectedRows) -> pa.Array:
    values: list[float | None] = []
    for row, text in enumerate(array.to_pylist()):
        try:
            values.append(float(text) if text and text.strip() else None)
        except ValueError:
            values.append(None)
            rejected_rows.add(row, f"{field}: not a number")
    return pa.array(values, pa.float64())


def _tag_text(array: pa.Array, field: str, rejected_rows: RejectedRows) -> pa.Array:
    """Convert tags to `key=value` joined by semicolons.

    A value with semicolons is split and gives several tags of the same key.
    """
    kind = array.type
    if not (is_text(kind) or _maps_scalars(kind)):
        raise DataError(f"column {field!r} holds {kind}; tags must be a map, a struct or JSON text")
    texts: list[str | None] = []
    for row, given in enumerate(array.to_pylist()):
        try:
            texts.append(joined_tags(dict(given) if isinstance(given, list) else given))
        except (ValueError, TypeError):
            texts.append(None)
            rejected_rows.add(row, f"{field}: must map text to text")
    return pa.array(texts, pa.string())


def _maps_scalars(kind: pa.DataType) -> bool:
    """Whether an Arrow type is a map or struct whose values are plain scalars.

    Dictionaries and string views are excluded: many rows could share one long value, and each row
    would get a copy.
    """
    if pa.types.is_map(kind):
        kinds = [kind.key_type, kind.item_type]
    elif pa.types.is_struct(kind):
        kinds = [member.type for member in kind]
    else:
        return False
    return not any(
        pa.types.is_nested(each) or pa.types.is_dictionary(each) or pa.types.is_string_view(each)
        for each in kinds
    )


def joined_tags(tags: Any) -> str | None:
    """Convert tags, given as a dictionary or as JSON text, to text; None if there are no tags.

    Raises TypeError or ValueError if `tags` does not map keys to scalars.
    """
    value = parse_json(tags) if isinstance(tags, str) and tags else tags
    if value is None or value == "" or value == {}:
        return None
    if not isinstance(value, dict):
        raise TypeError("tags must map text to text")
    return ";".join(
        f"{key}={part.strip()}"
        for key, given in sorted((str(k), v) for k, v in value.items() if v is not None)
        for part in _scalar(given).split(";")
    )


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str | int | float):
        return str(value)
    raise TypeError("a tag must be text")
