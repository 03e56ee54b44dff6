"""Importer of OpenStreetMap extracts: nodes, ways and areas that are places, with their centres.

OpenStreetMap's data is (c) OpenStreetMap contributors, under the Open Database License.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelwright.entities.errors import DataError
from labelwright.entities.geometry import Box, Point
from labelwright.entities.importers.osm_files import (
    check_versions,
    deleted_objects,
    several_versions,
)
from labelwright.entities.importers.osm_mapping import OsmMapping, Tags
from labelwright.entities.importers.osm_outlines import Outlines, is_area
from labelwright.entities.importers.places_file import (
    CLOSED,
    SCHEMA,
    ImportSummary,
    places_file,
    table_of,
)
from labelwright.entities.io.locations import LocationLike, locate
from labelwright.entities.io.readers import BATCH_ROWS

if TYPE_CHECKING:
    from osmium.osm.types import OSMEntity

Advance = Callable[[int], object]
"""Called with the number of places that were just found."""


DELETED = "deleted"
UNPLACED = "without a position"
INCOMPLETE = "area with an incomplete outline"
NO_AREA = "relation that is no area"


def import_osm(
    source: LocationLike,
    target: LocationLike,
    mapping: OsmMapping,
    box: Box | None,
    advance: Advance,
    closed: bool = False,
) -> ImportSummary:
    """Import all places of an `.osm.pbf`, `.osm` or `.osm.bz2` file, or only the places in a box.

    Closed places are left out unless `closed` is true. Raises DataError and StorageError.
    """
    path = locate(source).local
    if path is None or not path.is_file():
        raise DataError(f"no file {source} on this machine: download the extract first")
    imported = ImportSummary()
    extract = Extract(path, mapping, box, closed, imported.left_out)
    with places_file(target, imported) as write:
        rows: list[Mapping[str, Any]] = []

        def flush() -> None:
            columns = {name: [row.get(name) for row in rows] for name in SCHEMA.names}
            write(table_of(columns, len(rows)))
            advance(len(rows))
            rows.clear()

        for row in extract.places():
            rows.append(row)
            if len(rows) == BATCH_ROWS:
                flush()
        if rows:
            flush()
        groups = {label.partition("=")[0] for label in imported.labels}
        imported.open_world = tuple(sorted(mapping.open_groups & groups))
        imported.groups = mapping.groups
    return imported


@dataclasses.dataclass(frozen=True)
class Extract:
    """A file of OpenStreetMap with places.

    `left_out` counts the places that are left out, by reason. Places outside the box are not
    counted.
    """

    path: Path
    mapping: OsmMapping
    box: Box | None
    closed: bool
    left_out: Counter[str]

    def places(self) -> Iterator[dict[str, Any]]:
        """Read the places as rows, in the order of the file; raises DataError."""
        import osmium

        shapes = osmium.osm.WAY | osmium.osm.RELATION
        objects = osmium.osm.NODE | shapes  # a file may have changesets, too
        keys = osmium.filter.KeyFilter(*self.mapping.place_keys)
        last = None
        try:
            check_versions(self.path)
            deleted = deleted_objects(self.path)
            found = osmium.FileProcessor(self.path, shapes).with_filter(keys)
            outlines = Outlines(self.path, found, lambda entity: self._tags(entity) is not None)
            for entity in osmium.FileProcessor(self.path, objects).with_filter(keys):
                name = (_KINDS[entity.type_str()], entity.id)
                if name == last:
                    raise several_versions(self.path)
                last = name
                if tags := self._tags(entity):
                    if name in deleted or getattr(entity, "deleted", False):
                        self.left_out[DELETED] += 1
                    elif row := self._row(entity, tags, outlines):
                        yield row
        except RuntimeError as error:
            raise DataError(f"{self.path} cannot be read: {error}") from error

    def _tags(self, entity: "OSMEntity") -> Tags | None:
        """The tags of a place, without the prefixes of a closed place; None if it is no place."""
        tags = {tag.k: tag.v for tag in entity.tags}
        if self.mapping.is_place(tags):
            return tags
        return self.mapping.closed_tags(tags)

    def _row(self, entity: "OSMEntity", tags: Tags, outlines: Outlines) -> dict[str, Any] | None:
        """The row of a place; None if it is left out or is not in the box."""
        point, missing = _centre(entity, outlines)
        if point and self.box and not self.box.contains(*point):
            return None
        if not self.closed and self.mapping.closed_tags({tag.k: tag.v for tag in entity.tags}):
            missing = CLOSED
        elif point is not None:
            return self._place(entity, tags, point)
        self.left_out[missing] += 1
        return None

    def _place(self, entity: "OSMEntity", tags: Tags, point: Point) -> dict[str, Any]:
        lon, lat = point
        labels = self.mapping.labels_of(tags)
        return {
            "id": f"{_KINDS[entity.type_str()]}/{entity.id}",
            "lat": lat,
            "lon": lon,
            **self.mapping.columns_of(tags),
            "labels": labels,
            "absent": self.mapping.absent_of(labels),
        }


def _centre(entity: "OSMEntity", outlines: Outlines) -> tuple[Point | None, str]:
    """The centre of an object; if there is none, the text is the reason."""
    from osmium.osm import Node, Relation, Way

    if isinstance(entity, Node):
        where = entity.location
        return ((where.lon, where.lat) if where.valid() else None), UNPLACED
    if isinstance(entity, Way):
        return outlines.centre_of_way(entity), UNPLACED
    if isinstance(entity, Relation) and is_area(entity):
        return outlines.centre_of_area(entity), INCOMPLETE
    return None, NO_AREA


_KINDS = {"n": "node", "w": "way", "r": "relation"}
