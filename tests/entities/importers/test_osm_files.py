"""OpenStreetMap files of editors and other programs: every place is placed or counted."""

import bz2
import gzip
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.importers import osm_outlines
from labelwright.entities.importers.osm import import_osm
from labelwright.entities.importers.osm_mapping import load_mapping
from tests.processes import spawn

CAFE = "<tag k='name' v='Bar'/><tag k='amenity' v='cafe'/>"
WAY = "<nd ref='{0}1'/><nd ref='{0}2'/><nd ref='{0}3'/><nd ref='{0}1'/>"
CORNERS = (
    "<node id='{0}1' version='1' lat='0' lon='0'/><node id='{0}2' version='1' lat='0' lon='3'/>"
    "<node id='{0}3' version='1' lat='3' lon='0'/>"
)


def osm(*objects: str) -> str:
    return f"<osm version='0.6' generator='JOSM'>{''.join(objects)}</osm>"


def node(number: int, more: str = "lat='1' lon='2'", tags: str = CAFE) -> str:
    return f"<node id='{number}' version='1' {more}>{tags}</node>"


def way(number: int, sign: str = "", more: str = "", tags: str = CAFE) -> str:
    return f"<way id='{number}' version='1' {more}>{WAY.format(sign)}{tags}</way>"


def area(number: int, *members: int, kind: str = "multipolygon") -> str:
    refs = "".join(f"<member type='way' ref='{ref}' role='outer'/>" for ref in members)
    tags = f"<tag k='type' v='{kind}'/>{CAFE}"
    return f"<relation id='{number}' version='1'>{refs}{tags}</relation>"


def read(path: Path, text: str, closed: bool = False) -> tuple[dict[str, Any], dict[str, int]]:
    """The rows that are imported from a file with this text, by id, and the places left out."""
    path.write_bytes(text.encode())
    target = path.parent / "out.parquet"
    found = import_osm(path, target, load_mapping(None), None, lambda rows: None, closed)
    return {row["id"]: row for row in pq.read_table(target).to_pylist()}, dict(found.left_out)


def place(row: dict[str, Any]) -> tuple[float, float]:
    return row["lon"], row["lat"]


@pytest.mark.parametrize("limit", [osm_outlines.TABLE_LIMIT, 0], ids=["small file", "large file"])
def test_ways_and_areas_may_come_before_their_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(osm_outlines, "TABLE_LIMIT", limit)
    text = osm(area(9, 7), way(7, tags=""), way(8), node(4, tags=""), CORNERS.format(""))
    rows, left_out = read(tmp_path / "a.osm", text)
    assert {name: place(row) for name, row in rows.items()} == {
        "way/8": pytest.approx((1, 1)),
        "relation/9": pytest.approx((1, 1)),
    }
    assert left_out == {}


def test_ways_may_have_their_own_positions(tmp_path: Path) -> None:
    nodes = "n1x0y0,n2x3y0,n3x0y3,n1x0y0"
    lines = [
        f"w7 v1 dV N{nodes}",
        f"w8 v1 dV Tname=Bar,amenity=cafe N{nodes}",
        "r9 v1 dV Ttype=multipolygon,name=Bar,amenity=cafe Mw7@outer",
    ]
    rows, left_out = read(tmp_path / "a.opl", "".join(f"{line}\n" for line in lines))
    assert {name: place(row) for name, row in rows.items()} == {
        "way/8": pytest.approx((1, 1)),
        "relation/9": pytest.approx((1, 1)),
    }
    assert left_out == {}


def test_objects_without_a_position_are_counted(tmp_path: Path) -> None:
    objects = (
        node(4, ""), node(5, "lat='95' lon='2'"), node(6), way(7), way(8, "9"),
        area(9, 7), area(10, 7, 11), area(11, 12), area(12, 7, kind="site"), CORNERS.format(""),
    )  # fmt: skip
    rows, left_out = read(tmp_path / "a.osm", osm(*objects))
    assert sorted(rows) == ["node/6", "relation/9", "way/7"]
    assert left_out == {
        "without a position": 3,
        "area with an incomplete outline": 2,
        "relation that is no area": 1,
    }


def test_areas_of_several_ways_and_holes(tmp_path: Path) -> None:
    corners = [(0, 0), (4, 0), (4, 4), (0, 4), (1, 1), (2, 1), (2, 2), (1, 2)]
    nodes = "".join(
        f"<node id='{n}' version='1' lat='{lat}' lon='{lon}'/>"
        for n, (lon, lat) in enumerate(corners, 1)
    )
    ways = "".join(
        f"<way id='{n}' version='1'>{''.join(f'<nd ref={ref!r}/>' for ref in refs)}</way>"
        for n, refs in {1: "123", 2: "143", 3: "56785"}.items()
    )
    refs = [(1, "outer"), (2, "outer"), (3, "inner")]
    members = "".join(f"<member type='way' ref='{n}' role='{role}'/>" for n, role in refs)
    text = osm(
        nodes, ways, f"<relation id='1'>{members}<tag k='type' v='multipolygon'/>{CAFE}</relation>"
    )
    rows, _ = read(tmp_path / "a.osm", text)
    assert place(rows["relation/1"]) == pytest.approx(((16 * 2 - 1.5) / 15, (16 * 2 - 1.5) / 15))


def test_negative_ids_and_deletions_of_an_editor(tmp_path: Path) -> None:
    objects = (
        CORNERS.format("-"), node(-20), way(-7, "-"), area(-9, -7),
        node(21, "lat='1' lon='2' action='delete'"), node(22, "action='delete' visible='true'"),
        node(23, "lat='1' lon='2' action='modify'"), way(8, "-", "action='delete'"),
    )  # fmt: skip
    for name, pack in (("a.osm", bytes), ("a.osm.gz", gzip.compress), ("a.osm.bz2", bz2.compress)):
        path = tmp_path / name
        path.write_bytes(pack(osm(*objects).encode()))
        target = tmp_path / "out.parquet"
        found = import_osm(path, target, load_mapping(None), None, lambda rows: None)
        rows = {row["id"]: row for row in pq.read_table(target).to_pylist()}
        assert sorted(rows) == ["node/-20", "node/23", "relation/-9", "way/-7"]
        assert place(rows["relation/-9"]) == place(rows["way/-7"]) == pytest.approx((1, 1))
        assert found.left_out == {"deleted": 3}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.osm", osm(node(1), node(1))),
        ("a.osm", osm(node(1), node(1, "lat='2' lon='3'"))),
        ("a.osc", f"<osmChange version='0.6'><modify>{node(1)}</modify></osmChange>"),
        ("a.osh.opl", "n1 v1 dV Tname=Bar,amenity=cafe x1 y2\n"),
    ],
)
def test_a_history_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(DataError, match=r"several versions of an object.*osmium time-filter"):
        read(tmp_path / name, text)


def test_closed_places_are_left_out_unless_they_are_wanted(tmp_path: Path) -> None:
    name = "<tag k='name' v='Bar'/>"
    open_again = f"{CAFE}<tag k='disused:shop' v='bakery'/>"
    tags = (
        CAFE,
        open_again,
        f"{CAFE}<tag k='disused' v='no'/>",
        f"{CAFE}<tag k='abandoned' v='yes'/>",
        f"{name}<tag k='disused:amenity' v='pub'/>",
        f"{name}<tag k='was:shop' v='bakery'/><tag k='cuisine' v='cake'/>",
        f"{name}<tag k='disused:railway' v='station'/>",
    )
    text = osm(*(node(n, tags=given) for n, given in enumerate(tags)))
    rows, left_out = read(tmp_path / "a.osm", text)
    assert sorted(rows) == ["node/0", "node/1", "node/2"]
    assert left_out == {"closed": 3}
    rows, left_out = read(tmp_path / "a.osm", text, closed=True)
    assert [rows[f"node/{n}"]["labels"] for n in range(6)] == [
        *([["amenity=cafe"]] * 4), ["amenity=pub"], ["shop=bakery", "cuisine=cake"],
    ]  # fmt: skip
    assert left_out == {}


def test_the_last_line_counts_what_was_left_out(tmp_path: Path) -> None:
    closed = f"{CAFE}<tag k='disused' v='yes'/>"
    path = tmp_path / "a.osm"
    path.write_text(osm(node(1), node(2, tags=closed), node(3, "")))
    result = spawn("import", "osm", path, tmp_path / "out.parquet", environment={})
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == (
        "left out: 1 (closed), 1 (without a position); --closed imports closed places"
    )
