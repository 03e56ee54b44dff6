"""Writer of Parquet files of labelled places, the output of importers."""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labelwright.entities.errors import DataError
from labelwright.entities.io.locations import LocationLike, locate, open_output
from labelwright.entities.io.readers import BATCH_ROWS, format_of
from labelwright.entities.io.schema_metadata import schema_metadata
from labelwright.entities.label_groups import LabelGroup
from labelwright.entities.schema import EntitySchema, load_schema

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("name", pa.string()),
        pa.field("alternative_names", pa.string()),
        pa.field("address", pa.string()),
        pa.field("city", pa.string()),
        pa.field("region", pa.string()),
        pa.field("postcode", pa.string()),
        pa.field("country", pa.string()),
        pa.field("phone", pa.string()),
        pa.field("website", pa.string()),
        pa.field("lat", pa.float64()),
        pa.field("lon", pa.float64()),
        pa.field("brand", pa.string()),
        pa.field("description", pa.string()),
        pa.field("tags", pa.map_(pa.string(), pa.string())),
        pa.field("labels", pa.list_(pa.string())),
        pa.field("absent", pa.list_(pa.string())),
    ]
)
"""The columns of an imported file: those of the schema `places`, and `id`, `labels`, `absent`."""
CLOSED = "closed"
"""The reason why closed places are left out."""
GROUP_ROWS = 4 * BATCH_ROWS

Implied = Mapping[str, tuple[str, ...]]


@dataclasses.dataclass
class ImportSummary:
    """The result of an import: the numbers of all places and of labelled places, and the labels.

    `left_out` has the numbers of places that were left out, by reason. `unplaced` is the number of
    imported places without a position.
    `open_world`, `implies` and `groups` are as in `EntitySchema`; groups without labels are left
    out of the schema.
    """

    places: int = 0
    labelled: int = 0
    labels: set[str] = dataclasses.field(default_factory=set)
    open_world: tuple[str, ...] = ()
    implies: Implied = dataclasses.field(default_factory=dict)
    groups: Mapping[str, LabelGroup] = dataclasses.field(default_factory=dict)
    left_out: Counter[str] = dataclasses.field(default_factory=Counter)
    unplaced: int = 0

    @property
    def schema(self) -> EntitySchema:
        """The schema `places` with this `open_world`, `implies` and `groups`."""
        schema = dataclasses.replace(
            load_schema("places"),
            open_world=self.open_world,
            implies=self.implies,
            groups=self.groups,
        )
        return schema.with_groups_of(sorted(self.labels))


def table_of(columns: Mapping[str, Any], rows: int) -> pa.Table:
    """Build a table with the schema SCHEMA; columns that are not given are null."""
    given = {field.name: columns.get(field.name, pa.nulls(rows, field.type)) for field in SCHEMA}
    return pa.table(given, schema=SCHEMA)


def without_closed(
    table: pa.Table, closed: pa.Array | pa.ChunkedArray | None, imported: ImportSummary
) -> pa.Table:
    """The rows of a table that are not closed; the others are counted. None means no row."""
    if closed is None:
        return table
    kept = table.filter(pc.invert(pc.fill_null(closed, False)))
    imported.left_out[CLOSED] += len(table) - len(kept)
    return kept


@contextlib.contextmanager
def places_file(
    where: LocationLike, imported: ImportSummary
) -> Iterator[Callable[[pa.Table], None]]:
    """Yield a function that appends tables with the schema SCHEMA to a file.

    The function also adds the places and labels of the tables to `imported`. The file appears under
    its name when it is complete, with the schema of `imported` in its metadata. Raises DataError if
    the suffix is not `.parquet`, and StorageError if the file cannot be written.
    """
    location = locate(where)
    if format_of(location) != "parquet":
        raise DataError(f"{location}: an import is written as Parquet; end its name in .parquet")
    with (
        open_output(location) as stream,
        pq.ParquetWriter(stream, SCHEMA, compression="zstd") as writer,
    ):
        waiting: list[pa.Table] = []

        def flush(least: int) -> None:
            rows = sum(map(len, waiting))
            if rows and rows >= least:
                table = pa.concat_tables(waiting)
                end = rows - rows % least
                writer.write_table(table.slice(0, end), row_group_size=GROUP_ROWS)
                waiting[:] = [table.slice(end)] if end < rows else []

        def write(table: pa.Table) -> None:
            _count(table, imported)
            waiting.append(table)
            flush(GROUP_ROWS)

        yield write
        flush(1)
        writer.add_key_value_metadata(schema_metadata(imported.schema))


def _count(table: pa.Table, imported: ImportSummary) -> None:
    labels = table["labels"]
    imported.places += len(table)
    imported.labelled += len(table) - labels.null_count
    imported.unplaced += pc.sum(pc.is_null(pc.add(table["lat"], table["lon"]))).as_py() or 0
    imported.labels.update(labels.combine_chunks().flatten().unique().to_pylist())
