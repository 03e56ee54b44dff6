"""Mapping of OpenStreetMap's tags to labels or columns, but never to both."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.entities.errors import DataError
from labelwright.entities.importers.osm_mapping import OsmMapping, default_mapping, load_mapping

DEFAULT = load_mapping(None)
KEYS = ["name", "name:de", "amenity", "shop", "cuisine", "diet:vegan", "wheelchair", "brand"]
KEYS += ["addr:street", "addr:housenumber", "operator", "alt_name", "building", "note", "website"]


def mapping(**changes: Any) -> dict[str, Any]:
    plain = {"places": ["shop"], "labels": ["shop"], "first_of": {"name": ["name"]}}
    return {**plain, **changes}


def test_tags_become_labels_and_columns() -> None:
    tags = {
        "name": "Joe's Pizza", "name:it": "Da Joe", "alt_name": "Joe's;Giuseppe's",
        "amenity": "restaurant", "cuisine": "pizza; Fish and  Chips ;", "diet:vegan": "yes",
        "shop": "no", "addr:street": "Carmine St", "addr:housenumber": "7", "operator": "Joe",
        "contact:phone": "1", "building": "retail",
    }  # fmt: skip
    assert DEFAULT.is_place(tags)
    assert DEFAULT.labels_of(tags) == [
        "amenity=restaurant", "cuisine=pizza", "cuisine=fish_and_chips", "diet:vegan=yes",
    ]  # fmt: skip
    assert DEFAULT.columns_of(tags) == {
        "name": "Joe's Pizza",
        "address": "Carmine St 7",
        "phone": "1",
        "alternative_names": "Da Joe;Joe's;Giuseppe's",
        "tags": [("operator", "Joe")],
    }


@pytest.mark.parametrize(
    "tags",
    [
        {"amenity": "bench"},
        {"name": "x"},
        {"name": " ", "shop": "x"},
        {"name": "x", "shop": "no"},
        {"name": "x", "cuisine": "pizza"},
    ],
)
def test_an_object_without_a_name_or_without_a_place_tag_is_not_a_place(
    tags: dict[str, str],
) -> None:
    assert not DEFAULT.is_place(tags)


def test_an_open_group_is_absent_for_places_it_does_not_apply_to() -> None:
    parts = [
        {"keys": ["wheelchair"], "places": ["*"]},
        {"keys": ["takeaway", "delivery"], "places": ["amenity=cafe", "cuisine=*"]},
    ]
    labels = ["amenity", "wheelchair", "takeaway", "delivery"]
    built = OsmMapping.from_mapping(mapping(labels=labels, open_world=parts))
    assert built.open_groups == {"wheelchair", "takeaway", "delivery"}
    assert built.absent_of(["amenity=cafe"]) == built.absent_of(["cuisine=x", "a=b"]) == []
    assert built.absent_of(["amenity=bank"]) == ["takeaway", "delivery"]
    assert {"takeaway", "diet:vegan"} <= {*DEFAULT.absent_of(["shop=hairdresser"])}
    assert "wheelchair" not in DEFAULT.absent_of(["shop=hairdresser"])
    assert "takeaway" not in DEFAULT.absent_of(["amenity=restaurant"])


@given(st.dictionaries(st.sampled_from(KEYS), st.text(max_size=20)), st.text(min_size=1))
@settings(deadline=None)
def test_no_label_leaks_into_a_column(tags: dict[str, str], value: str) -> None:
    columns = DEFAULT.columns_of(tags)
    for key in DEFAULT.labels:
        assert DEFAULT.columns_of({**tags, key: value}) == columns


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"first_of": {"name": ["name"], "brand": ["shop"]}}, "'shop' is used for a column"),
        ({"first_of": {"name": ["name"], "brand": ["a shop"]}}, "'shop' is used for a column"),
        ({"all_of": {"tags": ["sh*"]}}, "'sh.' is used for a column"),
        ({"labels": ["shop", "na*"]}, "'name' is used for a column"),
        ({"places": ["name"]}, "'name' is used for a column"),
        ({"first_of": {"brand": ["brand"]}}, "needs places, labels, and keys for the name"),
        ({"places": []}, "needs places, labels, and keys for the name"),
        ({"first_of": {"name": ["name"], "lat": ["lat"]}}, "'lat' is not a column"),
        ({"first_of": {"name": ["name"], "labels": ["l"]}}, "'labels' is not a column"),
        ({"first_of": {"name": ["name"], "tags": ["t"]}}, "and `tags` in all_of"),
        ({"all_of": {"name": ["alt_name"]}}, "either in first_of or in all_of"),
        ({"labels": "shop"}, "lists of text"),
        ({"labels": [1]}, "lists of text"),
        ({"first_of": ["name"]}, "not a valid mapping"),
        ({"inputs": []}, "unknown entries inputs"),
        ({"open_world": ["shop"]}, "not a valid mapping"),
        ({"open_world": [{"keys": ["shop"]}]}, "'places' is missing"),
        ({"open_world": [{"keys": ["sport"], "places": ["*"]}]}, "'sport' is in open_world"),
    ],
)
def test_an_invalid_mapping_is_refused(changes: dict[str, Any], reason: str) -> None:
    assert OsmMapping.from_mapping(mapping()).labels == ("shop",)
    with pytest.raises(DataError, match=reason):
        OsmMapping.from_mapping(mapping(**changes))


def test_a_mapping_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(default_mapping())
    assert load_mapping(path) == DEFAULT
    with pytest.raises(DataError, match="'labels' is missing"):
        OsmMapping.from_mapping(tomllib.loads('places = ["shop"]'))
    path.write_text("places = [")
    for bad in (path, tmp_path / "missing.toml", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            load_mapping(bad)
