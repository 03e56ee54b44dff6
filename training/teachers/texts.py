"""The text of an entity that a sentence encoder reads."""

import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.errors import DataError
from labelwright.entities.schema import Kind
from labelwright.entities.tables import Entities

SEPARATOR = ". "
"""The separator between the values of two columns, as between sentences."""


def texts_of(entities: Entities) -> pa.StringArray:
    """The values of the text columns of each entity, in the order of the schema.

    Raises DataError if the schema has no text column.
    """
    schema = entities.schema
    columns = [column.name for column in schema.columns if column.kind is Kind.TEXT]
    if not columns:
        raise DataError(
            f"the schema {schema.name} has no column of the kind text, so an encoder has nothing "
            "to read; leave out --encoder"
        )
    found = [entities.column(name) for name in columns]
    values = [values for values in found if values is not None]
    if not values:
        return pa.array([""] * len(entities), pa.string())
    text = values[0]
    for other in values[1:]:  # Arrow's own joining of many columns loses rows of nulls
        text = pc.coalesce(pc.binary_join_element_wise(text, other, SEPARATOR), text, other)
    return pc.fill_null(text, "")
