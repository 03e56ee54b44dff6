"""Reader of published Parquet data sets of any size, filtered by a bounding box."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from labelwright.entities.errors import DataError, reason
from labelwright.entities.geometry import Box
from labelwright.entities.io.locations import LocationLike, locate
from labelwright.entities.io.readers import BATCH_ROWS, files_of, format_of

Advance = Callable[[int, float], object]
"""Called with the number of rows in the batch just read, and the share of files read (0 to 1)."""


@dataclasses.dataclass(frozen=True)
class BoundingFields:
    """The fields with the bounding box of a row; each is a column name, then nested field names."""

    west: tuple[str, ...]
    south: tuple[str, ...]
    east: tuple[str, ...]
    north: tuple[str, ...]

    def within(self, box: Box) -> pc.Expression:
        """A filter for the rows that intersect a box; it can exclude row groups by statistics."""
        from_west = pc.field(*self.east) >= box.west
        to_east = pc.field(*self.west) <= box.east
        across = (from_west | to_east) if box.crosses_date_line else (from_west & to_east)
        return across & (pc.field(*self.north) >= box.south) & (pc.field(*self.south) <= box.north)


class PublishedFiles:
    """Parquet files with a common schema; raises DataError if a required column is missing."""

    def __init__(self, where: LocationLike, required: Sequence[str]) -> None:
        self.where = locate(where)
        files = files_of(self.where)
        if self.where.filesystem is None or any(format_of(file) != "parquet" for file in files):
            raise DataError(f"{self.where}: published data is read from .parquet files")
        try:
            self._data = pyarrow.dataset.dataset(
                [file.path for file in files], filesystem=self.where.filesystem, format="parquet"
            )
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error
        self.names = self._data.schema.names
        if missing := [name for name in required if name not in self.names]:
            raise DataError(
                f"{self.where} has no column {missing[0]!r}: check that it is of this data set; "
                f"its columns are {', '.join(self.names)[:500]}"
            )

    def batches(
        self, columns: Sequence[str], within: pc.Expression | None, advance: Advance
    ) -> Iterator[pa.Table]:
        """Read the rows that pass the filter `within`.

        Columns that the files do not have are left out. Row groups are not read if their statistics
        exclude all rows.
        """
        wanted = [name for name in columns if name in self.names]
        try:
            fragments = list(self._data.get_fragments(within))
            for n, fragment in enumerate(fragments):
                for batch in fragment.to_batches(
                    schema=self._data.schema,
                    columns=wanted,
                    filter=within,
                    batch_size=BATCH_ROWS,
                    batch_readahead=2,
                ):
                    advance(batch.num_rows, n / len(fragments))
                    if batch.num_rows:
                        yield pa.Table.from_batches([batch])
                advance(0, (n + 1) / len(fragments))
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: BaseException) -> DataError:
        return DataError(f"{self.where} cannot be read: {reason(error)}")


def nested_field(table: pa.Table, *path: str) -> pa.Array | None:
    """The values of a nested field, null where the struct is null; None if no field is found.

    Lists and maps have one form, whatever program wrote the file (`plain_lists`). Raises DataError
    for a column that is no struct.
    """
    if path[0] not in table.column_names:
        return None
    array = table[path[0]].combine_chunks()
    for name in path[1:]:
        if not pa.types.is_struct(array.type):
            raise DataError(
                f"column {path[0]!r} holds {array.type}; it must be a struct with the field "
                f"{name!r}, as in the published files"
            )
        if array.type.get_field_index(name) < 0:
            return None
        array = pc.struct_field(array, name)
    return plain_lists(array)


def plain_lists(array: pa.Array) -> pa.Array:
    """Lists of elements, and maps as lists of structs with `key` and `value`.

    BigQuery exports a list as a struct with one field, `list` or `key_value`, and wraps each of its
    elements in a struct with the field `element`.
    """
    kind = array.type
    if array.offset:  # lists cannot be made of a part of an array
        array = array.take(pa.array(np.arange(len(array))))
    if pa.types.is_struct(kind) and [field.name for field in kind] in (["list"], ["key_value"]):
        return plain_lists(pc.struct_field(array, 0))
    if pa.types.is_map(kind):
        entries = pa.StructArray.from_arrays([array.keys, array.items], ["key", "value"])
        return _with_values(array, entries)
    if pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        array = array.cast(pa.list_(kind.value_type))
    if not pa.types.is_list(array.type):
        return array
    values = array.values
    while pa.types.is_struct(values.type) and [field.name for field in values.type] == ["element"]:
        values = pc.struct_field(values, 0)
    return _with_values(array, values)


def _with_values(lists: pa.Array, values: pa.Array) -> pa.ListArray:
    """Lists with the same offsets and nulls, but with other values."""
    return pa.ListArray.from_arrays(
        lists.offsets, values, mask=lists.is_null() if lists.null_count else None
    )


def first_elements(lists: pa.Array | None) -> pa.Array | None:
    """The first element of each list, null for empty and null lists; None for no array."""
    if lists is None:
        return None
    filled = pc.greater(pc.list_value_length(lists), 0)
    starts = pc.cast(lists.offsets.slice(0, len(lists)), pa.int64())
    null = pa.scalar(None, pa.int64())
    return lists.values.take(pc.if_else(pc.fill_null(filled, False), starts, null))


def without_missing(columns: Mapping[str, pa.Array | None]) -> dict[str, pa.Array]:
    """The columns that are not None."""
    return {name: array for name, array in columns.items() if array is not None}
