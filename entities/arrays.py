"""Conversion of Arrow columns of any type to canonical columns of text or float64.

Tables may come from untrusted callers. In a dictionary or string-view column, a few bytes can
represent many copies of a long value. The size is therefore checked before the values are copied.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.errors import DataError
from labelwright.entities.json_text import parse_json
from labelwright.entities.schema import NUMERIC, Column, Kind
from labelwright.entities.values import (
    FIELD_LIMIT,
    INFINITE,
    NOT_UTF8,
    NUMBERED,
    TOO_LONG,
    FieldValueError,
    canonical_value,
)

Lengths = npt.NDArray[np.int64]


class RejectedRows:
    """The rejected rows: `reasons` maps each row number to the first reason that was found."""

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}
        self._rows: Lengths | None = None

    def of_items(self, rows: Lengths) -> Self:
        """The same rows for the items of lists, given the row number of each item."""
        items = type(self)()
        items.reasons, items._rows = self.reasons, rows
        return items

    def add(self, position: int, reason: str) -> None:
        """Reject the row of a value; if it is rejected already, keep the first reason."""
        row = position if self._rows is None else int(self._rows[position])
        self.reasons.setdefault(row, reason)

    def add_where(self, mask: npt.NDArray[np.bool_], reason: str) -> None:
        """Reject the rows where `mask`, with one element for each value, is true."""
        if mask.any():
            for position in np.flatnonzero(mask):
                self.add(int(position), reason)

    def row_sums(self, lengths: Lengths) -> Lengths:
        """For each value, the sum of the lengths of all values of its row."""
        if self._rows is None:
            return lengths
        return np.bincount(self._rows, lengths)[self._rows].astype(np.int64)


def canonical_array(
    source: pa.ChunkedArray, column: Column, field: str, rejected_rows: RejectedRows
) -> pa.Array:
    """Convert a column to the type of its kind: float64 for numbers and points, else text.

    Rows with values that cannot be converted are added to `rejected_rows`. Raises DataError for a
    type that the kind does not allow.
    """
    array = source.combine_chunks()
    kind = array.type
    if array.null_count == len(array):
        return pa.nulls(len(array), pa.float64() if column.kind in NUMERIC else pa.string())
    if column.kind in NUMERIC:
        return _numbers(plain(array, field, rejected_rows), column, field, rejected_rows)
    if column.kind is Kind.TAGS:
        texts = _tag_texts(array, column, field, rejected_rows)
    elif is_list(kind):
        texts = pc.binary_join(text_lists(array, column, field, rejected_rows), ";")
    else:
        texts = _texts(plain(array, field, rejected_rows), column, field, rejected_rows, kind)
    return _reject_long(texts, field, rejected_rows)


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type is a type of text."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    """Whether an Arrow type is a type of lists, of variable or fixed length."""
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def text_lists(
    array: pa.Array, column: Column, field: str, rejected_rows: RejectedRows
) -> pa.ListArray:
    """Convert lists of any Arrow type to lists of text without nulls; null lists stay null.

    Raises DataError for items of a type that the kind of the column does not allow.
    """
    counts = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(array)), counts)
    of_items = rejected_rows.of_items(rows)
    items = plain(array.flatten(), field, of_items)
    texts = _texts(items, column, field, of_items, array.type)
    if texts.null_count:
        present = texts.is_valid()
        texts, rows = texts.drop_null(), rows[present.to_numpy(zero_copy_only=False)]
    ends = np.cumsum(np.bincount(rows, minlength=len(array)))
    offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
    missing = array.is_null() if array.null_count else None
    return pa.ListArray.from_arrays(offsets, texts, mask=missing)


def with_nulls(array: pa.Array, rows: npt.NDArray[np.bool_]) -> pa.Array:
    """Copy an array and set the rows of a mask to null; null strings have no bytes in the copy."""
    return array.take(pa.array(np.arange(len(array)), mask=rows))


def buffers(array: pa.StringArray) -> tuple[Lengths, npt.NDArray[np.uint8]]:
    """The offsets (rows + 1) and the bytes of a string column; the first offset is 0."""
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    content = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
    return ends.astype(np.int64) - ends[0], content[ends[0] : ends[-1]]


def floats(array: pa.DoubleArray) -> npt.NDArray[np.float64]:
    """The numbers of a column, NaN for null."""
    numbers: npt.NDArray[np.float64] = array.to_numpy(zero_copy_only=False)
    return numbers


def _texts(
    array: pa.Array, column: Column, field: str, rejected_rows: RejectedRows, given: pa.DataType
) -> pa.StringArray:
    """Convert plain values to text; `given` is the type of the column, for the error message."""
    kind = array.type
    numbered = column.kind in NUMBERED
    if is_text(kind) or pa.types.is_null(kind) or (numbered and pa.types.is_integer(kind)):
        return array.cast(pa.string())
    if _is_spelled(kind) or (
        numbered and (pa.types.is_floating(kind) or pa.types.is_decimal(kind))
    ):
        return _by_value(array, column, field, rejected_rows)
    raise DataError(f"column {field!r} holds {given}; its kind is {column.kind.value}")


def _is_spelled(kind: pa.DataType) -> bool:
    """Whether the values of a type that is neither text nor number have one usual spelling."""
    return bool(
        pa.types.is_date(kind) or pa.types.is_timestamp(kind) or _is_extension(kind, "uuid", "json")
    )


def _is_extension(kind: pa.DataType, *names: str) -> bool:
    """Whether a type is one of Arrow's canonical extension types with these names."""
    return isinstance(kind, pa.BaseExtensionType) and kind.extension_name in {
        f"arrow.{name}" for name in names
    }


def _numbers(
    array: pa.Array, column: Column, field: str, rejected_rows: RejectedRows
) -> pa.DoubleArray:
    kind = array.type
    if is_text(kind):
        array = _parsed(array, column, field, rejected_rows)
    elif _is_extension(kind, "json"):
        array = _by_value(array, column, field, rejected_rows)
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise DataError(f"column {field!r} holds {kind}; it must be numbers")
    array = array.cast(pa.float64(), safe=False)
    rejected_rows.add_where(np.isinf(floats(array)), INFINITE.format(field))
    return pc.if_else(pc.is_nan(array), pa.scalar(None, pa.float64()), array)


def _parsed(
    array: pa.Array, column: Column, field: str, rejected_rows: RejectedRows
) -> pa.DoubleArray:
    """Parse numbers; Arrow refuses a column with any text that is not a number, or is unusual."""
    texts = pc.utf8_trim_whitespace(array)
    blank = pc.equal(pc.binary_length(texts), 0)
    try:
        return pc.if_else(blank, pa.scalar(None, texts.type), texts).cast(pa.float64())
    except pa.ArrowInvalid:
        return _by_value(array, column, field, rejected_rows)


def _by_value(array: pa.Array, column: Column, field: str, rejected_rows: RejectedRows) -> pa.Array:
    """Convert each value by the rules of `entities.values`."""
    return checked_values(_python_values(array, field, rejected_rows), column, field, rejected_rows)


def checked_values(
    values: Iterable[Any], column: Column, field: str, rejected_rows: RejectedRows
) -> pa.Array:
    """The canonical column of Python values; the rows of values that are not valid are rejected."""
    canonical = []
    for position, value in enumerate(values):
        try:
            canonical.append(canonical_value(value, column, field))
        except FieldValueError as error:
            canonical.append(None)
            rejected_rows.add(position, str(error))
    return pa.array(canonical, pa.float64() if column.kind in NUMERIC else pa.string())


def _python_values(array: pa.Array, field: str, rejected_rows: RejectedRows) -> Iterator[Any]:
    """The values as Python objects; rows with values that Python cannot represent are rejected."""
    parse = parse_json if _is_extension(array.type, "json") else _unchanged
    for position in range(len(array)):
        value = None
        try:
            if (given := array[position].as_py()) is not None:
                value = parse(given)
        except UnicodeDecodeError:
            rejected_rows.add(position, f"{field}: {NOT_UTF8}")
        except (ValueError, ArithmeticError):
            rejected_rows.add(position, f"{field}: not a valid {array.type}")
        yield value


def _unchanged(value: Any) -> Any:
    return value


def _tag_texts(
    array: pa.Array, column: Column, field: str, rejected_rows: RejectedRows
) -> pa.StringArray:
    """Convert tags to `key=value` joined by semicolons.

    A value with semicolons is split and gives several tags of the same key.
    """
    given = array.type
    if _is_extension(given, "json"):
        array = array.storage
    elif pa.types.is_map(given):
        members = [pa.field("key", given.key_type, False), pa.field("value", given.item_type)]
        array = array.cast(pa.list_(pa.struct(members)))
    kind = array.type
    values: Iterable[Any]
    if pa.types.is_struct(kind) and _all_scalars(kind):
        values = _objects(array, field, rejected_rows)
    elif is_list(kind) and _has_pairs(kind.value_type):
        values = _lists_of_objects(array, field, rejected_rows)
    elif (
        is_list(kind)
        and is_list(kind.value_type)
        and pa.types.is_string(kind.value_type.value_type)
    ):
        values = _python_values(array, field, rejected_rows)  # pairs, as pandas has them of a map
    else:
        array = plain(array, field, rejected_rows)
        if not is_text(array.type):
            raise DataError(
                f"column {field!r} holds {given}; tags must be a map, a struct or JSON text"
            )
        values = array.to_pylist()
    return checked_values(values, column, field, rejected_rows)


def _all_scalars(kind: pa.StructType) -> bool:
    return not any(pa.types.is_nested(member.type) for member in kind)


def _has_pairs(kind: pa.DataType) -> bool:
    """Whether a type is a struct of `key` and `value`, as other programs write a map."""
    return (
        pa.types.is_struct(kind)
        and sorted(_member_names(kind)) == ["key", "value"]
        and _all_scalars(kind)
    )


def _member_names(kind: pa.StructType) -> list[str]:
    try:
        return [member.name for member in kind]
    except UnicodeDecodeError:
        raise DataError("tags have a member whose name is not valid UTF-8") from None


def _objects(
    array: pa.StructArray, field: str, rejected_rows: RejectedRows
) -> Iterator[dict[str, Any]]:
    """Structs as dictionaries, with the keys of a map as text."""
    names = _member_names(array.type)
    leaves = array.flatten()
    shared = sum(_shared_bytes(leaf) for leaf in leaves)
    too_long = rejected_rows.row_sums(np.zeros(len(array), np.int64) + shared) > FIELD_LIMIT
    rejected_rows.add_where(too_long, TOO_LONG.format(field))
    columns = [
        _python_values(_decoded(leaf, too_long, field), field, rejected_rows) for leaf in leaves
    ]
    return (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def _lists_of_objects(
    array: pa.Array, field: str, rejected_rows: RejectedRows
) -> Iterator[list[dict[str, Any]] | None]:
    counts = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    of_items = rejected_rows.of_items(np.repeat(np.arange(len(array)), counts))
    objects = _objects(array.flatten(), field, of_items)
    for count in counts:
        yield [*itertools.islice(objects, count)]


def plain(array: pa.Array, field: str, rejected_rows: RejectedRows) -> pa.Array:
    """Decode dictionaries, views and binary; text that is too long or not UTF-8 becomes null.

    The rows of such text are rejected.
    """
    too_long = rejected_rows.row_sums(_shared_bytes(array)) > FIELD_LIMIT
    rejected_rows.add_where(too_long, TOO_LONG.format(field))
    array = _decoded(array, too_long, field)
    if not is_text(array.type):
        return array
    try:
        array.validate(full=True)  # Arrow does not check text that is read from files
    except pa.ArrowInvalid:
        values = list(_python_values(array, field, rejected_rows))
        return pa.array(values, array.type)
    return array


def _shared_bytes(array: pa.Array) -> Lengths:
    """The bytes of each value that other values may share; 0 if no value is shared."""
    kind = array.type
    if _is_view(kind):
        views = _views(array)["size"].astype(np.int64)
        return np.where(array.is_valid().to_numpy(zero_copy_only=False), views, 0)
    if pa.types.is_dictionary(kind) and _is_bytes(kind.value_type):
        lengths = _shared_bytes(_as_views(array.dictionary))
        positions = pc.fill_null(array.indices, 0).to_numpy(zero_copy_only=False)
        valid = array.indices.is_valid().to_numpy(zero_copy_only=False)
        return (
            np.where(valid, lengths[positions], 0)
            if len(lengths)
            else np.zeros(len(array), np.int64)
        )
    return np.zeros(len(array), np.int64)


def _decoded(array: pa.Array, left_out: npt.NDArray[np.bool_], field: str) -> pa.Array:
    """Decode a dictionary or views, and view binary as text; the values of a mask become null."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        value_kind = kind.value_type
        if pa.types.is_nested(value_kind) or pa.types.is_dictionary(value_kind):
            raise DataError(
                f"column {field!r} holds a dictionary of {value_kind}; it must hold plain values"
            )
        if not _is_bytes(value_kind):
            return array.dictionary_decode()
        array = _take_views(_as_views(array.dictionary), array.indices, left_out)
    elif _is_view(kind):
        array = _take_views(array, pa.array(np.arange(len(array))), left_out)
    kind = array.type
    if pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind):
        array = array.cast(pa.binary())
    elif pa.types.is_string_view(kind):
        return array.cast(pa.string())
    if pa.types.is_large_binary(array.type):
        return array.view(pa.large_string())
    return array.view(pa.string()) if pa.types.is_binary(array.type) else array


def text_sizes(column: pa.ChunkedArray) -> Lengths:
    """For each row of a column, the number of bytes of its text, also if rows share it.

    In a column of other values, all rows have the same size.
    """
    return np.concatenate(
        [_text_sizes(chunk) for chunk in column.chunks] or [np.zeros(0, np.int64)]
    )


def _text_sizes(array: pa.Array) -> Lengths:
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        items = _text_sizes(array.flatten())
        rows = pc.list_parent_indices(array).to_numpy(zero_copy_only=False)
        return np.bincount(rows, items, len(array)).astype(np.int64)
    if pa.types.is_dictionary(kind) or _is_view(kind):
        return _shared_bytes(array)
    if _is_bytes(kind):
        return np.asarray(pc.fill_null(pc.binary_length(array), 0), np.int64)
    return np.full(len(array), array.nbytes // max(1, len(array)), np.int64)


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are text or binary of variable length."""
    return (
        is_text(kind)
        or _is_view(kind)
        or bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
    )


def _as_views(array: pa.Array) -> pa.Array:
    """Text or binary as views."""
    if _is_view(array.type):
        return array
    return array.cast(pa.string_view() if is_text(array.type) else pa.binary_view())


_VIEW = np.dtype([("size", np.int32), ("rest", "V12")])
"""One view of Arrow's columnar format."""


def _views(array: pa.Array) -> npt.NDArray[Any]:
    return np.frombuffer(array.buffers()[1], _VIEW)[array.offset : array.offset + len(array)]


def _take_views(array: pa.Array, positions: pa.Array, left_out: npt.NDArray[np.bool_]) -> pa.Array:
    """Take values of an array of views; those of a mask become null. Arrow has no such kernel."""
    valid = positions.is_valid().to_numpy(zero_copy_only=False) & ~left_out
    numbers = pc.fill_null(positions, 0).to_numpy(zero_copy_only=False)
    valid[valid] = array.is_valid().to_numpy(zero_copy_only=False)[numbers[valid]]
    views = np.zeros(len(positions), _VIEW)
    views[valid] = _views(array)[numbers[valid]]
    bitmap = pa.array(valid).buffers()[1]
    parts = [bitmap, pa.py_buffer(views), *array.buffers()[2:]]
    return pa.Array.from_buffers(array.type, len(positions), parts)


def _reject_long(array: pa.StringArray, field: str, rejected_rows: RejectedRows) -> pa.StringArray:
    """Reject the rows whose text is too long, and remove bytes that null strings may have."""
    lengths = pc.binary_length(array)
    too_long = pc.greater(lengths, FIELD_LIMIT)
    if pc.any(too_long).as_py():
        mask = pc.fill_null(too_long, False).to_numpy(zero_copy_only=False)
        rejected_rows.add_where(mask, TOO_LONG.format(field))
    if array.null_count and len(buffers(array)[1]) > (pc.sum(lengths).as_py() or 0):
        return with_nulls(array, array.is_null().to_numpy(zero_copy_only=False))
    return array
