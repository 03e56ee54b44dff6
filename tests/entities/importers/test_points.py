"""Points of geometry columns in all their forms."""

import struct

import pyarrow as pa
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.importers.points import points

HAS_Z, HAS_M, HAS_SRID = 0x80000000, 0x40000000, 0x20000000


def binary(order: str, kind: int, *numbers: float, srid: int | None = None) -> bytes:
    """A geometry in well-known binary; `order` is `<` or `>`."""
    head = struct.pack(f"{order}BI", order == "<", kind)
    system = b"" if srid is None else struct.pack(f"{order}I", srid)
    return head + system + struct.pack(f"{order}{len(numbers)}d", *numbers)


POINTS = [
    binary("<", 1, 7.5, -43.5),
    binary(">", 1, 7.5, -43.5),
    binary("<", 1001, 7.5, -43.5, 3),
    binary("<", 3001, 7.5, -43.5, 3, 4),
    binary("<", 1 | HAS_Z, 7.5, -43.5, 3),
    binary("<", 1 | HAS_SRID, 7.5, -43.5, srid=4326),
    binary(">", 1 | HAS_Z | HAS_M | HAS_SRID, 7.5, -43.5, 1, 2, srid=4326),
]
OTHERS = [
    None, b"", b"x" * 21, binary("<", 3, 7.5, 43.5), binary("<", 1, float("nan"), 1.0),
    binary("<", 1, float("inf"), 1.0), binary("<", 1001, 7.5, 43.5), binary("<", 1, 7.5, 43.5)[:-1],
]  # fmt: skip
TEXTS = [
    "POINT(7.5 -43.5)", "POINT (7.5 -43.5)", "point z (7.5 -43.5 3)", "POINT ZM(+7.5 -43.5 3 4)",
    "SRID=4326;POINT(7.5 -43.5)", " POINT(75e-1 -4.35E1) ",
]  # fmt: skip
OTHER_TEXTS = [None, "", "POINT EMPTY", "POLYGON((0 0,1 1,1 0,0 0))", "POINT(a b)", "POINT(e e)"]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()], ids=str)
def test_points_in_binary(kind: pa.DataType) -> None:
    lon, lat = points(pa.array([*POINTS, *OTHERS], kind))
    assert lon.to_pylist() == [7.5] * len(POINTS) + [None] * len(OTHERS)
    assert lat.to_pylist() == [-43.5] * len(POINTS) + [None] * len(OTHERS)
    assert points(pa.array([*OTHERS, *POINTS], kind).slice(len(OTHERS)))[0].null_count == 0


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_points_in_text(kind: pa.DataType) -> None:
    lon, lat = points(pa.array([*TEXTS, *OTHER_TEXTS], pa.string()).cast(kind))
    assert lon.to_pylist() == [7.5] * len(TEXTS) + [None] * len(OTHER_TEXTS)
    assert lat.to_pylist() == [-43.5] * len(TEXTS) + [None] * len(OTHER_TEXTS)


def test_points_as_structs_and_columns_without_points() -> None:
    lon, lat = points(pa.array([{"x": 7.5, "y": -43.5}, None, {"x": float("nan"), "y": 1.0}]))
    assert (lon.to_pylist(), lat.to_pylist()) == ([7.5, None, None], [-43.5, None, None])
    for empty in (pa.array([], pa.binary()), pa.array([], pa.string()), pa.nulls(2)):
        assert [side.null_count for side in points(empty)] == [len(empty)] * 2
    with pytest.raises(DataError, match="holds int64; it must be well-known binary or text"):
        points(pa.array([1]))
