"""Records of parsed JSON: allowed values and rejected records."""

import math
from typing import Any

import pytest

from labelwright.entities.tables import from_records
from tests.entities.canonical import ALL, TEXT_LIKE


@pytest.mark.parametrize("record", [None, 5, "x", [], [{}], True])
def test_a_record_that_is_not_an_object_rejects_only_its_row(record: Any) -> None:
    entities = from_records([{"text": "a"}, record, {"text": "b"}], ALL)
    assert entities.rejected == {1: "an entity must be an object"}
    assert entities.table["text"].to_pylist() == ["a", None, "b"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *((name, 1.5, "text") for name in TEXT_LIKE),
        *((name, True, "text") for name in TEXT_LIKE),
        *((name, {}, "text") for name in TEXT_LIKE),
        *((name, ["a", 1], "text") for name in TEXT_LIKE),
        *((name, ["a", ["b"]], "text") for name in TEXT_LIKE),
        *((name, "\ud800", "text") for name in [*TEXT_LIKE, "id"]),
        ("text", 1, "text or a list of texts"),
        ("id", 1.5, "text, a whole number, or a list of texts"),
        ("number", "1", "a number"),
        ("number", True, "a number"),
        ("number", [1], "a number"),
        ("number", 10**400, "a number"),
        ("lat", "1", "a number"),
        ("tags", 5, "an object of texts"),
        ("tags", "5", "an object of texts"),
        ("tags", ["a"], "an object of texts"),
        ("tags", {"a": {}}, "an object of texts"),
        ("tags", {"a": ["b"]}, "an object of texts"),
        ("tags", {"a": "\ud800"}, "an object of texts"),
        ("tags", {1: "a"}, "an object of texts"),
    ],
)
def test_a_value_of_a_wrong_type_rejects_only_its_row(name: str, value: Any, expected: str) -> None:
    entities = from_records([{"words": "x", "lat": 0, "lon": 0}, {"words": "y", name: value}], ALL)
    assert list(entities.rejected) == [1]
    assert entities.rejected[1].startswith(f"{name}: must be {expected}")
    assert entities.table["words"].to_pylist() == ["x", None]


@pytest.mark.parametrize(
    ("name", "value", "canonical"),
    [
        ("text", "a", "a"),
        ("text", ["a", "b"], "a;b"),
        ("text", [], ""),
        ("category", 7, "7"),
        ("category", -(10**30), "-1" + "0" * 30),
        ("phone", 123, "123"),
        ("number", 7, 7.0),
        ("tags", {"b": 1, "a": "x;y", "c": None, "d": False}, "a=x;a=y;b=1;d=no"),
        ("tags", '{"b": "c"}', "b=c"),
        ("tags", {}, None),
        ("tags", None, None),
    ],
)
def test_values_of_a_record_become_canonical(
    name: str, value: Any, canonical: str | float | None
) -> None:
    entities = from_records([{name: value}], ALL)
    assert not entities.rejected
    assert entities.table[name].to_pylist() == [canonical]


def test_an_empty_list_of_records_gives_no_entities() -> None:
    assert len(from_records([], ALL)) == 0


def test_records_without_known_fields_give_entities_without_columns() -> None:
    entities = from_records([{"title": "a"}, {}], ALL)
    assert entities.ids.to_pylist() == ["0", "1"]
    assert not entities.rejected
    assert entities.warnings == ["column 'title' is not in schema 'all'"]


def test_a_record_with_a_key_that_is_not_text_rejects_only_its_row() -> None:
    entities = from_records([{"text": "a"}, {1: "b", "text": "c"}], ALL)
    assert list(entities.rejected) == [1]


def test_a_rejected_row_keeps_only_its_id() -> None:
    record = {
        **dict.fromkeys(["id", *TEXT_LIKE], "x"),
        "number": 1,
        "lat": 200,
        "lon": 0,
        "tags": {"a": "b"},
    }
    (row,) = from_records([record], ALL).table.to_pylist()
    assert row.pop("id") == "x"
    assert set(row.values()) == {None}


def test_the_first_reason_of_each_row_is_kept_and_rows_are_in_order() -> None:
    records: list[Any] = [{"text": 5, "number": math.inf}, {}, {"number": math.inf}, None]
    records.insert(0, {"number": math.inf})
    rejected = from_records(records, ALL).rejected
    assert list(rejected) == [0, 1, 3, 4]
    assert rejected[1] == "text: must be text or a list of texts"
