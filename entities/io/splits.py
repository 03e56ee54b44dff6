"""Splitting of files into parts that independent processes can read."""

import dataclasses
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from labelwright.entities.errors import DataError, reason
from labelwright.entities.io import readers
from labelwright.entities.io.column_map import ColumnMap
from labelwright.entities.io.locations import Location, LocationLike
from labelwright.entities.io.readers import SAME_NAMES, Batch, files_of, format_of, read_batches
from labelwright.entities.schema import EntitySchema


@dataclasses.dataclass(frozen=True)
class Part:
    """The rows of a file from `first` up to, but not including, `stop`.

    If `stop` is None, the part ends at the end of the file. `before` is the number of rows in all
    earlier files. `first` is also the start of a batch when the whole file is read.
    """

    file: Location
    before: int
    first: int
    stop: int | None

    def after(self, rows: int) -> "Part | None":
        """The rest of the part without the first `rows` rows of all files; None if it is empty."""
        first = max(self.first, rows - self.before)
        if self.stop is not None and 0 < self.stop <= first:
            return None
        return dataclasses.replace(self, first=first)


def parts_of(where: LocationLike) -> list[Part]:
    """Split a file or folder into parts, in order; raises DataError.

    Each file begins a part. In Parquet, a row group that begins at a multiple of BATCH_ROWS also
    begins a part.
    """
    parts: list[Part] = []
    before = 0
    for file in (file.absolute for file in files_of(where)):
        if format_of(file) != "parquet":
            parts.append(Part(file, before, 0, None))
            continue
        starts, rows = _starts(file)
        stops = [*starts[1:], rows]
        parts += [Part(file, before, *span) for span in zip(starts, stops, strict=True)]
        before += rows
    return parts


def read_part(part: Part, schema: EntitySchema, columns: ColumnMap = SAME_NAMES) -> Iterator[Batch]:
    """Read a part in the same batches as when the whole file is read; raises DataError.

    `columns` maps the columns of the schema to those of the data.
    """
    at = part.first
    rows = read_batches(part.file, schema, part.before, labelled=False, skip=at, columns=columns)
    for batch in rows:
        yield batch
        at += len(batch.entities)
        if part.stop is not None and at >= part.stop:
            return


def _starts(file: Location) -> tuple[list[int], int]:
    """The first rows of the parts of a Parquet file, and the number of its rows."""
    try:
        with file.open() as stream:
            metadata = pq.read_metadata(stream)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} cannot be read: {reason(error)}") from error
    starts, at = [0], 0
    for group in range(metadata.num_row_groups):
        at += metadata.row_group(group).num_rows
        if at % readers.BATCH_ROWS == 0 and starts[-1] < at < metadata.num_rows:
            starts.append(at)
    return starts, metadata.num_rows
