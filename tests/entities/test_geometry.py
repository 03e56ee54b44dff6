"""Bounding boxes, and centres of geometries."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.entities.errors import DataError
from labelwright.entities.geometry import Box, geometry_centre

SQUARE = [[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]
HOLE = [[1, 0.5], [1.5, 0.5], [1.5, 1.5], [1, 1.5], [1, 0.5]]


@pytest.mark.parametrize(
    ("kind", "coordinates", "expected"),
    [
        ("Point", [7.4, 43.7, 12], (7.4, 43.7)),
        ("MultiPoint", [[0, 0], [2, 4]], (1, 2)),
        ("LineString", [[0, 0], [2, 0], [2, 6]], (1.75, 2.25)),
        ("MultiLineString", [[[0, 0], [2, 0]], [[0, 4], [2, 4]]], (1, 2)),
        ("LineString", [[3, 4], [3, 4]], (3, 4)),
        ("Polygon", [SQUARE], (1, 1)),
        ("Polygon", [SQUARE[::-1]], (1, 1)),
        ("Polygon", [SQUARE, HOLE], ((4 - 0.5 * 1.25) / 3.5, 1)),
        ("Polygon", [[[0, 0], [2, 0], [0, 0]]], (1, 0)),
        ("MultiPolygon", [[SQUARE], [[[x + 10, y] for x, y in SQUARE]]], (6, 1)),
    ],
)
def test_the_centre_is_weighted_by_length_or_area(
    kind: str, coordinates: Any, expected: tuple[float, float]
) -> None:
    assert geometry_centre({"type": kind, "coordinates": coordinates}) == pytest.approx(expected)


def test_the_centre_of_a_collection_is_weighted_by_area() -> None:
    parts = [{"type": "Polygon", "coordinates": [SQUARE]}, {"type": "Point", "coordinates": [9, 9]}]
    found = geometry_centre({"type": "GeometryCollection", "geometries": parts})
    assert found == pytest.approx((1, 1))  # the point has weight 0


@pytest.mark.parametrize(
    "geometry",
    [
        None,
        {},
        7,
        {"type": "Point"},
        {"type": "Point", "coordinates": []},
        {"type": "Circle", "coordinates": [0, 0]},
        {"type": "Point", "coordinates": ["a", "b"]},
        {"type": "Polygon", "coordinates": [[]]},
        {"type": "Point", "coordinates": [float("inf"), 0]},
    ],
)
def test_an_invalid_or_empty_geometry_has_no_centre(geometry: Any) -> None:
    assert geometry_centre(geometry) is None


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=3, max_size=8),
    st.floats(-170, 170),
    st.floats(-80, 80),
)
@settings(deadline=None)
def test_moving_a_geometry_moves_its_centre(
    points: list[tuple[float, float]], dx: float, dy: float
) -> None:
    points = [(round(x, 3), round(y, 3)) for x, y in points]
    moved = [(x + dx, y + dy) for x, y in points]
    line = geometry_centre({"type": "LineString", "coordinates": points})
    there = geometry_centre({"type": "LineString", "coordinates": moved})
    assert line is not None
    assert there == pytest.approx((line[0] + dx, line[1] + dy), abs=1e-6)


def test_a_box_can_cross_the_date_line() -> None:
    pacific = Box.parse("170,-20,-170,0")
    assert pacific.contains(175, -10)
    assert pacific.contains(-175, -10)
    assert not pacific.contains(0, -10)
    assert not pacific.contains(175, 10)
    monaco = Box.parse("7.40,43.72,7.45,43.76")
    assert monaco.contains(7.42, 43.73)
    assert not monaco.contains(7.5, 43.73)


@pytest.mark.parametrize("text", ["", "1,2,3", "a,b,c,d", "0,5,1,4", "0,-91,1,0", "-181,0,1,1"])
def test_an_invalid_box_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="a box must be"):
        Box.parse(text)
