"""Points of a geometry column: well-known binary or text, or structs of coordinates.

Well-known text is also what BigQuery exports. PostGIS adds the number of the coordinate system to
well-known binary. Coordinates after longitude and latitude are ignored.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.errors import DataError

_HEAD = 5
"""The bytes of the byte order and the type of a geometry in well-known binary."""
_HAS_Z, _HAS_M, _HAS_SRID = 0x80000000, 0x40000000, 0x20000000
_TEXT = (
    r"(?i)^\s*(?:SRID=\d+;)?\s*POINT\s*(?:ZM|Z|M)?\s*\(\s*(?P<lon>[-+.0-9e]+)\s+(?P<lat>[-+.0-9e]+)"
    r"[-+.0-9e\s]*\)\s*$"
)

Coordinates = tuple[pa.Array, pa.Array]


def points(geometry: pa.Array) -> Coordinates:
    """Longitude and latitude of points; null for other geometries. Raises DataError for a column
    of another type.
    """
    kind = geometry.type
    if pa.types.is_struct(kind) and kind.get_field_index("x") >= 0 and "y" in kind.names:
        lon, lat = (pc.struct_field(geometry, side).cast(pa.float64()) for side in ("x", "y"))
        return _finite(lon, lat)
    if pa.types.is_dictionary(kind):
        return points(geometry.cast(kind.value_type))
    if pa.types.is_null(kind):
        return pa.nulls(len(geometry), pa.float64()), pa.nulls(len(geometry), pa.float64())
    if _is_text(kind):
        return _from_text(geometry.cast(pa.string()))
    try:
        return _from_binary(geometry.cast(pa.binary()))
    except pa.ArrowException as error:
        raise DataError(
            f"column 'geometry' holds {kind}; it must be well-known binary or text, or structs of "
            "x and y"
        ) from error


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _from_text(texts: pa.StringArray) -> Coordinates:
    found = pc.extract_regex(texts, _TEXT)
    sides = (pc.struct_field(found, side) for side in ("lon", "lat"))
    return _finite(*(_numbers(side) for side in sides))


def _numbers(texts: pa.StringArray) -> pa.DoubleArray:
    number = pc.match_substring_regex(texts, r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
    plain = pc.replace_substring_regex(texts, r"^\+", "")
    return pc.if_else(number, plain, pa.scalar(None, pa.string())).cast(pa.float64())


def _from_binary(geometry: pa.BinaryArray) -> Coordinates:
    """Points in well-known binary of any byte order, with or without further coordinates."""
    lon, lat = (np.full(len(geometry), np.nan) for _ in range(2))
    lengths = pc.fill_null(pc.binary_length(geometry), 0).to_numpy(zero_copy_only=False)
    for length in np.unique(lengths[lengths >= _HEAD + 16]):
        rows = np.flatnonzero(lengths == length)
        joined = b"".join(geometry.take(pa.array(rows)).to_pylist())
        content = np.frombuffer(joined, np.uint8).reshape(len(rows), int(length))
        for order, mark in (("<", 1), (">", 0)):
            inside = content[:, 0] == mark
            for at, place in _starts(content, inside, order):
                if not len(at):
                    continue
                chosen = content[at, place : place + 16]
                pairs = np.ascontiguousarray(chosen).view(f"{order}f8")
                lon[rows[at]], lat[rows[at]] = pairs[:, 0], pairs[:, 1]
    return _finite(pa.array(lon), pa.array(lat))


def _starts(
    content: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_], order: str
) -> Iterator[tuple[npt.NDArray[np.int64], int]]:
    """The rows that are points, and the offset of their coordinates."""
    kinds = np.ascontiguousarray(content[:, 1:_HEAD]).view(f"{order}u4")[:, 0]
    flags = kinds & (_HAS_Z | _HAS_M | _HAS_SRID)
    plain = kinds & ~np.uint32(_HAS_Z | _HAS_M | _HAS_SRID)
    extra = np.select([plain == 1, plain == 1001, plain == 2001, plain == 3001], [0, 1, 1, 2], -1)
    extra += ((flags & _HAS_Z) != 0).astype(np.int64) + ((flags & _HAS_M) != 0)
    for has_srid in (False, True):
        start = _HEAD + 4 * has_srid
        fits = content.shape[1] == start + 16 + 8 * extra
        point = np.isin(plain, (1, 1001, 2001, 3001)) & fits
        yield np.flatnonzero(inside & point & (((flags & _HAS_SRID) != 0) == has_srid)), start


def _finite(lon: pa.Array, lat: pa.Array) -> Coordinates:
    """The coordinates, null where one of them is not finite."""
    right = pc.and_(pc.is_finite(lon), pc.is_finite(lat))
    null = pa.scalar(None, pa.float64())
    return pc.if_else(right, lon, null), pc.if_else(right, lat, null)
