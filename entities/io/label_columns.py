"""Label columns: lists of text, and the texts that programs write for lists.

The labels of a CSV cell are separated by `|`. A cell can also be a list as Python, NumPy, JSON,
DuckDB or PostgreSQL writes it. CSV has no null: an empty cell gives a null list, and `[]` an empty
list.
"""

import enum
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.arrays import RejectedRows, is_list, is_text, plain, text_lists
from labelwright.entities.errors import DataError
from labelwright.entities.json_text import parse_json
from labelwright.entities.schema import Column, Kind
from labelwright.entities.text import label_form
from labelwright.entities.values import is_missing

SEPARATOR = "|"
LISTS = pa.list_(pa.string())
_PREDICTIONS = (
    "{!r} holds predictions, as `label` writes them: give the names of the labels to learn from, "
    "as a list of text"
)
_UNREADABLE = "{}: begins and ends like a list, but is not one; separate labels by |"
_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_ITEM = re.compile(
    rf"\s*(?:(?P<quoted>{_QUOTED})|(?P<bare>[^\s,'\"\[\]{{}}][^,\"\[\]{{}}]*))", re.S
)
_BETWEEN = re.compile(r"\s*,\s*|\s+(?=['\"])|\s*$")
"""The text between two items: a comma, or white space before a quote, as NumPy writes it."""
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|.)", re.S)
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}
_NO_ITEM = frozenset({"NULL", "None", "nan", "NaN", "<NA>"})
_IRREGULAR = r"^\s|\s$|\s\s|[^ -~]"
"""Labels that may have another normal form."""


class EmptyLabels(enum.StrEnum):
    """Meaning of an empty cell of labels in CSV: not labelled, or none of the labels."""

    UNKNOWN = "unknown"
    NONE = "none"

    @classmethod
    def parse(cls, name: str) -> Self:
        """The meaning of this name; raises DataError."""
        try:
            return cls(name)
        except ValueError:
            names = " or ".join(map(repr, map(str, cls)))
            raise DataError(f"the meaning of empty cells of labels must be {names}") from None


class _PredictionsError(ValueError):
    """A cell holds predictions in place of labels."""


def label_lists(
    column: pa.ChunkedArray | pa.Array, name: str, rejected_rows: RejectedRows, cells: bool = False
) -> pa.ListArray:
    """Convert a column to list<string> with labels in normal form.

    If `cells` is true, a column of text is read as cells of CSV, and an empty cell gives a null
    list. Rows whose labels cannot be read are rejected. Raises DataError if the column does not
    have lists of text.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = array.type
    if pa.types.is_null(kind) and not cells:
        return array.cast(LISTS)
    if isinstance(kind, pa.JsonType):
        null = pc.equal(array.storage, "null")
        array, cells = pc.if_else(null, None, array.storage), True
    if cells and (is_text(array.type) or pa.types.is_null(kind)):
        texts = pc.fill_null(plain(array, name, rejected_rows).cast(pa.string()), "")
        lists = _normal(_split_cells(texts, name, rejected_rows))
        return _null_if_empty(lists, texts, rejected_rows)
    if not is_list(kind):
        raise DataError(f"column {name!r} holds {kind}; it must be lists of text")
    if pa.types.is_struct(kind.value_type) and kind.value_type.get_field_index("label") >= 0:
        raise DataError(_PREDICTIONS.format(name))
    try:
        return _normal(text_lists(array, Column(name, Kind.TEXT), name, rejected_rows))
    except DataError:
        raise DataError(f"column {name!r} holds {kind}; it must be lists of text") from None


def whole_labels(
    column: pa.ChunkedArray | pa.Array, name: str, rejected_rows: RejectedRows
) -> pa.ListArray | None:
    """Convert a column of text, whole numbers or booleans to lists of one label.

    The list of an empty cell is null. Returns None if the column has another type.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    array = plain(array, name, rejected_rows)
    kind = array.type
    if not any(is_kind(kind) for is_kind in _SCALARS) and not is_text(kind):
        return None
    texts = pc.utf8_trim_whitespace(array.cast(pa.string()))
    labels = pc.if_else(pc.equal(pc.binary_length(texts), 0), None, texts)
    ends = np.cumsum(labels.is_valid().to_numpy(zero_copy_only=False), dtype=np.int32)
    offsets = pa.array(np.concatenate([np.zeros(1, np.int32), ends]))
    missing = labels.is_null() if labels.null_count else None
    return _normal(pa.ListArray.from_arrays(offsets, labels.drop_null(), mask=missing))


_SCALARS = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_null)


def whole_value(value: Any) -> Any:
    """A value of JSON as a list of labels: a text or a whole number is one label."""
    if isinstance(value, str):
        return [value] if value.strip() else None
    return [json.dumps(value)] if isinstance(value, int) else value


def label_values(values: Iterable[Any], name: str, first_row: int) -> pa.ListArray:
    """Convert lists of parsed JSON to list<string>; raises DataError with the number of a row."""
    lists: list[list[str] | None] = []
    for row, value in enumerate(values, first_row):
        if not isinstance(value, list):
            if not is_missing(value):
                raise DataError(f"row {row}: {name!r} must be lists of text")
            lists.append(None)
            continue
        labels = [label for label in value if not is_missing(label)]
        if any(isinstance(label, dict) and "label" in label for label in labels):
            raise DataError(_PREDICTIONS.format(name))
        if not all(isinstance(label, str) for label in labels):
            raise DataError(f"row {row}: {name!r} must be lists of text")
        lists.append(labels)
    try:
        return _normal(pa.array(lists, LISTS))
    except UnicodeEncodeError as error:
        raise DataError(f"{name!r} must be lists of text in valid UTF-8") from error


def first_doubtful(cells: pa.StringArray) -> int | None:
    """The position of the first cell that is read as one label and has a comma or a semicolon."""
    found = pc.match_substring_regex(cells, r"^[^\[{|]*[,;][^|]*$")
    position = pc.index(found, True).as_py()
    return None if position < 0 else int(position)


def first_separated(labels: pa.ListArray) -> int | None:
    """The position of the first list with a label that has a separator."""
    found = pc.index(pc.match_substring(labels.flatten(), SEPARATOR), True).as_py()
    return None if found < 0 else int(pc.list_parent_indices(labels)[found].as_py())


def cell_labels(text: str) -> Sequence[str]:
    """The labels of a text, in any of the forms of cells of CSV; raises DataError.

    An empty text has no label.
    """
    rejected_rows = RejectedRows()
    lists = _split_cells(pa.array([text], pa.string()), "labels", rejected_rows)
    if rejected_rows.reasons:
        raise DataError(rejected_rows.reasons[0])
    labels: Sequence[str] = lists[0].as_py()
    return labels


def _split_cells(cells: pa.StringArray, name: str, rejected_rows: RejectedRows) -> pa.ListArray:
    """Split cells of CSV into lists of labels; the list of an empty cell is empty."""
    lists = pc.split_pattern(cells, SEPARATOR)
    lists = pc.if_else(_are_empty(cells), pa.scalar([], lists.type), lists)
    enclosed = pc.match_substring_regex(cells, r"(?s)^\s*(?:\[.*\]|\{.*\}|\(\s*['\"].*\))\s*$")
    if not pc.any(enclosed).as_py():
        return lists
    values = lists.to_pylist()
    for row in pc.indices_nonzero(enclosed).to_pylist():
        text = cells[row].as_py()
        try:
            values[row] = list_items(text)
        except _PredictionsError:
            raise DataError(_PREDICTIONS.format(name)) from None
        except ValueError:
            if SEPARATOR not in text:
                values[row] = []
                rejected_rows.add(row, _UNREADABLE.format(name))
    return pa.array(values, LISTS)


def _are_empty(cells: pa.StringArray) -> pa.BooleanArray:
    return pc.equal(pc.binary_length(pc.utf8_trim_whitespace(cells)), 0)


def _null_if_empty(
    lists: pa.ListArray, cells: pa.StringArray, rejected_rows: RejectedRows
) -> pa.ListArray:
    """The lists, null where the cell is empty; cells that cannot be read are not empty."""
    empty = _are_empty(cells).to_numpy(zero_copy_only=False)
    empty[list(rejected_rows.reasons)] = False
    return pc.if_else(pa.array(empty), None, lists) if empty.any() else lists


def list_items(text: str) -> Sequence[str]:
    """The items of a list in brackets, braces or parentheses; raises ValueError."""
    try:
        values = parse_json(text)
    except json.JSONDecodeError:
        return [*_items(text.strip()[1:-1])]
    listed = values if isinstance(values, list) else [values]
    if any(isinstance(value, dict) and "label" in value for value in listed):
        raise _PredictionsError
    present = [value for value in listed if value is not None]
    if values == {}:
        return []
    if not all(isinstance(value, str | int | float) for value in present):
        raise ValueError("not a list of text")
    return [value if isinstance(value, str) else json.dumps(value) for value in present]


def _items(text: str) -> Iterator[str]:
    position = 0
    while text[position:].strip():
        item = _ITEM.match(text, position)
        between = _BETWEEN.match(text, item.end()) if item else None
        if not item or not between:
            raise ValueError("not a list of text")
        if item["quoted"]:
            yield _ESCAPE.sub(_unescaped, item["quoted"][1:-1])
        elif (bare := item["bare"].strip()) not in _NO_ITEM:
            yield bare
        position = between.end()


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[1]
    return chr(int(code[1:], 16)) if len(code) > 1 else _CONTROLS.get(code, code)


def _normal(lists: pa.ListArray) -> pa.ListArray:
    """Labels in normal form; null lists stay null."""
    labels = lists.flatten()
    names = pc.unique(labels).drop_null()
    if not pc.any(pc.match_substring_regex(names, _IRREGULAR)).as_py():
        return lists
    forms = pa.array([label_form(name) for name in names.to_pylist()], pa.string())
    renamed = forms.take(pc.index_in(labels, names))
    counts = pc.fill_null(pc.list_value_length(lists), 0)
    ends = pc.cumulative_sum(counts.cast(pa.int32()))
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    missing = lists.is_null() if lists.null_count else None
    return pa.ListArray.from_arrays(offsets, renamed, mask=missing)
