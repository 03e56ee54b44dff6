"""Reading what others publish as Parquet: files or folders of any size, anywhere, part by part."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from labelwright.entities.errors import DataError, reason
from labelwright.entities.geometry import Box
from labelwright.entities.io.locations import LocationLike, locate
from labelwright.entities.io.readers import BATCH_ROWS, files_of, format_of

Advance = Callable[[int, float], object]
"""Told of rows as they are read, and of the share of the files that has been read by then."""


@dataclasses.dataclass(frozen=True)
class BoundingFields:
    """Fields that bound where a row lies: names of columns, and of the members of structs."""

    west: tuple[str, ...]
    south: tuple[str, ...]
    east: tuple[str, ...]
    north: tuple[str, ...]

    def within(self, box: Box) -> pc.Expression:
        """Whether a row meets a box; what Parquet knows of a group of rows can decide it."""
        from_west = pc.field(*self.east) >= box.west
        to_east = pc.field(*self.west) <= box.east
        across = (from_west | to_east) if box.crosses else (from_west & to_east)
        return across & (pc.field(*self.north) >= box.south) & (pc.field(*self.south) <= box.north)


class PublishedFiles:
    """Parquet files of one schema; raises DataError where they lack a column they must have."""

    def __init__(self, where: LocationLike, required: Sequence[str]) -> None:
        self.where = locate(where)
        files = files_of(self.where)
        if self.where.filesystem is None or any(format_of(file) != "parquet" for file in files):
            raise DataError(f"{self.where}: what is published is read from .parquet")
        try:
            self._data = pyarrow.dataset.dataset(
                [file.path for file in files], filesystem=self.where.filesystem, format="parquet"
            )
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error
        self.names = self._data.schema.names
        if missing := [name for name in required if name not in self.names]:
            raise DataError(f"{self.where} has no column {missing[0]!r}: is it what it should be?")

    def batches(
        self, columns: Sequence[str], within: pc.Expression | None, advance: Advance
    ) -> Iterator[pa.Table]:
        """The rows that lie within, as tables of those of the columns that there are.

        Groups of rows that cannot hold any are not read.
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


def member(table: pa.Table, *path: str) -> pa.Array | None:
    """A member of a column of structs, None where there is none; null where the struct is null."""
    if path[0] not in table.column_names:
        return None
    array = table[path[0]].combine_chunks()
    for name in path[1:]:
        if not pa.types.is_struct(array.type) or array.type.get_field_index(name) < 0:
            return None
        array = pc.struct_field(array, name)
    return array


def first(lists: pa.Array | None) -> pa.Array | None:
    """The first element of each list, null where there is none."""
    if lists is None:
        return None
    filled = pc.greater(pc.list_value_length(lists), 0)
    starts = pc.cast(lists.offsets.slice(0, len(lists)), pa.int64())
    nowhere = pa.scalar(None, pa.int64())
    return lists.values.take(pc.if_else(pc.fill_null(filled, False), starts, nowhere))


def present(columns: Mapping[str, pa.Array | None]) -> dict[str, pa.Array]:
    """The columns that there are."""
    return {name: array for name, array in columns.items() if array is not None}
