"""Importer of OpenStreetMap extracts: nodes, ways and areas that are places, with their centres.

OpenStreetMap's data is (c) OpenStreetMap contributors, under the Open Database License.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelwright.entities.errors import DataError
from labelwright.entities.geometry import Box, Point, WeightedPoint, centre, line_parts, ring_part
from labelwright.entities.importers.osm_mapping import OsmMapping
from labelwright.entities.importers.places_file import SCHEMA, ImportSummary, places_file, table_of
from labelwright.entities.io.files import temporary_folder
from labelwright.entities.io.locations import LocationLike, locate
from labelwright.entities.io.readers import BATCH_ROWS

if TYPE_CHECKING:
    from osmium.osm.types import Area, NodeRefList, OSMEntity, Way

Advance = Callable[[int], object]
"""Called with the number of places that were just found."""


def import_osm(
    source: LocationLike,
    target: LocationLike,
    mapping: OsmMapping,
    box: Box | None,
    advance: Advance,
) -> ImportSummary:
    """Import all places of an `.osm.pbf`, `.osm` or `.osm.bz2` file, or only the places in a box.

    Raises DataError and StorageError.
    """
    path = locate(source).local
    if path is None or not path.is_file():
        raise DataError(f"no file {source} on this machine: download the extract first")
    imported = ImportSummary()
    with places_file(target, imported) as write:
        rows: list[Mapping[str, Any]] = []

        def flush() -> None:
            columns = {name: [row.get(name) for row in rows] for name in SCHEMA.names}
            write(table_of(columns, len(rows)))
            advance(len(rows))
            rows.clear()

        for row in places(path, mapping, box):
            rows.append(row)
            if len(rows) == BATCH_ROWS:
                flush()
        if rows:
            flush()
        groups = {label.partition("=")[0] for label in imported.labels}
        imported.open_world = tuple(sorted(mapping.open_groups & groups))
    return imported


def places(path: Path, mapping: OsmMapping, box: Box | None) -> Iterator[dict[str, Any]]:
    """Read the places of a file as rows, in the order of the file; raises DataError.

    To save memory, the positions of nodes are kept in a temporary file, which needs 16 bytes a
    node.
    """
    import osmium

    keys = osmium.filter.KeyFilter(*mapping.places)
    with temporary_folder() as folder:
        found = osmium.FileProcessor(path).with_locations(f"sparse_file_array,{folder}/nodes")
        try:
            for entity in found.with_areas(keys).with_filter(keys):
                if row := _row(entity, mapping, box):
                    yield row
        except RuntimeError as error:
            raise DataError(f"{path} cannot be read: {error}") from error


def _row(entity: "OSMEntity", mapping: OsmMapping, box: Box | None) -> dict[str, Any] | None:
    """The row of an object; None if it is no place, has no position or is not in the box."""
    tags = {tag.k: tag.v for tag in entity.tags}
    if not mapping.is_place(tags):
        return None
    located = _located(entity)
    if located is None:
        return None
    name, point = located
    if point is None or (box and not box.contains(*point)):
        return None
    lon, lat = point
    labels = mapping.labels_of(tags)
    return {
        "id": name,
        "lat": lat,
        "lon": lon,
        **mapping.columns_of(tags),
        "labels": labels,
        "absent": mapping.absent_of(labels),
    }


def _located(entity: "OSMEntity") -> tuple[str, Point | None] | None:
    """The id and the centre of an object; None for objects to skip.

    osmium also yields relations and closed ways as areas. A relation is read from its area, which
    has a geometry. A closed way is read as a way, and its area is skipped.
    """
    from osmium.osm import Area, Node, Way

    if isinstance(entity, Node):
        return f"node/{entity.id}", (entity.location.lon, entity.location.lat)
    if isinstance(entity, Way):
        return f"way/{entity.id}", centre(_way_parts(entity))
    if isinstance(entity, Area) and not entity.from_way():
        return f"relation/{entity.orig_id()}", centre(_area_parts(entity))
    return None


def _way_parts(way: "Way") -> list[WeightedPoint]:
    points = _points(way.nodes)
    if way.is_closed() and len(points) > 3:
        return [ring_part(points)]
    return list(line_parts(points))


def _area_parts(area: "Area") -> Iterator[WeightedPoint]:
    for outer in area.outer_rings():
        yield ring_part(_points(outer))
        for inner in area.inner_rings(outer):
            yield ring_part(_points(inner), hole=True)


def _points(nodes: "NodeRefList") -> list[Point]:
    """The positions of the given nodes, without nodes beyond the border of an extract."""
    return [(node.lon, node.lat) for node in nodes if node.location.valid()]
