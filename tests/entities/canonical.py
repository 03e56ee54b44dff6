"""Helpers of tests of canonical tables: a schema with all kinds, and tables of one column."""

from typing import Any

import pyarrow as pa
from hypothesis import settings

from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import from_table

some = settings(max_examples=50, deadline=None)
ALL = EntitySchema.from_mapping(
    {
        "name": "all",
        "columns": {
            "text": {"kind": "text"},
            "words": {"kind": "words"},
            "category": {"kind": "category"},
            "web": {"kind": "web"},
            "phone": {"kind": "phone"},
            "number": {"kind": "number"},
            "point": {"kind": "point", "fields": ["lat", "lon"]},
            "tags": {"kind": "tags"},
        },
    }
)
"""A schema with one column of each kind, named after the kind."""
TEXT_LIKE = ["text", "words", "category", "web", "phone"]


def column(array: pa.Array, name: str) -> list[Any]:
    """The canonical values of the column of a table that has only this column."""
    entities = from_table(pa.table({name: array}), ALL)
    assert not entities.rejected
    assert not entities.warnings
    values: list[Any] = entities.table[name].to_pylist()
    return values


def rejected(name: str, array: pa.Array) -> dict[int, str]:
    """The rejected rows of a table that has only this column, with the reasons."""
    return dict(from_table(pa.table({name: array}), ALL).rejected)


def unchecked(*values: bytes) -> pa.StringArray:
    """A string array whose bytes may be invalid UTF-8, as in a column that was read from a file."""
    array = pa.array(values, pa.binary())
    return pa.StringArray.from_buffers(len(array), *array.buffers()[1:])
