"""Importer of Overture's places: small files with the published schema."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.geometry import Box
from labelwright.entities.importers.overture import import_overture, read_categories
from labelwright.entities.importers.places_file import GROUP_ROWS, ImportSummary
from labelwright.entities.io.schema_metadata import embedded_schema
from labelwright.entities.label_groups import LabelGroup, Role
from tests.entities.importers.published import OVERTURE, overture_place, spoil, write

PIZZA = ["food_and_drink", "restaurant", "pizza_restaurant"]
FULL: dict[str, Any] = {
    "names": {
        "primary": "Joe's Pizza",
        "common": [("it", "Da Joe"), ("en", "Joe's Pizza")],
        "rules": [{"variant": "short", "value": "Joe's"}, {"variant": "common", "value": "Da Joe"}],
    },
    "categories": {"primary": "pizza_restaurant", "alternate": ["eat_and_drink"]},
    "taxonomy": {"primary": PIZZA[-1], "hierarchy": PIZZA, "alternates": ["cafe", "bar"]},
    "websites": ["https://joespizza.example", "https://other.example"],
    "phones": ["+12123661182"],
    "brand": {"wikidata": "Q1", "names": {"primary": "Joe's"}},
    "addresses": [
        {"freeform": "7 Carmine St", "locality": "New York", "postcode": "10014"}
        | {"region": "NY", "country": "US"},
        {"freeform": "elsewhere"},
    ],
}
ROWS = [
    overture_place(0, -74.002, 40.7305, **FULL),
    overture_place(1, 7.42, 43.73, taxonomy={"hierarchy": ["food_and_drink", "cafe"]}),
    overture_place(2, 7.43, 43.74, categories={"primary": "bank", "alternate": None}),
    overture_place(3, 7.43, 43.74, addresses=[], websites=[], taxonomy={"hierarchy": []}),
]
OLD = pa.schema([field for field in OVERTURE if field.name not in ("taxonomy", "basic_category")])


def imported(
    source: Path, target: Path, box: Box | None = None, categories: Path | None = None
) -> tuple[ImportSummary, dict[str, dict[str, Any]]]:
    shares: list[float] = []
    found = import_overture(
        source, target, box, categories, lambda rows, share: shares.append(share)
    )
    assert shares == sorted(shares)
    return found, {row["id"]: row for row in pq.read_table(target).to_pylist()}


def test_a_place_becomes_a_row_with_its_categories_as_labels(tmp_path: Path) -> None:
    source = write(tmp_path / "part-0.zstd.parquet", ROWS, OVERTURE)
    found, rows = imported(source, tmp_path / "out.parquet")
    joe = rows["place-0"]
    assert joe.pop("labels") == [
        *(f"category={name}" for name in PIZZA), "category=cafe", "category=bar",
    ]  # fmt: skip
    assert {name: value for name, value in joe.items() if value is not None} == {
        "id": "place-0", "name": "Joe's Pizza", "alternative_names": "Da Joe;Joe's",
        "address": "7 Carmine St", "city": "New York", "region": "NY", "postcode": "10014",
        "country": "US", "phone": "+12123661182", "website": "https://joespizza.example",
        "lat": 40.7305, "lon": -74.002, "brand": "Joe's",
    }  # fmt: skip
    assert rows["place-1"]["labels"] == ["category=food_and_drink", "category=cafe"]
    assert rows["place-2"]["labels"] == ["category=bank"]
    assert rows["place-3"]["labels"] is None
    assert rows["place-3"]["address"] is rows["place-3"]["website"] is None
    assert (found.places, found.labelled) == (4, 3)
    schema = embedded_schema([tmp_path / "out.parquet"])
    assert schema is not None
    assert schema.groups == {"category": LabelGroup(("category=*",), role=Role.KIND)}
    assert schema.implies == {
        "category=cafe": ("category=food_and_drink",),
        "category=pizza_restaurant": ("category=food_and_drink", "category=restaurant"),
        "category=restaurant": ("category=food_and_drink",),
    }


def as_structs(value: Any) -> Any:
    """Maps as lists of structs, as Athena and Spark write them."""
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return [{"key": key, "value": item} for key, item in value]
    if isinstance(value, dict):
        return {name: as_structs(item) for name, item in value.items()}
    return value


def as_bigquery(value: Any) -> Any:
    """Maps and lists as BigQuery exports them."""
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return {"key_value": [{"key": key, "value": item} for key, item in value]}
    if isinstance(value, list):
        return {"list": [{"element": as_bigquery(item)} for item in value]}
    if isinstance(value, dict):
        return {name: as_bigquery(item) for name, item in value.items()}
    return value


def as_text(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its point as well-known text."""
    lon, lat = struct.unpack("<dd", row["geometry"][5:])
    return {**as_structs(row), "geometry": f"POINT({lon!r} {lat!r})"}


def as_point(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its point as a struct."""
    lon, lat = struct.unpack("<dd", row["geometry"][5:])
    return {**as_structs(row), "geometry": {"x": lon, "y": lat}}


@pytest.mark.parametrize(
    "change",
    [as_structs, as_bigquery, as_text, as_point, lambda row: as_text(as_bigquery(row))],
    ids=["structs", "BigQuery", "text", "point", "BigQuery and text"],
)
def test_the_forms_of_other_programs_give_the_same_places(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    expected = imported(write(tmp_path / "a.parquet", ROWS, OVERTURE), tmp_path / "out.parquet")
    rows = pa.Table.from_pylist(ROWS, schema=OVERTURE).to_pylist()
    changed = pa.Table.from_pylist([change(row) for row in rows])
    pq.write_table(changed, tmp_path / "b.parquet")
    assert imported(tmp_path / "b.parquet", tmp_path / "out.parquet") == expected


def test_a_column_of_another_type_is_an_error(tmp_path: Path) -> None:
    rows = pa.Table.from_pylist(ROWS, schema=OVERTURE)
    for name, values, message in (
        ("names", ["a"] * 4, "column 'names' holds string; it must be a struct with the field"),
        ("geometry", [1] * 4, "column 'geometry' holds int64; it must be well-known binary"),
    ):
        at = rows.column_names.index(name)
        pq.write_table(rows.set_column(at, name, pa.array(values)), tmp_path / "a.parquet")
        with pytest.raises(DataError, match=message):
            imported(tmp_path / "a.parquet", tmp_path / "out.parquet")


def test_places_that_are_permanently_closed_are_left_out_unless_they_are_wanted(
    tmp_path: Path,
) -> None:
    states = ["open", None, "temporarily_closed", "permanently_closed"]
    rows = [overture_place(n, 7, 43, operating_status=state) for n, state in enumerate(states)]
    source = write(tmp_path / "a.parquet", rows, OVERTURE)
    found, kept = imported(source, tmp_path / "out.parquet")
    assert list(kept) == ["place-0", "place-1", "place-2"]
    assert (found.places, dict(found.left_out)) == (3, {"closed": 1})
    everything = import_overture(
        source, tmp_path / "out.parquet", None, None, lambda rows, share: None, closed=True
    )
    assert (everything.places, dict(everything.left_out)) == (4, {})


def test_places_without_a_position_are_counted(tmp_path: Path) -> None:
    outline = struct.pack("<BII", 1, 3, 0)
    rows = [overture_place(n, 7, 43) for n in range(3)]
    rows[1]["geometry"], rows[2]["geometry"] = outline, None
    source = write(tmp_path / "a.parquet", rows, OVERTURE)
    found, kept = imported(source, tmp_path / "out.parquet")
    assert [row["lat"] for row in kept.values()] == [43, None, None]
    assert (found.places, found.unplaced) == (3, 2)


def test_an_alternate_category_has_the_ancestors_that_other_places_give_it(
    tmp_path: Path,
) -> None:
    alternate = {"hierarchy": ["shop"], "alternates": ["sushi"]}
    rows = [
        overture_place(0, 0, 0, taxonomy=alternate),
        overture_place(1, 0, 0, taxonomy={"hierarchy": ["food", "sushi"]}),
    ]
    source = write(tmp_path / "a.parquet", rows, OVERTURE)
    _, found = imported(source, tmp_path / "out.parquet")
    assert found["place-0"]["labels"] == ["category=shop", "category=food", "category=sushi"]


def test_the_paths_of_older_releases_are_read_from_a_separate_table(tmp_path: Path) -> None:
    plain = [row | {"taxonomy": None} for row in ROWS]
    source = write(tmp_path / "a.parquet", plain, OLD)
    table = tmp_path / "overture_categories.csv"
    table.write_text(
        "Category code; Overture Taxonomy\neat_and_drink; [eat_and_drink]\n"
        "pizza_restaurant; [eat_and_drink,restaurant,pizza_restaurant]\n"
    )
    found, rows = imported(source, tmp_path / "out.parquet", categories=table)
    assert rows["place-0"]["labels"] == [
        "category=eat_and_drink", "category=restaurant", "category=pizza_restaurant",
    ]  # fmt: skip
    assert "category=pizza_restaurant" in found.implies
    found, rows = imported(source, tmp_path / "out.parquet")
    assert rows["place-0"]["labels"] == ["category=pizza_restaurant", "category=eat_and_drink"]
    assert found.implies == {}


@pytest.mark.parametrize("text", ["code; path\nbank; bank\n", "code; path\nbank\n"])
def test_an_invalid_table_of_categories_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "categories.csv"
    path.write_text(text)
    with pytest.raises(DataError, match="line 2 is not"):
        read_categories(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_categories(tmp_path / "missing.csv")


def test_row_groups_outside_the_box_are_not_read(tmp_path: Path) -> None:
    rows = [overture_place(n, lon, 43.73) for n, lon in enumerate([7.42, 7.43, 100, 101, 7.44])]
    source = write(tmp_path / "theme=places" / "type=place" / "a.parquet", rows, OVERTURE, group=2)
    spoil(source, 1)
    box = Box(7.4, 43.7, 7.5, 43.8)
    _, found = imported(tmp_path / "theme=places", tmp_path / "out.parquet", box)
    assert list(found) == ["place-0", "place-1", "place-4"]
    with pytest.raises(DataError, match="cannot be read"):
        imported(source, tmp_path / "out.parquet")
    _, found = imported(source, tmp_path / "out.parquet", Box(-20, -10, -10, 10))
    assert found == {}


def test_a_box_can_cross_the_date_line(tmp_path: Path) -> None:
    rows = [overture_place(n, lon, -17.0) for n, lon in enumerate([178.0, -179.0, 0.0])]
    source = write(tmp_path / "fiji.parquet", rows, OVERTURE)
    _, found = imported(source, tmp_path / "out.parquet", Box(177, -20, -178, -15))
    assert list(found) == ["place-0", "place-1"]


def test_many_places_are_written_in_row_groups_of_the_same_size(tmp_path: Path) -> None:
    place = overture_place(0, 7.42, 43.73)
    folder = tmp_path / "many"
    table = pa.Table.from_pylist([place] * 1_000, schema=OVERTURE)
    folder.mkdir()
    pq.write_table(pa.concat_tables([table] * 70), folder / "1.parquet")
    pq.write_table(table, folder / "2.parquet")
    found = import_overture(folder, tmp_path / "out.parquet", None, None, lambda rows, share: None)
    written = pq.read_metadata(tmp_path / "out.parquet")
    sizes = [written.row_group(n).num_rows for n in range(written.num_row_groups)]
    assert sizes == [GROUP_ROWS, 71_000 - GROUP_ROWS]
    assert (found.places, found.labelled) == (71_000, 0)


def test_files_of_another_data_set_are_refused(tmp_path: Path) -> None:
    target = tmp_path / "out.parquet"
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"id": ["a"], "name": ["x"]}), other)
    csv = tmp_path / "a.csv"
    csv.write_text("id\n")
    neither = pa.schema([f for f in OLD if f.name != "categories"])
    plain = write(tmp_path / "plain.parquet", ROWS, neither)
    for source, reason in (
        (other, "no column 'geometry'"),
        (csv, r"read from \.parquet"),
        (plain, "neither a column 'taxonomy' nor 'categories'"),
        (tmp_path / "missing", "no file"),
    ):
        with pytest.raises(DataError, match=reason):
            imported(source, target)
    assert not target.exists()
