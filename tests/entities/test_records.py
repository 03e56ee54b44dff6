"""Records of parsed JSON: allowed values and rejected records."""

import datetime
import decimal
import math
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pytest

from labelwright.entities.tables import from_records
from tests.entities.canonical import ALL, TEXT_LIKE

UUID = uuid.UUID(int=7)
TAGS = "a=4;b=1.5;c=2.5;d=yes"
MISSING = [None, math.nan, np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT")]


@pytest.mark.parametrize("record", [None, 5, "x", [], [{}], True])
def test_a_record_that_is_not_an_object_rejects_only_its_row(record: Any) -> None:
    entities = from_records([{"text": "a"}, record, {"text": "b"}], ALL)
    assert entities.rejected == {1: "an entity must be an object"}
    assert entities.table["text"].to_pylist() == ["a", None, "b"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *((name, 1.5, "text") for name in [*TEXT_LIKE, "id"]),
        *((name, ["a", 1.5], "text") for name in TEXT_LIKE),
        *((name, datetime.timedelta(1), "text") for name in TEXT_LIKE),
        *((name, np.timedelta64(1, "D"), "text") for name in TEXT_LIKE),
        *((name, True, "text") for name in TEXT_LIKE),
        *((name, {}, "text") for name in TEXT_LIKE),
        *((name, ["a", {}], "text") for name in TEXT_LIKE),
        *((name, ["a", ["b"]], "text") for name in TEXT_LIKE),
        ("text", 1, "text or a list of texts"),
        ("number", "one", "a number"),
        ("number", np.timedelta64(1, "D"), "a number"),
        ("number", True, "a number"),
        ("number", [1], "a number"),
        ("number", 10**400, "a number"),
        ("lat", "1 °", "a number"),
        ("tags", 5, "an object of texts"),
        ("tags", "5", "an object of texts"),
        ("tags", ["a"], "an object of texts"),
        ("tags", {"a": {}}, "an object of texts"),
        ("tags", {"a": ["b"]}, "an object of texts"),
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
        ("text", ("a", None, "b"), "a;b"),
        ("text", np.array(["a", "b"]), "a;b"),
        ("text", b"Caf\xc3\xa9", "Café"),
        ("text", UUID, str(UUID)),
        ("text", datetime.date(2024, 12, 31), "2024-12-31"),
        ("category", datetime.datetime(2024, 12, 31), "2024-12-31"),
        ("category", datetime.datetime(2024, 12, 31, 1), "2024-12-31T01:00:00"),
        ("category", np.datetime64("2024-12-31", "ns"), "2024-12-31"),
        ("category", 7, "7"),
        ("category", 75001.0, "75001"),
        ("category", np.int16(7), "7"),
        ("category", np.float32(7), "7"),
        ("category", [7.0, np.int64(8), "9"], "7;8;9"),
        ("category", decimal.Decimal("75001.00"), "75001"),
        ("id", UUID, str(UUID)),
        ("id", 75001.0, "75001"),
        ("category", -(10**30), "-1" + "0" * 30),
        ("phone", 123, "123"),
        ("number", 7, 7.0),
        ("number", " 48.85 ", 48.85),
        ("number", "", None),
        ("number", decimal.Decimal("1.5"), 1.5),
        ("number", np.float32(1.5), 1.5),
        ("number", np.uint8(7), 7.0),
        ("tags", {"b": 1, "a": "x;y", "c": None, "d": False}, "a=x;a=y;b=1;d=no"),
        ("tags", '{"b": "c"}', "b=c"),
        ("tags", {"a": 4.0, "b": 1.5, "c": decimal.Decimal("2.50"), "d": np.bool_(True)}, TAGS),
        ("tags", {"a": math.nan, "b": np.int8(1)}, "b=1"),
        ("tags", [("b", "2"), ("a", "1")], "a=1;b=2"),
        ("tags", [{"key": "a", "value": "1"}], "a=1"),
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


@pytest.mark.parametrize("missing", [*MISSING, decimal.Decimal("NaN")], ids=repr)
@pytest.mark.parametrize("name", [*TEXT_LIKE, "number", "tags", "id"])
def test_a_missing_value_is_null(name: str, missing: Any) -> None:
    entities = from_records([{"words": "x", name: missing}], ALL)
    assert not entities.rejected
    if name == "id":
        assert entities.ids.to_pylist() == ["0"]
    else:
        assert entities.table[name].to_pylist() == [None]


@pytest.mark.parametrize("missing", MISSING, ids=repr)
def test_missing_items_of_a_list_are_left_out(missing: Any) -> None:
    records = [{"text": ["a", missing]}, {"text": [missing]}]
    assert from_records(records, ALL).table["text"].to_pylist() == ["a", ""]


@pytest.mark.parametrize("name", ["category", "phone", "id", "number", "tags"])
@pytest.mark.parametrize("infinity", [math.inf, np.float32("-inf"), decimal.Decimal("inf")])
def test_an_infinite_number_is_the_error_of_its_row(name: str, infinity: Any) -> None:
    value = {"a": infinity} if name == "tags" else infinity
    entities = from_records([{"text": "a"}, {name: value}], ALL)
    assert entities.rejected == {1: f"{name}: must be finite"}


@pytest.mark.parametrize("name", ["category", "phone", "id"])
def test_a_float_that_has_lost_digits_is_rejected(name: str) -> None:
    assert from_records([{name: 2.0**53}], ALL).rejected == {}
    (reason,) = from_records([{name: 2.0**53 + 2}], ALL).rejected.values()
    assert reason.startswith(f"{name}: a whole number above 2^53 loses digits")


@pytest.mark.parametrize("value", ["\ud800", ["a", "\ud800"], b"\xff", [b"\xff"]])
@pytest.mark.parametrize("name", TEXT_LIKE)
def test_text_that_cannot_be_encoded_is_rejected(name: str, value: Any) -> None:
    assert from_records([{name: value}], ALL).rejected == {0: f"{name}: not valid UTF-8"}


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
