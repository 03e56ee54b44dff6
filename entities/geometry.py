"""Bounding boxes, and the centres of points, lines and polygons.

A point is (longitude, latitude) in degrees. All calculations treat degrees as coordinates in a
plane, which is accurate enough for shapes up to the size of a town.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

from labelwright.entities.errors import DataError

Point = tuple[float, float]


class WeightedPoint(NamedTuple):
    """The centre of a part of a shape; the weight is the length or area of the part."""

    weight: float
    lon: float
    lat: float


@dataclasses.dataclass(frozen=True)
class Box:
    """A bounding box in degrees; `west` is greater than `east` if it crosses the date line."""

    west: float
    south: float
    east: float
    north: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `W,S,E,N`, four numbers of degrees; raises DataError."""
        try:
            west, south, east, north = (float(part) for part in text.split(","))
        except ValueError:
            raise DataError("a box must be four numbers: west,south,east,north") from None
        if not (-90 <= south <= north <= 90 and max(abs(west), abs(east)) <= 180):
            raise DataError(
                "a box must be west,south,east,north in degrees: longitudes from -180 to 180, "
                "latitudes from -90 to 90, south not above north"
            )
        return cls(west, south, east, north)

    @property
    def crosses_date_line(self) -> bool:
        """Whether the box crosses the date line."""
        return self.west > self.east

    def contains(self, lon: float, lat: float) -> bool:
        """Whether a point is inside the box or on its edge."""
        sides = lon >= self.west, lon <= self.east
        between = any(sides) if self.crosses_date_line else all(sides)
        return self.south <= lat <= self.north and between


def centre(parts: Iterable[WeightedPoint]) -> Point | None:
    """The weighted mean of the finite points; None if there is none.

    If the weights do not have a positive sum, all points get the same weight.
    """
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
    """The middle of each segment of a line, weighted by the segment's length.

    A line of one point gives this point with weight 0.
    """
    if len(points) == 1:
        yield WeightedPoint(0.0, *points[0])
    for (x, y), (u, v) in itertools.pairwise(points):
        yield WeightedPoint(math.hypot(u - x, v - y), (x + u) / 2, (y + v) / 2)


def ring_part(points: Sequence[Point], hole: bool = False) -> WeightedPoint:
    """The centroid of the area that a closed ring encloses, weighted by the area.

    The weight of a hole is negative. A ring without area gives the centre of its outline with
    weight 0.
    """
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
    """The centre of a GeoJSON geometry; None if the geometry is empty or not valid."""
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
    """Longitude and latitude of a GeoJSON position, without its optional altitude."""
    return float(position[0]), float(position[1])
