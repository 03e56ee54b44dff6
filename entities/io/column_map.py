"""Maps from the columns of a schema to the column names of the data: `name=title`."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import pyarrow as pa

from labelwright.entities.errors import DataError
from labelwright.entities.schema import RESERVED, EntitySchema


@dataclasses.dataclass(frozen=True)
class ColumnMap:
    """A map from columns of a schema, `id`, `labels` or `absent` to column names of the data.

    A mapped column of the data is read as the column of the schema only, not also under the name
    that it has in the data.
    """

    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Parse texts like `name=title,address=street`; raises DataError."""
        sources: dict[str, str] = {}
        for part in ",".join(texts).split(","):
            column, mark, source = (side.strip() for side in part.partition("="))
            if part and not (column and mark and source):
                raise DataError("--map takes COLUMN=NAME, or several of them separated by commas")
            if part and sources.setdefault(column, source) != source:
                raise DataError(f"--map gives two names for the column {column!r}; give one")
        return cls(sources)

    def check(self, schema: EntitySchema) -> None:
        """Raise DataError if a mapped column is not in the schema."""
        known = (*schema.fields, *RESERVED)
        if unknown := sorted(set(self.sources) - set(known)):
            raise DataError(
                f"--map: {unknown[0]!r} is not a column of schema {schema.name!r}, "
                f"which has {', '.join(known)}"
            )

    def name_in_data(self, column: str) -> str:
        """The name that a column of the schema has in the data."""
        return self.sources.get(column, column)

    def rename_columns(self, names: Sequence[str]) -> list[str]:
        """The column names of a table after mapping.

        Raises DataError if the data has no column, or several columns, for a mapped name.
        """
        for source in self.sources.values():
            if source not in names:
                raise DataError(f"--map: the data has no column {source[:100]!r}")
            if names.count(source) > 1:
                raise DataError(
                    f"--map: the data has several columns {source[:100]!r}; rename all but one"
                )
        return [*self.sources, *(name for name in names if self._is_kept(name))]

    def rename_table(self, table: pa.Table) -> pa.Table:
        """Rename the columns of a table to those of the schema; raises DataError."""
        if not self.sources:
            return table
        names = table.column_names
        renamed = self.rename_columns(names)
        mapped = [table[source] for source in self.sources.values()]
        kept = [
            column for name, column in zip(names, table.columns, strict=True) if self._is_kept(name)
        ]
        return pa.table([*mapped, *kept], names=renamed)

    def rename_record(self, record: Any) -> Any:
        """Rename the members of a JSON object; other values are returned unchanged."""
        if not self.sources or not isinstance(record, dict):
            return record
        kept = {name: value for name, value in record.items() if self._is_kept(name)}
        mapped = {c: record[source] for c, source in self.sources.items() if source in record}
        return kept | mapped

    def _is_kept(self, name: str) -> bool:
        return name not in self.sources and name not in self.sources.values()
