"""What the columns of the data are called, where not as in the schema: `name=title`."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import pyarrow as pa

from labelwright.entities.errors import DataError
from labelwright.entities.schema import RESERVED, EntitySchema


@dataclasses.dataclass(frozen=True)
class ColumnMap:
    """A map from columns of a schema, `id`, `labels` or `absent` to names in the data.

    A column of the data that is named here is read under its new name only.
    """

    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Of texts like `name=title,address=street`; raises DataError."""
        sources: dict[str, str] = {}
        for part in ",".join(texts).split(","):
            column, mark, source = (side.strip() for side in part.partition("="))
            if part and not (column and mark and source):
                raise DataError("--map takes COLUMN=NAME, several separated by commas")
            if part and sources.setdefault(column, source) != source:
                raise DataError(f"--map names two sources for {column!r}")
        return cls(sources)

    def check(self, schema: EntitySchema) -> None:
        """Raise DataError for a column that no schema has."""
        known = (*schema.fields, *RESERVED)
        if unknown := sorted(set(self.sources) - set(known)):
            raise DataError(
                f"--map: {unknown[0]!r} is no column of schema {schema.name!r}, "
                f"which has {', '.join(known)}"
            )

    def source(self, column: str) -> str:
        """What a column of the schema is called in the data."""
        return self.sources.get(column, column)

    def of(self, names: Sequence[str]) -> list[str]:
        """The columns that come of those of a table; raises DataError where one is missing."""
        if missing := [source for source in self.sources.values() if source not in names]:
            raise DataError(f"--map: the data have no column {missing[0][:100]!r}")
        return [*self.sources, *(name for name in names if self._is_kept(name))]

    def table(self, table: pa.Table) -> pa.Table:
        """A table with the names of the schema."""
        if not self.sources:
            return table
        return pa.table(
            [
                *(table[source] for source in self.sources.values()),
                *(table[name] for name in table.column_names if self._is_kept(name)),
            ],
            names=self.of(table.column_names),
        )

    def record(self, record: Any) -> Any:
        """The same for a record, which may lack any column."""
        if not self.sources or not isinstance(record, dict):
            return record
        kept = {name: value for name, value in record.items() if self._is_kept(name)}
        mapped = {c: record[source] for c, source in self.sources.items() if source in record}
        return kept | mapped

    def _is_kept(self, name: str) -> bool:
        return name not in self.sources and name not in self.sources.values()
