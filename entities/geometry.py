"""Where things lie: boxes of degrees, and the centre of a shape.

Shapes are as in GeoJSON: points are (longitude, latitude) in degrees, and are treated as points of
a plane, which is good enough for what fits into a town.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

from labelwright.entities.errors import DataError

Point = tuple[float, float]


class WeightedPoint(NamedTuple):
    """A part of a shape: how much it counts, and its centre."""

    weight: float
    lon: float
    lat: float


@dataclasses.dataclass(frozen=True)
class Box:
    """A part of the world in degrees; west of `west` lies `east` where it crosses the date line."""

    west: float
    south: float
    east: float
    north: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of `W,S,E,N`; raises DataError."""
        try:
            west, south, east, north = (float(part) for part in text.split(","))
        except ValueError:
            raise DataError("a box is four numbers: west,south,east,north") from None
        if not (-90 <= south <= north <= 90 and max(abs(west), abs(east)) <= 180):
            raise DataError("a box is west,south,east,north in degrees, south below north")
        return cls(west, south, east, north)

    @property
    def crosses(self) -> bool:
        """Whether it lies on both sides of the date line."""
        return self.west > self.east

    def contains(self, lon: float, lat: float) -> bool:
        """Whether a point lies in it."""
        beyond = lon >= self.west, lon <= self.east
        return self.south <= lat <= self.north and (any(beyond) if self.crosses else all(beyond))


def centre(parts: Iterable[WeightedPoint]) -> Point | None:
    """The mean of some parts by weight; None where there is none."""
    given = [part for part in parts if math.isfinite(part.lon) and math.isfinite(part.lat)]
    if not given:
        return None
    total = sum(part.weight for part in given)
    if total <= 0:  # a shape without extent
        given, total = [part._replace(weight=1.0) for part in given], len(given)
    lon = sum(part.weight * part.lon for part in given) / total
    lat = sum(part.weight * part.lat for part in given) / total
    return lon, lat


def line_parts(points: Sequence[Point]) -> Iterator[WeightedPoint]:
    """The segments of a line, by length."""
    if len(points) == 1:
        yield WeightedPoint(0.0, *points[0])
    for (x, y), (u, v) in itertools.pairwise(points):
        yield WeightedPoint(math.hypot(u - x, v - y), (x + u) / 2, (y + v) / 2)


def ring_part(points: Sequence[Point], hole: bool = False) -> WeightedPoint:
    """What a closed ring encloses, by area: its centroid; a hole counts against it."""
    (x0, y0), twice, lon, lat = points[0], 0.0, 0.0, 0.0
    for (x, y), (u, v) in itertools.pairwise((x - x0, y - y0) for x, y in (*points, points[0])):
        cross = x * v - u * y
        twice += cross
        lon += (x + u) * cross
        lat += (y + v) * cross
    if not twice:
        found = centre(line_parts(points)) or points[0]
        return WeightedPoint(0.0, *found)
    area = abs(twice) / 2
    return WeightedPoint(-area if hole else area, x0 + lon / (3 * twice), y0 + lat / (3 * twice))


def geometry_centre(geometry: Any) -> Point | None:
    """The centre of a GeoJSON geometry; None where it has none that can be told."""
    try:
        return centre(_parts(geometry))
    except (KeyError, TypeError, ValueError, IndexError):
        return None


def _parts(geometry: Mapping[str, Any]) -> Iterator[WeightedPoint]:
    kind = geometry["type"]
    if kind == "GeometryCollection":
        for part in geometry["geometries"]:
            yield from _parts(part)
        return
    shapes = geometry["coordinates"]
    for shape in shapes if kind.startswith("Multi") else [shapes]:
        if kind.endswith("Point"):
            yield WeightedPoint(0.0, *_point(shape))
        elif kind.endswith("LineString"):
            yield from line_parts([_point(point) for point in shape])
        elif kind.endswith("Polygon"):
            for n, ring in enumerate(shape):
                yield ring_part([_point(point) for point in ring], hole=n > 0)


def _point(position: Sequence[Any]) -> Point:
    """Longitude and latitude of a position, which may have a height as well."""
    return float(position[0]), float(position[1])
