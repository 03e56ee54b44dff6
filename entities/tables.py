"""Canonical tables of entities: Arrow tables whose rows were checked against a schema.

A canonical table has the column `id` (string), and then the columns of the schema that the data
has, in the order of the schema. Numbers and points are float64, all other kinds are strings. Lists
and maps of tags are joined to one string with semicolons. A null string has no bytes in the data
buffer. If a row is not valid, all its columns except `id` are set to null and the reason is kept.
The other rows are not affected.
"""

import collections
import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.arrays import (
    RejectedRows,
    canonical_array,
    checked_values,
    floats,
    is_list,
    with_nulls,
)
from labelwright.entities.errors import DataError
from labelwright.entities.schema import NUMERIC, RESERVED, Column, EntitySchema, Kind
from labelwright.entities.text import is_unicode
from labelwright.entities.values import FIELD_LIMIT, FieldValueError, canonical_value

if TYPE_CHECKING:
    import pandas as pd

LABELS = pa.list_(
    pa.struct(
        [
            pa.field("label", pa.string()),
            pa.field("probability", pa.float32()),
            pa.field("asserted", pa.bool_()),
        ]
    )
)
"""The Arrow type of the predicted labels of one entity, the most probable label first."""
ROW = "row-"
"""The start of the ids of rows without an id, if other rows have ids."""
POINT_LIMITS = (90.0, 180.0)
"""The largest absolute latitude and longitude, in degrees."""


@dataclasses.dataclass(frozen=True)
class Entities:
    """A canonical table of entities, with the rows that were rejected.

    `table` has one row for each row of the data. `rejected` maps the position of a rejected row to
    the reason. `warnings` are about the whole table. If the data has no ids, the table is
    `anonymous` and the ids are row numbers. `without_id` is a mask of the rows whose id was made
    from the row number; it is empty if it is not known.
    """

    schema: EntitySchema
    table: pa.Table
    rejected: Mapping[int, str] = dataclasses.field(default_factory=dict)
    warnings: Sequence[str] = ()
    anonymous: bool = False
    without_id: npt.NDArray[np.bool_] = dataclasses.field(
        default_factory=lambda: np.zeros(0, np.bool_)
    )

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @functools.cached_property
    def ids(self) -> pa.StringArray:
        """The ids of all rows."""
        return self.table["id"].combine_chunks()

    @property
    def rejection_reasons(self) -> pa.StringArray:
        """The reason for the rejection of each row; null for rows that are not rejected."""
        if not self.rejected:
            return pa.nulls(len(self), pa.string())
        return pa.array([self.rejected.get(row) for row in range(len(self))], pa.string())

    def column(self, name: str) -> pa.Array | None:
        """The values of a column as one array, or None if the data has no such column."""
        at = self.table.schema.get_field_index(name)
        if at < 0:
            return None
        column = self.table.column(at)
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()

    def with_rejected(self, reasons: Mapping[int, str]) -> "Entities":
        """The same entities with more rejected rows; `reasons` has the reason of each row."""
        rejected = {**self.rejected, **reasons}
        return dataclasses.replace(self, rejected=dict(sorted(rejected.items())))

    @classmethod
    def empty(cls, schema: EntitySchema, rows: int) -> Self:
        """Anonymous entities that have no column except `id`."""
        ids = pa.array(np.arange(rows)).cast(pa.string())
        return cls(schema, pa.table({"id": ids}), anonymous=True)

    def slice(self, start: int, rows: int) -> "Entities":
        """Consecutive rows, without copying them; rejections and warnings are dropped."""
        return Entities(self.schema, self.table.slice(start, rows), anonymous=self.anonymous)

    def take(self, rows: npt.NDArray[np.int64]) -> "Entities":
        """The given rows in the given order; rejections and warnings are dropped."""
        taken = self.table.take(pa.array(rows))
        return Entities(self.schema, taken, anonymous=self.anonymous)


def concatenate(parts: Sequence[Entities]) -> Entities:
    """Join tables that have the same schema; rejections and warnings are dropped."""
    table = pa.concat_tables([part.table for part in parts], promote_options="default")
    return Entities(parts[0].schema, table, anonymous=parts[0].anonymous)


def from_frame(frame: "pd.DataFrame", schema: EntitySchema) -> Entities:
    """Check a pandas frame against a schema, as `from_table` does."""
    rejected_rows = RejectedRows()
    arrays = []
    for name, series in frame.items():
        try:
            arrays.append(_arrow_array(series))
        except DataError:
            column = _ID if name == _ID.name else schema.column_of(str(name))
            values = series.tolist()
            arrays.append(
                checked_values(values, column, str(name), rejected_rows)
                if column
                else pa.nulls(len(values))
            )
    table = pa.Table.from_arrays(arrays, names=list(map(str, frame.columns)))
    return _checked_table(table, schema, 0, False, rejected_rows)


def frame_table(frame: "pd.DataFrame") -> pa.Table:
    """The columns of a pandas frame as an Arrow table, without its index.

    Raises DataError for a column whose values have no common type.
    """
    arrays = [_arrow_array(series) for _, series in frame.items()]
    return pa.Table.from_arrays(arrays, names=list(map(str, frame.columns)))


def _arrow_array(series: "pd.Series[Any]") -> pa.Array:
    """A column of a frame as an Arrow array; raises DataError if its values mix types."""
    try:
        array = pa.Array.from_pandas(series)
        missing = array.null_count == len(array)  # pandas gives such a column any type
        return pa.nulls(len(array)) if missing else array
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"column {str(series.name)[:100]!r} mixes types of values; give all its values one type"
        ) from error


def from_table(
    table: pa.Table, schema: EntitySchema, first_row: int = 0, named: bool = False
) -> Entities:
    """Check an Arrow table against a schema and convert it to a canonical table.

    Row numbers count from `first_row`. A row without an id gets `row-N`, N being the row number,
    if another row has an id or if the table is `named`: other rows of its file have ids. Otherwise
    it gets N. Raises DataError if a column has a type that
    its kind does not allow, if a known column is repeated, or if no column is in the schema.
    """
    return _checked_table(table, schema, first_row, named, RejectedRows())


def _checked_table(
    table: pa.Table,
    schema: EntitySchema,
    first_row: int,
    named: bool,
    rejected_rows: RejectedRows,
) -> Entities:
    names = table.column_names
    check_columns(names, schema)
    ids, without_id = _ids(table, first_row, named, rejected_rows)
    columns = {_ID.name: ids}
    for column in schema.columns:
        for field in column.fields:
            if field in names:
                columns[field] = canonical_array(table[field], column, field, rejected_rows)
    checked = _build_entities(columns, schema, rejected_rows, schema.warnings_for(names))
    anonymous = _ID.name not in names
    return dataclasses.replace(checked, anonymous=anonymous, without_id=without_id)


def check_columns(names: Sequence[str], schema: EntitySchema) -> None:
    """Raise DataError if a known column is repeated or if no column is in the schema.

    Columns that are not in the schema are not read, so they may be repeated.
    """
    known = {*schema.fields, *RESERVED}
    repeated = [name for name, n in collections.Counter(names).items() if n > 1 and name in known]
    if repeated:
        raise DataError(
            f"column {min(repeated)[:100]!r} occurs more than once; remove or rename one of them"
        )
    if not set(names) & set(schema.fields):
        raise DataError(
            f"no column is known to schema {schema.name!r}, which has {', '.join(schema.fields)}"
        )


def from_records(
    records: Sequence[Any], schema: EntitySchema, first_row: int = 0, named: bool = False
) -> Entities:
    """Check records of parsed JSON against a schema, as `from_table` does.

    Records that are not objects or that have a value of a wrong type are rejected. A record without
    an id gets `row-N` if another record has an id or if the records are `named`, and otherwise N.
    """
    rejected_rows = RejectedRows()
    objects = [record if isinstance(record, dict) else {} for record in records]
    names = set().union(*objects)
    present = {name for name in names if isinstance(name, str) and is_unicode(name)}
    for row, record in enumerate(records):
        if not isinstance(record, dict):
            rejected_rows.add(row, "an entity must be an object")
        elif len(present) < len(names) and not present.issuperset(record):
            rejected_rows.add(row, "the names of fields must be text")
    given = _checked_values(objects, _ID.name, _ID, rejected_rows)
    without_id = np.array([value is None for value in given], np.bool_)
    prefix = ROW if named or not without_id.all() else ""
    ids = [f"{prefix}{first_row + n}" if v is None else v for n, v in enumerate(given)]
    columns = {_ID.name: pa.array(ids, pa.string())}
    for column in schema.columns:
        if present.intersection(column.fields):
            kind = pa.float64() if column.kind in NUMERIC else pa.string()
            for field in column.fields:
                columns[field] = pa.array(
                    _checked_values(objects, field, column, rejected_rows), kind
                )
    checked = _build_entities(columns, schema, rejected_rows, schema.warnings_for(present))
    anonymous = bool(without_id.all())
    return dataclasses.replace(checked, anonymous=anonymous, without_id=without_id)


_ID = Column("id", Kind.CATEGORY)


def _build_entities(
    columns: dict[str, pa.Array],
    schema: EntitySchema,
    rejected_rows: RejectedRows,
    warnings: Sequence[str],
) -> Entities:
    """Build a table of canonical columns, and set the columns of rejected rows to null."""
    for column in schema.columns:
        if column.kind is Kind.POINT:
            _reject_invalid_points(columns, column, rejected_rows)
    reasons = dict(sorted(rejected_rows.reasons.items()))
    if reasons:
        bad = np.zeros(len(columns[_ID.name]), np.bool_)
        bad[list(reasons)] = True
        columns = {
            name: array if name == _ID.name else with_nulls(array, bad)
            for name, array in columns.items()
        }
    return Entities(schema, pa.table(columns), reasons, warnings)


def _ids(
    table: pa.Table, first_row: int, named: bool, rejected_rows: RejectedRows
) -> tuple[pa.StringArray, npt.NDArray[np.bool_]]:
    """The ids of all rows, and a mask of the rows without an id in the table."""
    rows = np.arange(first_row, first_row + table.num_rows)
    ids = pa.nulls(len(rows), pa.string())
    if _ID.name in table.column_names:
        if is_list(kind := table.schema.field(_ID.name).type):
            raise DataError(f"column 'id' holds {kind}; it must be text or whole numbers")
        ids = canonical_array(table[_ID.name], _ID, _ID.name, rejected_rows)
    if not ids.null_count:
        return ids, np.zeros(len(rows), np.bool_)
    named = named or ids.null_count < len(ids)
    made = row_ids(rows) if named else pa.array(rows).cast(pa.string())
    return pc.coalesce(ids, made), ids.is_null().to_numpy(zero_copy_only=False)


def row_ids(rows: npt.NDArray[np.int64]) -> pa.StringArray:
    """The ids of rows without an id, if other rows have ids: `row-N`."""
    return pc.binary_join_element_wise(ROW, pa.array(rows).cast(pa.string()), "")


def _reject_invalid_points(
    columns: dict[str, Any], column: Column, rejected_rows: RejectedRows
) -> None:
    present = [field for field in column.fields if field in columns]
    if len(present) == 1:
        raise DataError(
            f"column {present[0]!r} is given alone: give both {' and '.join(column.fields)}"
        )
    if not present:
        return
    lat, lon = (floats(columns[field]) for field in present)
    for field, degrees, limit in zip(present, (lat, lon), POINT_LIMITS, strict=True):
        outside = np.abs(degrees) > limit
        rejected_rows.add_where(outside, f"{field}: must lie between -{limit:g} and {limit:g}")
    half = np.isnan(lat) != np.isnan(lon)
    rejected_rows.add_where(half, f"{' and '.join(present)} must be given together")


def _checked_values(
    objects: Sequence[dict[Any, Any]], field: str, column: Column, rejected_rows: RejectedRows
) -> list[Any]:
    """The values of one field of parsed JSON; values that the kind does not allow become None.

    The rows of these values are added to `rejected_rows`.
    """
    values = [given.get(field) for given in objects]
    plain, numeric = column.kind in _PLAIN, column.kind in NUMERIC
    for row, value in enumerate(values):
        if value is None:
            continue
        kind = type(value)  # nearly all values pass one of the two quick checks
        if plain and kind is str and value.isascii() and len(value) <= FIELD_LIMIT:
            continue
        if numeric and kind is float and math.isfinite(value):
            continue
        values[row] = None
        try:
            values[row] = canonical_value(value, column, field)
        except FieldValueError as error:
            rejected_rows.add(row, str(error))
    return values


_PLAIN = frozenset({Kind.TEXT, Kind.WORDS, Kind.CATEGORY, Kind.WEB, Kind.PHONE})
