"""Importer of Foursquare's Open Source Places: the published Parquet files, or a regional extract.

A category is a path like `Dining and Drinking > Restaurant > Pizzeria`. The path and all its
ancestors become labels `category=...`. The label of a path implies the labels of its ancestors.

The schema: https://docs.foursquare.com/data-products/docs/places-os-data-schema
"""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.geometry import Box
from labelwright.entities.importers.places_file import (
    ImportSummary,
    places_file,
    table_of,
    without_closed,
)
from labelwright.entities.importers.published import (
    Advance,
    BoundingFields,
    PublishedFiles,
    nested_field,
    without_missing,
)
from labelwright.entities.io.locations import LocationLike
from labelwright.entities.label_groups import LabelGroup, Role, default_labels

GROUP = "category"
SEPARATOR = " > "
CORNERS = BoundingFields(("longitude",), ("latitude",), ("longitude",), ("latitude",))
COLUMNS = {
    "id": "fsq_place_id",
    "name": "name",
    "address": "address",
    "city": "locality",
    "region": "region",
    "postcode": "postcode",
    "country": "country",
    "phone": "tel",
    "website": "website",
    "lat": "latitude",
    "lon": "longitude",
}
LABELS = "fsq_category_labels"
CLOSED = "date_closed"


def import_foursquare(
    source: LocationLike,
    target: LocationLike,
    box: Box | None,
    advance: Advance,
    closed: bool = False,
) -> ImportSummary:
    """Import all places, or only the places in a box; raises DataError and StorageError.

    Places with a date of closing are left out unless `closed` is true.
    """
    published = PublishedFiles(source, ("fsq_place_id", "name", "latitude", "longitude", LABELS))
    imported = ImportSummary(groups={GROUP: LabelGroup(default_labels(GROUP), role=Role.KIND)})
    with places_file(target, imported) as write:
        within = CORNERS.within(box) if box else None
        for table in published.batches((*COLUMNS.values(), LABELS, CLOSED), within, advance):
            if not closed and CLOSED in table.column_names:
                table = without_closed(table, pc.is_valid(table[CLOSED]), imported)
            columns = {name: nested_field(table, source) for name, source in COLUMNS.items()}
            labels = pa.array(_labels(table), pa.list_(pa.string()))
            write(table_of(without_missing({**columns, "labels": labels}), len(table)))
        imported.implies = {
            label: tuple(above)
            for label in sorted(imported.labels)
            if (above := ancestor_paths(label)[:-1])
        }
    return imported


def ancestor_paths(category: str) -> list[str]:
    """A category path and all its ancestors, the most general first."""
    parts = category.split(SEPARATOR)
    return [SEPARATOR.join(parts[:depth]) for depth in range(1, len(parts) + 1)]


def _labels(table: pa.Table) -> Iterator[list[str] | None]:
    """The labels of each place, ancestors included; None for a place without categories."""
    for categories in table[LABELS].to_pylist():
        found = (path for each in categories or () if each for path in ancestor_paths(each.strip()))
        yield [f"{GROUP}={path}" for path in dict.fromkeys(found)] or None
