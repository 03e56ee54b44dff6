"""Importer of OpenStreetMap extracts: a small synthetic file, and a real extract."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import osmium
import pyarrow.parquet as pq
import pytest
from osmium.osm.mutable import Node, Relation, Way

from labelwright.entities.errors import DataError
from labelwright.entities.geometry import Box
from labelwright.entities.importers.osm import import_osm
from labelwright.entities.importers.osm_mapping import load_mapping
from labelwright.entities.importers.places_file import SCHEMA, ImportSummary
from labelwright.entities.io.schema_metadata import embedded_schema
from labelwright.entities.label_groups import LabelGroup, Role

EXTRACTS = Path(os.environ.get("LABELWRIGHT_DATA", "../shared/data")).resolve() / "osm/extracts"
CORNERS = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0), (0.5, 0.5), (1.5, 0.5), (1.5, 1.5)]
CAFE = {"name": "Café", "amenity": "cafe", "cuisine": "cake;coffee_shop", "wheelchair": "yes"}


@pytest.fixture
def extract(tmp_path: Path) -> Path:
    """A café, a shop that is a way, a park that is a relation, and objects that are not places."""
    path = tmp_path / "small.osm.pbf"
    with osmium.SimpleWriter(path) as writer:
        for number, point in enumerate(CORNERS, 1):
            writer.add_node(Node(id=number, location=point))
        writer.add_node(Node(id=20, location=(7.0, 50.0), tags=CAFE))
        writer.add_node(Node(id=21, location=(7.0, 50.0), tags={"name": "no place"}))
        writer.add_node(Node(id=22, location=(7.0, 50.0), tags={"amenity": "bench"}))
        square = {"name": "Square", "shop": "mall"}
        writer.add_way(Way(id=30, nodes=[1, 2, 3, 4, 1], tags=square))
        writer.add_way(Way(id=31, nodes=[5, 6, 7, 5]))
        writer.add_way(Way(id=32, nodes=[1, 2], tags={"name": "Line", "tourism": "attraction"}))
        cut = {"name": "Cut off", "tourism": "attraction"}
        writer.add_way(Way(id=33, nodes=[98, 99], tags=cut))
        writer.add_way(Way(id=34, nodes=[1, 99], tags={**cut, "name": "Half there"}))
        members = [("w", 30, "outer"), ("w", 31, "inner")]
        park = {"type": "multipolygon", "name": "Park", "leisure": "park"}
        writer.add_relation(Relation(id=40, members=members, tags=park))
        route = {"type": "site", "name": "Site", "tourism": "attraction"}
        writer.add_relation(Relation(id=41, members=[("n", 20, "")], tags=route))
    return path


def imported(source: Path, target: Path, box: Box | None = None) -> tuple[ImportSummary, list[Any]]:
    advances: list[int] = []
    found = import_osm(source, target, load_mapping(None), box, advances.append)
    rows = pq.read_table(target).to_pylist()
    assert sum(advances) == len(rows) == found.places == found.labelled
    return found, rows


def test_nodes_ways_and_areas_are_imported_once_with_their_centres(
    extract: Path, tmp_path: Path
) -> None:
    found, rows = imported(extract, tmp_path / "out.parquet")
    assert {row["id"]: (row["lon"], row["lat"]) for row in rows} == {
        "node/20": (7.0, 50.0),
        "way/30": pytest.approx((1, 1)),
        "way/32": pytest.approx((1, 0)),
        "way/34": pytest.approx((0, 0)),
        "relation/40": pytest.approx(((4 - 0.5 * 7 / 6) / 3.5, (4 - 0.5 * 5 / 6) / 3.5)),
    }
    (cafe,) = (row for row in rows if row["id"] == "node/20")
    assert cafe["name"] == "Café"
    assert cafe["labels"] == [
        "amenity=cafe", "cuisine=cake", "cuisine=coffee_shop", "wheelchair=yes",
    ]  # fmt: skip
    assert pq.read_schema(tmp_path / "out.parquet").equals(SCHEMA)
    assert "takeaway" not in cafe["absent"]
    assert all("takeaway" in row["absent"] for row in rows if row is not cafe)
    assert all("wheelchair" not in row["absent"] for row in rows)
    assert found.open_world == ("wheelchair",)
    schema = embedded_schema([tmp_path / "out.parquet"])
    assert schema is not None
    assert (schema.name, schema.open_world) == ("places", ("wheelchair",))
    assert schema.groups["amenity"] == LabelGroup(("amenity=*",), True, Role.KIND)
    assert schema.groups["wheelchair"] == LabelGroup(("wheelchair=*",), role=Role.ATTRIBUTE)
    assert "takeaway" not in schema.groups  # no place has such a label


def test_only_places_in_the_box_are_imported(extract: Path, tmp_path: Path) -> None:
    _, rows = imported(extract, tmp_path / "out.parquet", Box(6, 49, 8, 51))
    assert [row["id"] for row in rows] == ["node/20"]
    empty, _ = imported(extract, tmp_path / "out.parquet", Box(-10, -10, -9, -9))
    assert empty.schema.open_world == ()


def test_a_file_that_is_not_an_extract_is_refused_and_the_output_is_unchanged(
    extract: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.parquet"
    target.write_text("before")
    broken = tmp_path / "broken.osm.pbf"
    broken.write_bytes(extract.read_bytes()[:-50])
    other = tmp_path / "rows.csv"
    other.write_text("name\nx\n")
    for source in (broken, other):
        with pytest.raises(DataError, match="cannot be read"):
            imported(source, target)
    for source in (tmp_path / "missing.osm.pbf", tmp_path):
        with pytest.raises(DataError, match="no file"):
            imported(source, target)
    with pytest.raises(DataError, match=r"end its name in \.parquet"):
        imported(extract, tmp_path / "out.csv")
    assert target.read_text() == "before"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(
    not EXTRACTS.exists(), reason=f"no real extracts at {EXTRACTS}: set LABELWRIGHT_DATA"
)
def test_places_of_a_real_extract_are_imported(tmp_path: Path) -> None:
    found, rows = imported(EXTRACTS / "monaco.osm.pbf", tmp_path / "monaco.parquet")
    assert found.places == 499
    kinds = Counter(row["id"].partition("/")[0] for row in rows)
    assert kinds == {"node": 423, "way": 70, "relation": 6}
    assert len({row["id"] for row in rows}) == len(rows)
    assert all(7.3 < row["lon"] < 7.5 and 43.6 < row["lat"] < 43.9 for row in rows)
    (port,) = (row for row in rows if row["name"] == "Port Hercule de Monaco")
    assert port["labels"] == ["leisure=marina"]
    assert (port["lon"], port["lat"]) == pytest.approx((7.426, 43.735), abs=1e-3)
