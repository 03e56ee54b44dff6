"""Importer of Overture Maps' places: the published GeoParquet files, or a regional extract.

Categories become labels `category=...`. If the files have the column `taxonomy`, this column has
the whole category path of each place. Otherwise the files have no paths. The ancestors of a
category then come from Overture's table `overture_categories.csv`, if this table is given.

The schema: https://docs.overturemaps.org/schema/reference/places/place
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.errors import DataError
from labelwright.entities.geometry import Box
from labelwright.entities.importers.hierarchy import Hierarchy
from labelwright.entities.importers.places_file import (
    ImportSummary,
    places_file,
    table_of,
    without_closed,
)
from labelwright.entities.importers.points import points
from labelwright.entities.importers.published import (
    Advance,
    BoundingFields,
    PublishedFiles,
    first_elements,
    nested_field,
    without_missing,
)
from labelwright.entities.io.locations import LocationLike
from labelwright.entities.label_groups import LabelGroup, Role, default_labels

GROUP = "category"
COLUMNS = (
    "id",
    "geometry",
    "names",
    "categories",
    "taxonomy",
    "websites",
    "phones",
    "brand",
    "addresses",
    "operating_status",
)
CORNERS = BoundingFields(("bbox", "xmin"), ("bbox", "ymin"), ("bbox", "xmax"), ("bbox", "ymax"))
PERMANENTLY_CLOSED = "permanently_closed"


def import_overture(
    source: LocationLike,
    target: LocationLike,
    box: Box | None,
    categories: Path | None,
    advance: Advance,
    closed: bool = False,
) -> ImportSummary:
    """Import all places, or only the places in a box; raises DataError and StorageError.

    `categories` is Overture's table of category paths. Places that are permanently closed are left
    out unless `closed` is true.
    """
    published = PublishedFiles(source, ("id", "geometry", "names"))
    if not {"taxonomy", "categories"} & set(published.names):
        raise DataError(
            f"{source} has neither a column 'taxonomy' nor 'categories': the data must be "
            "Overture's theme `places`"
        )
    within = CORNERS.within(box) if box else None
    hierarchy = read_categories(categories) if categories else Hierarchy()
    imported = ImportSummary(groups={GROUP: LabelGroup(default_labels(GROUP), role=Role.KIND)})
    with places_file(target, imported) as write:
        if "taxonomy" in published.names:
            _learn_hierarchy(published, within, hierarchy)
        for table in published.batches(COLUMNS, within, advance):
            if not closed:
                status = nested_field(table, "operating_status")
                table = without_closed(table, _permanently_closed(status), imported)
            write(_places(table, hierarchy))
        imported.implies = {
            _label(category): tuple(map(_label, above))
            for category, above in hierarchy.implies.items()
            if _label(category) in imported.labels
        }
    return imported


def read_categories(path: Path) -> Hierarchy:
    """Read Overture's table of categories, with lines like `code; [top,middle,code]`.

    Raises DataError.
    """
    hierarchy = Hierarchy()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file, delimiter=";", skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        if len(line) < 2 or not line[1].strip().startswith("["):
            raise DataError(f"{path}: line {number} is not `code; [top,...,code]`")
        hierarchy.add([part.strip() for part in line[1].strip().strip("[]").split(",")])
    return hierarchy


def _learn_hierarchy(
    published: PublishedFiles, within: pc.Expression | None, hierarchy: Hierarchy
) -> None:
    """Add the category paths of all places; some places have categories without a path."""
    for table in published.batches(("taxonomy",), within, lambda rows, share: None):
        for path in _values(table, "taxonomy", "hierarchy"):
            hierarchy.add([code for code in path or () if code])


def _places(table: pa.Table, hierarchy: Hierarchy) -> pa.Table:
    address = first_elements(nested_field(table, "addresses"))
    where = (
        {} if address is None else {f.name: pc.struct_field(address, f.name) for f in address.type}
    )
    lon, lat = points(table["geometry"].combine_chunks())
    columns = without_missing(
        {
            "id": nested_field(table, "id"),
            "name": nested_field(table, "names", "primary"),
            "alternative_names": pa.array(_other_names(table), pa.string()),
            "address": where.get("freeform"),
            "city": where.get("locality"),
            "region": where.get("region"),
            "postcode": where.get("postcode"),
            "country": where.get("country"),
            "phone": first_elements(nested_field(table, "phones")),
            "website": first_elements(nested_field(table, "websites")),
            "lat": lat,
            "lon": lon,
            "brand": nested_field(table, "brand", "names", "primary"),
            "labels": pa.array(_labels(table, hierarchy), pa.list_(pa.string())),
        }
    )
    return table_of(columns, len(table))


def _labels(table: pa.Table, hierarchy: Hierarchy) -> Iterator[list[str] | None]:
    """The labels of each place, ancestors included; None for a place without categories."""
    paths = _values(table, "taxonomy", "hierarchy")
    primary = _values(table, "categories", "primary")
    alternates = _values(table, "taxonomy", "alternates")
    alternate = _values(table, "categories", "alternate")
    for path, main, new, old in zip(paths, primary, alternates, alternate, strict=True):
        given: Sequence[Any] = (*path, *(new or ())) if path else (main, *(old or ()))
        codes = [code for code in given if code]
        yield [_label(code) for code in hierarchy.with_ancestors(codes)] or None


def _values(table: pa.Table, *path: str) -> list[Any]:
    """The value of a nested field in each row; None in all rows if the table has no such field."""
    found = nested_field(table, *path)
    return [None] * len(table) if found is None else found.to_pylist()


def _label(category: str) -> str:
    return f"{GROUP}={category}"


def _other_names(table: pa.Table) -> Iterator[str | None]:
    """The names of each place in other languages and forms, joined by semicolons, each once."""
    for part in ("common", "rules"):
        kind = (nested_field(table, "names", part) or pa.nulls(0)).type
        named = pa.types.is_list(kind) and pa.types.is_struct(kind.value_type)
        if not pa.types.is_null(kind) and not (named and "value" in kind.value_type.names):
            raise DataError(f"column 'names' has {kind} in {part!r}; it must be a map or structs")
    columns = (_values(table, "names", part) for part in ("primary", "common", "rules"))
    for main, translations, forms in zip(*columns, strict=True):
        names = [form["value"] for form in (*(translations or ()), *(forms or ())) if form]
        yield ";".join(dict.fromkeys(name for name in names if name and name != main)) or None


def _permanently_closed(status: pa.Array | None) -> pa.Array | None:
    return None if status is None else pc.equal(status, PERMANENTLY_CLOSED)
