"""Maps from the columns of a schema to the column names of the data: `name=title`."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import pyarrow as pa

from labelwright.entities.errors import DataError
from labelwright.entities.schema import NAME_SHOWN, RESERVED, EntitySchema

COLUMNS_SHOWN = 30
"""The largest number of columns that a message lists."""


@dataclasses.dataclass(frozen=True)
class ColumnMap:
    """A map from columns of a schema, `id`, `labels` or `absent` to column names of the data.

    A mapped column of the data is read as the column of the schema only, not also under the name
    that it has in the data. If `whole_labels` is true, each text in the column of labels is one
    label.
    """

    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)
    whole_labels: bool = False

    @classmethod
    def parse(cls, texts: Iterable[str], label_column: str | None = None) -> Self:
        """Parse texts like `name=title,address=street`; raises DataError.

        `label_column` is the column of the data whose texts are one label each.
        """
        sources: dict[str, str] = {}
        for part in ",".join(texts).split(","):
            column, mark, source = (side.strip() for side in part.partition("="))
            if part and not (column and mark and source):
                raise DataError("--map takes COLUMN=NAME, or several of them separated by commas")
            if part and sources.setdefault(column, source) != source:
                raise DataError(f"--map gives two names for the column {column!r}; give one")
        return cls(sources).with_label_column(label_column)

    def with_label_column(self, name: str | None) -> Self:
        """The map in which each text of the column `name` is one label; unchanged if it is None.

        Raises DataError if the map names a column of labels already.
        """
        if name is None:
            return self
        if "labels" in self.sources:
            raise DataError(
                "--map names a column of labels, and --label-column names one too: give only one"
            )
        if not name:
            raise DataError("--label-column takes the name of a column of the data; it is empty")
        return dataclasses.replace(
            self, sources={**self.sources, "labels": name}, whole_labels=True
        )

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

        Only the column of labels may be missing, because rows to label have none. Raises DataError
        if the data has no column for another mapped name, or several columns for a mapped name.
        """
        for column, source in self.sources.items():
            if source not in names and column != "labels":
                raise DataError(
                    f"--map: the data has no column {source[:100]!r}{listed_columns(names)}"
                )
            if names.count(source) > 1:
                option = "--label-column" if self._is_label_column(column) else "--map"
                raise DataError(
                    f"{option}: the data has several columns {source[:100]!r}; rename all but one"
                )
        return [
            *(column for column, source in self.sources.items() if source in names),
            *(name for name in names if self._is_kept(name)),
        ]

    def rename_table(self, table: pa.Table) -> pa.Table:
        """Rename the columns of a table to those of the schema; raises DataError."""
        if not self.sources:
            return table
        names = table.column_names
        renamed = self.rename_columns(names)
        mapped = [table[source] for source in self.sources.values() if source in names]
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

    def _is_label_column(self, column: str) -> bool:
        return self.whole_labels and column == "labels"


def listed_columns(names: Iterable[str]) -> str:
    """The end of a message about a missing column: the columns that the data has."""
    shown = [name[:NAME_SHOWN] for name in names if name]
    if not shown:
        return ""
    more = f" and {len(shown) - COLUMNS_SHOWN:,} more" if len(shown) > COLUMNS_SHOWN else ""
    return f"; it has {', '.join(map(repr, shown[:COLUMNS_SHOWN]))}{more}"
