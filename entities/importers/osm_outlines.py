"""Outlines of ways and areas: the positions of the nodes of those ways that places need.

The ways and nodes are read in separate passes, so their order in the file does not matter. Nothing
is written to the disk.
"""

import array
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from labelwright.entities.geometry import Point, WeightedPoint, centre, line_parts, ring_part

if TYPE_CHECKING:
    from osmium.osm import osm_entity_bits
    from osmium.osm.types import OSMEntity, Relation, Way

AREAS = ("multipolygon", "boundary")
"""The types of relations that are areas."""
TABLE_LIMIT = 1 << 30
"""The size of a file, in bytes, up to which the positions of all its nodes are kept in memory at
first: about 16 bytes for each node. For a larger file, only the needed nodes are kept. To find
them, osmium needs up to 1.5 GB for a set of ids, whatever the size of the file."""
_ONE_WAY = b"w1 v1 dV Nn1,n2\n"
"""A file with one way."""


class Outlines:
    """The outlines of the ways and areas that `wanted` selects, read from a file.

    `found` yields the ways and relations that may be wanted. Raises RuntimeError as osmium does.
    """

    def __init__(
        self, path: Path, found: Iterable["OSMEntity"], wanted: Callable[["OSMEntity"], bool]
    ) -> None:
        from osmium.osm import Relation, Way

        self._members: dict[int, Sequence[int]] = {}
        members: set[int] = set()
        needed = array.array("q")
        for entity in found:
            if not wanted(entity):
                continue
            if isinstance(entity, Way):
                needed.extend(node.ref for node in entity.nodes if not node.location.valid())
            elif isinstance(entity, Relation) and is_area(entity):
                members.update(_ways_of(entity))
        located: dict[int, Point] = {}
        for way in _ways(path, members):
            nodes = array.array("q", (node.ref for node in way.nodes))
            self._members[way.id] = nodes
            located.update(
                (node.ref, (node.lon, node.lat)) for node in way.nodes if node.location.valid()
            )
            needed.extend(nodes)
        self._ids = np.unique(np.array(needed, np.int64))
        self._points: npt.NDArray[np.float64] = np.full((len(self._ids), 2), np.nan)
        for ref, point in located.items():
            self._points[np.searchsorted(self._ids, ref)] = point
        for ref, point in _positions(path, self._ids.tolist()):
            self._points[np.searchsorted(self._ids, ref)] = point

    def centre_of_way(self, way: "Way") -> Point | None:
        """The centre of a way by its nodes with a position; None if there is none.

        At the border of an extract, some nodes of a way may be missing.
        """
        nodes = way.nodes
        if any(node.location.valid() for node in nodes):  # the file has locations on ways
            points = [(node.lon, node.lat) for node in nodes if node.location.valid()]
        else:
            points = self._positions([node.ref for node in nodes])
        if way.is_closed() and len(points) > 3:
            return centre([ring_part(points)])
        return centre(line_parts(points))

    def centre_of_area(self, relation: "Relation") -> Point | None:
        """The centre of an area; None if a part of its outline is missing."""
        parts: list[WeightedPoint] = []
        for hole in (False, True):
            ways = [self._members.get(way) for way in _ways_of(relation, hole)]
            rings = _rings([list(way) for way in ways if way])
            if rings is None or not all(ways):
                return None
            for ring in rings:
                points = self._positions(ring)
                if len(points) < len(ring):
                    return None
                parts.append(ring_part(points, hole))
        return centre(parts)

    def _positions(self, refs: Sequence[int]) -> list[Point]:
        """The positions of nodes, without the nodes that have none."""
        if not len(self._ids):
            return []
        at = np.minimum(np.searchsorted(self._ids, refs), len(self._ids) - 1)
        known = self._ids[at] == refs
        points = self._points[at[known]]
        return [(lon, lat) for lon, lat in points[~np.isnan(points[:, 0])].tolist()]


def is_area(relation: "Relation") -> bool:
    """Whether a relation is an area."""
    return relation.tags.get("type") in AREAS


def _ways_of(relation: "Relation", hole: bool | None = None) -> list[int]:
    """The ids of the ways of an area: of all, or only of those that enclose holes, or do not."""
    return [
        member.ref
        for member in relation.members
        if member.type == "w" and hole in (None, member.role == "inner")
    ]


def _ways(path: Path, ids: set[int]) -> Iterator["Way"]:
    from osmium.osm import WAY, Way

    return (way for way in _with_ids(path, WAY, ids) if isinstance(way, Way))


def _positions(path: Path, ids: Sequence[int]) -> Iterator[tuple[int, Point]]:
    """The ids and positions of nodes; nodes without a position are left out."""
    import osmium
    from osmium.osm import NODE, WAY, Node

    if not ids:
        return
    if ids[0] < 0 or path.stat().st_size > TABLE_LIMIT:
        for node in _with_ids(path, NODE, set(ids)):
            if isinstance(node, Node) and node.location.valid():
                yield node.id, (node.location.lon, node.location.lat)
        return
    table = osmium.index.create_map("sparse_mem_array")
    handler = osmium.NodeLocationsForWays(table)
    handler.ignore_errors()
    with osmium.io.Reader(path, NODE) as nodes:
        osmium.apply(nodes, handler)
    way = osmium.io.FileBuffer(_ONE_WAY, "opl")
    with osmium.io.Reader(way, WAY) as ways:
        osmium.apply(ways, handler)  # sorts the table if the nodes are not sorted
    for ref in ids:
        with contextlib.suppress(KeyError):
            if (location := table.get(ref)).valid():
                yield ref, (location.lon, location.lat)


def _with_ids(path: Path, kind: "osm_entity_bits", ids: set[int]) -> Iterator["OSMEntity"]:
    """The objects of a kind with the given ids; osmium's filter has no negative ids."""
    import osmium

    if not ids:
        return
    objects = osmium.FileProcessor(path, kind)
    if min(ids) >= 0:
        yield from objects.with_filter(osmium.filter.IdFilter(ids))
    else:
        yield from (found for found in objects if found.id in ids)


def _rings(lines: list[list[int]]) -> list[list[int]] | None:
    """Join lines of nodes at their ends to closed rings; None if a line stays open."""
    rings = []
    while lines:
        ring = lines.pop()
        while ring[0] != ring[-1]:
            end = ring[-1]
            found = next((n for n, line in enumerate(lines) if end in (line[0], line[-1])), None)
            if found is None:
                return None
            line = lines.pop(found)
            ring += line[1:] if line[0] == end else line[-2::-1]
        rings.append(ring)
    return rings
