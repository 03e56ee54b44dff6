"""Importer of Foursquare's places: small files with the published schema."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.geometry import Box
from labelwright.entities.importers.foursquare import import_foursquare
from labelwright.entities.importers.places_file import ImportSummary
from labelwright.entities.io.schema_metadata import embedded_schema
from labelwright.entities.label_groups import LabelGroup, Role
from tests.entities.importers.published import FOURSQUARE, point, spoil, write

FOOD = "Dining and Drinking"


def place(number: int, lon: float | None, lat: float | None, *labels: str) -> dict[str, Any]:
    return {
        "fsq_place_id": f"{number:024x}",
        "name": f"Place {number}",
        "latitude": lat,
        "longitude": lon,
        "fsq_category_labels": list(labels) or None,
        "geom": None if lon is None or lat is None else point(lon, lat),
    }


FULL = place(1, 7.42, 43.73, f"{FOOD} > Restaurant > Pizzeria", f"{FOOD} > Bar") | {
    "address": "7 Carmine St", "locality": "New York", "region": "NY", "postcode": "10014",
    "country": "US", "tel": "(212) 366-1182", "website": "http://joespizza.example",
    "email": "joe@joespizza.example", "facebook_id": 12, "fsq_category_ids": ["a", "b"],
}  # fmt: skip


def imported(
    source: Path, target: Path, box: Box | None = None
) -> tuple[ImportSummary, list[dict[str, Any]]]:
    found = import_foursquare(source, target, box, lambda rows, share: None)
    return found, pq.read_table(target).to_pylist()


def test_closed_places_are_left_out_unless_they_are_wanted(tmp_path: Path) -> None:
    rows = [place(1, 7, 43), place(2, 7, 43) | {"date_closed": "2024-05-01"}]
    source = write(tmp_path / "a.parquet", rows, FOURSQUARE)
    found, kept = imported(source, tmp_path / "out.parquet")
    assert [row["name"] for row in kept] == ["Place 1"]
    assert dict(found.left_out) == {"closed": 1}
    target = tmp_path / "all.parquet"
    everything = import_foursquare(source, target, None, lambda rows, share: None, closed=True)
    assert (everything.places, dict(everything.left_out)) == (2, {})


def test_a_place_becomes_a_row_with_its_paths_as_labels(tmp_path: Path) -> None:
    source = tmp_path / "dt=2025-04-08" / "places-00000.snappy.parquet"
    write(source, [FULL, place(2, None, None)], FOURSQUARE)
    found, (joe, without_position) = imported(tmp_path, tmp_path / "out.parquet")
    assert joe.pop("labels") == [
        f"category={FOOD}", f"category={FOOD} > Restaurant",
        f"category={FOOD} > Restaurant > Pizzeria", f"category={FOOD} > Bar",
    ]  # fmt: skip
    assert {name: value for name, value in joe.items() if value is not None} == {
        "id": f"{1:024x}", "name": "Place 1", "address": "7 Carmine St", "city": "New York",
        "region": "NY", "postcode": "10014", "country": "US", "phone": "(212) 366-1182",
        "website": "http://joespizza.example", "lat": 43.73, "lon": 7.42,
    }  # fmt: skip
    assert without_position["labels"] is without_position["lat"] is None
    assert (found.places, found.labelled) == (2, 1)
    schema = embedded_schema([tmp_path / "out.parquet"])
    assert schema is not None
    assert schema.implies == found.implies
    assert schema.groups == {"category": LabelGroup(("category=*",), role=Role.KIND)}
    assert found.implies[f"category={FOOD} > Restaurant > Pizzeria"] == (
        f"category={FOOD}", f"category={FOOD} > Restaurant",
    )  # fmt: skip
    assert f"category={FOOD}" not in found.implies


def test_row_groups_outside_the_box_are_not_read(tmp_path: Path) -> None:
    rows = [place(n, lon, 43.73) for n, lon in enumerate([7.42, 7.43, 100, 101, 7.44])]
    source = write(tmp_path / "places.parquet", [*rows, place(9, None, None)], FOURSQUARE, group=2)
    spoil(source, 1)
    _, found = imported(source, tmp_path / "out.parquet", Box(7.4, 43.7, 7.5, 43.8))
    assert [row["name"] for row in found] == ["Place 0", "Place 1", "Place 4"]
    with pytest.raises(DataError, match="cannot be read"):
        imported(source, tmp_path / "out.parquet")


def test_files_of_another_data_set_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"id": ["a"], "name": ["x"]}), other)
    with pytest.raises(DataError, match="no column 'fsq_place_id'"):
        imported(other, tmp_path / "out.parquet")
