"""Small files with the published schemas of Overture's and Foursquare's places."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

text, texts = pa.string(), pa.list_(pa.string())


def _struct(**fields: pa.DataType) -> pa.StructType:
    return pa.struct([pa.field(name, kind) for name, kind in fields.items()])


_NAMES = _struct(
    primary=text,
    common=pa.map_(text, text),
    rules=pa.list_(
        _struct(
            variant=text,
            language=text,
            perspectives=_struct(mode=text, countries=texts),
            value=text,
            between=pa.list_(pa.float64()),
            side=text,
        )
    ),
)
_BOX = _struct(xmin=pa.float32(), xmax=pa.float32(), ymin=pa.float32(), ymax=pa.float32())
_SOURCE = _struct(
    property=text, dataset=text, license=text, record_id=text, update_time=text,
    confidence=pa.float64(), between=pa.list_(pa.float64()),
)  # fmt: skip
OVERTURE = pa.schema(
    {
        "id": text,
        "geometry": pa.binary(),
        "bbox": _BOX,
        "version": pa.int32(),
        "sources": pa.list_(_SOURCE),
        "names": _NAMES,
        "categories": _struct(primary=text, alternate=texts),
        "basic_category": text,
        "taxonomy": _struct(primary=text, hierarchy=texts, alternates=texts),
        "confidence": pa.float64(),
        "websites": texts,
        "socials": texts,
        "emails": texts,
        "phones": texts,
        "brand": _struct(wikidata=text, names=_NAMES),
        "addresses": pa.list_(
            _struct(freeform=text, locality=text, postcode=text, region=text, country=text)
        ),
        "operating_status": text,
    }
)
"""The schema of Overture's theme `places`, in the releases that have a taxonomy."""
FOURSQUARE = pa.schema(
    {
        "fsq_place_id": text,
        "name": text,
        "latitude": pa.float64(),
        "longitude": pa.float64(),
        **dict.fromkeys(("address", "locality", "region", "postcode", "admin_region"), text),
        **dict.fromkeys(("post_town", "po_box", "country", "date_created"), text),
        **dict.fromkeys(("date_refreshed", "date_closed", "tel", "website", "email"), text),
        "facebook_id": pa.int64(),
        **dict.fromkeys(("instagram", "twitter"), text),
        "fsq_category_ids": texts,
        "fsq_category_labels": texts,
        "placemaker_url": text,
        "unresolved_flags": texts,
        "geom": pa.binary(),
        "bbox": _struct(xmin=pa.float64(), ymin=pa.float64(), xmax=pa.float64(), ymax=pa.float64()),
    }
)
"""The schema of Foursquare's Open Source Places."""


def point(lon: float, lat: float) -> bytes:
    """A point in well-known binary."""
    return struct.pack("<BIdd", 1, 1, lon, lat)


def overture_place(number: int, lon: float, lat: float, **more: Any) -> dict[str, Any]:
    """A place as in Overture's files; its bounding box is rounded outwards to float32."""
    low, high = np.float32(-np.inf), np.float32(np.inf)
    west, south = (np.nextafter(np.float32(value), low) for value in (lon, lat))
    east, north = (np.nextafter(np.float32(value), high) for value in (lon, lat))
    return {
        "id": f"place-{number}",
        "geometry": point(lon, lat),
        "bbox": {"xmin": west, "xmax": east, "ymin": south, "ymax": north},
        "names": {"primary": f"Place {number}", "common": None, "rules": None},
        "version": 1,
        **more,
    }


def write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema, group: int = 1_000) -> Path:
    """Write rows with a published schema; each row group has `group` rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=group)
    return path


def spoil(path: Path, group: int) -> None:
    """Overwrite the data of a row group; reading this row group then fails."""
    columns = pq.read_metadata(path).row_group(group).to_dict()["columns"]
    starts = [c["dictionary_page_offset"] or c["data_page_offset"] for c in columns]
    content = bytearray(path.read_bytes())
    for start, column in zip(starts, columns, strict=True):
        size = column["total_compressed_size"]
        content[start : start + size] = b"\xff" * size
    path.write_bytes(content)
