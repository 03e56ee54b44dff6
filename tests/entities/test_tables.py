"""Canonical entities: what a table or a list of records may hold, and what is rejected where."""

import datetime
import decimal
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from entities.errors import DataError
from entities.schema import EntitySchema, Kind
from entities.tables import FIELD_LIMIT, Entities, conform, from_records

some = settings(max_examples=50, deadline=None)

ALL = EntitySchema.from_mapping(
    {
        "name": "all",
        "columns": {
            "text": {"kind": "text"},
            "words": {"kind": "words"},
            "category": {"kind": "category"},
            "web": {"kind": "web"},
            "phone": {"kind": "phone"},
            "number": {"kind": "number"},
            "point": {"kind": "point", "fields": ["lat", "lon"]},
            "tags": {"kind": "tags"},
        },
    }
)
"""A schema with a column of every kind, called as the kind."""
TEXT_LIKE = ["text", "words", "category", "web", "phone"]
PRIVATE = "xyzzy"

Build = Callable[[list[str | None]], pa.Array]


def column(array: pa.Array, name: str) -> list[Any]:
    """The canonical values of a table that has this column alone."""
    entities = conform(pa.table({name: array}), ALL)
    assert not entities.rejected
    assert not entities.warnings
    values: list[Any] = entities.table[name].to_pylist()
    return values


def rejected(name: str, array: pa.Array) -> dict[int, str]:
    """Why rows are rejected in a table that has this column alone."""
    return dict(conform(pa.table({name: array}), ALL).rejected)


def unchecked(*values: bytes) -> pa.StringArray:
    """A string array of bytes that nobody has looked at, as a file may hold them."""
    array = pa.array(values, pa.binary())
    return pa.StringArray.from_buffers(len(array), *array.buffers()[1:])


BROKEN = unchecked(b"good", b"bad \xff\xfe", b"", b"fine \xe2\x82\xac")


# The types that a column may have.


@pytest.mark.parametrize("name", TEXT_LIKE)
@pytest.mark.parametrize(
    "build",
    [
        lambda texts: pa.array(texts, pa.string()),
        lambda texts: pa.array(texts, pa.large_string()),
        lambda texts: pa.array(texts, pa.string_view()),
        lambda texts: pa.array(texts, pa.string()).dictionary_encode(),
        lambda texts: pa.array(texts, pa.large_string()).dictionary_encode(),
        lambda texts: pa.chunked_array([pa.array(texts[:1]), pa.array(texts[1:])]),
        lambda texts: pa.array(["cut", *texts, "cut"], pa.string()).slice(1, len(texts)),
    ],
    ids=["string", "large_string", "string_view", "dictionary", "large", "chunks", "slice"],
)
def test_text_may_come_in_any_arrow_type_of_text(name: str, build: Build) -> None:
    texts = ["Café", None, "", "Café", "日本"]
    assert column(build(texts), name) == texts


@pytest.mark.parametrize("name", TEXT_LIKE)
@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.string()),
        pa.list_(pa.large_string()),
        pa.list_(pa.string_view()),
        pa.large_list(pa.string()),
        pa.large_list(pa.large_string()),
    ],
    ids=str,
)
def test_a_list_of_texts_becomes_one_text_with_semicolons(name: str, kind: pa.DataType) -> None:
    lists = pa.array([["a", "b"], None, [], ["c"]], kind)
    assert column(lists, name) == ["a;b", None, "", "c"]


def test_a_list_of_nothing_is_an_empty_text() -> None:
    assert column(pa.array([[], None], pa.list_(pa.null())), "text") == ["", None]


@pytest.mark.parametrize("name", ["category", "phone"])
@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.uint8(), pa.uint64()], ids=str)
def test_categories_and_phones_may_be_whole_numbers(name: str, kind: pa.DataType) -> None:
    assert column(pa.array([7, None], kind), name) == ["7", None]


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
        *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float16(), pa.float32(), pa.float64()),
        *(pa.decimal128(5, 1), pa.decimal256(50, 1)),
    ],
    ids=str,
)
def test_a_number_may_come_in_any_arrow_type_of_number(kind: pa.DataType) -> None:
    given = [decimal.Decimal(7), None] if pa.types.is_decimal(kind) else [7, None]
    values = np.array([7], np.float16) if kind == pa.float16() else given
    assert column(pa.array(values, kind), "number")[0] == pytest.approx(7)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_a_number_may_be_written_as_text(kind: pa.DataType) -> None:
    texts = ["7", " -1.5e2 ", "", "  ", "nan", None]
    assert column(pa.array(texts, kind), "number") == [7, -150, None, None, None, None]


def test_a_text_that_is_no_number_is_rejected_in_its_own_place() -> None:
    entities = conform(pa.table({"number": ["1", "one", "2"]}), ALL)
    assert entities.rejected == {1: "number: not a number"}
    assert entities.table["number"].to_pylist() == [1, None, 2]


@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, -(2**60) - 1])
def test_a_large_whole_number_is_rounded(number: int) -> None:
    assert column(pa.array([number]), "number") == [float(number)]


@pytest.mark.parametrize(
    "tags",
    [
        pa.array([[("b", "2"), ("a", "1;3")], None, []], pa.map_(pa.string(), pa.string())),
        pa.array([[("b", "2"), ("a", "1;3")], None, []], pa.map_(pa.large_string(), pa.string())),
        pa.array([{"b": "2", "a": "1; 3"}, None, None]),
        pa.array(['{"b": 2, "a": "1 ;3"}', None, "{}"]),
        pa.array(['{"b": "2", "a": "1;3", "c": null}', "", None], pa.large_string()),
        pa.array(['{"b": "2", "a": "1;3"}', None, None], pa.string_view()),
        pa.array(['{"b": "2", "a": "1;3"}', None, None]).dictionary_encode(),
    ],
    ids=["map", "large map", "struct", "JSON", "large JSON", "JSON view", "JSON dictionary"],
)
def test_tags_may_be_a_map_a_struct_or_json(tags: pa.Array) -> None:
    assert column(tags, "tags") == ["a=1;a=3;b=2", None, None]


def test_the_value_of_a_tag_may_be_text_a_number_or_a_truth() -> None:
    tags = '{"a": "x", "b": 1, "c": 1.5, "d": true, "e": false, "f": null, "g": ""}'
    assert column(pa.array([tags]), "tags") == ["a=x;b=1;c=1.5;d=yes;e=no;g="]


@pytest.mark.parametrize("tags", ["5", "{", "[1]", '{"a": {}}', '{"a": ["x"]}', '"ab"', "a=b"])
def test_tags_that_do_not_map_text_to_text_are_rejected_in_their_own_place(tags: str) -> None:
    entities = conform(pa.table({"tags": ['{"a": "b"}', tags]}), ALL)
    assert entities.rejected == {1: "tags: must map text to text"}
    assert entities.table["tags"].to_pylist() == ["a=b", None]


NO_TEXT = [
    pa.array([1.5]),
    pa.array([True]),
    pa.array([b"x"]),
    pa.array([b"x"], pa.binary(1)),
    pa.array([datetime.date(2024, 1, 1)]),
    pa.array([datetime.datetime(2024, 1, 1)]),
    pa.array([{"a": "x"}]),
    pa.array([[1]]),
    pa.array([[["x"]]]),
    pa.array([["x"]], pa.list_(pa.string(), 1)),
    pa.array([[("a", "x")]], pa.map_(pa.string(), pa.string())),
]
NO_NUMBER = [array for array in NO_TEXT if array.type != pa.float64()] + [pa.array([["x"]])]
NO_TAGS = [*NO_TEXT[:6], *NO_TEXT[7:10], pa.array([["x"]]), pa.array([1])]


@pytest.mark.parametrize(
    ("name", "array"),
    [
        *itertools.product(TEXT_LIKE, NO_TEXT),
        *itertools.product(["text", "words", "web"], [pa.array([1])]),
        *itertools.product(["number", "lat"], NO_NUMBER),
        *itertools.product(["tags"], NO_TAGS),
        *itertools.product(["id"], [*NO_TEXT, pa.array([["x"]])]),
    ],
    ids=lambda given: given if isinstance(given, str) else str(given.type),
)
def test_a_column_of_a_wrong_type_is_a_data_error_that_names_it(name: str, array: pa.Array) -> None:
    with pytest.raises(DataError, match=f"column '{name}' holds"):
        conform(pa.table({name: array, "words" if name == "text" else "text": ["x"]}), ALL)


# Tables that lack something, or hold too much.


def test_missing_columns_stay_missing() -> None:
    entities = conform(pa.table({"text": ["a"]}), ALL)
    assert entities.table.column_names == ["id", "text"]
    assert entities.column("number") is None


def test_columns_come_in_the_order_of_the_schema() -> None:
    given = {"tags": ["{}"], "lon": [0], "number": [1], "lat": [0], "text": ["a"]}
    names = conform(pa.table(given), ALL).table.column_names
    assert names == ["id", "text", "number", "lat", "lon", "tags"]


@pytest.mark.parametrize("name", ["text", "words", "category", "web", "phone", "number", "tags"])
def test_a_column_of_nulls_without_a_type_is_fine(name: str) -> None:
    assert column(pa.nulls(3), name) == [None, None, None]


def test_a_canonical_column_is_text_or_float64() -> None:
    given = {field: pa.nulls(2) for field in ALL.fields}
    table = conform(pa.table(given), ALL).table
    kinds = {name: table.schema.field(name).type for name in table.column_names}
    numbers = {"number", "lat", "lon"}
    assert {name for name, kind in kinds.items() if kind == pa.float64()} == numbers
    assert {name for name, kind in kinds.items() if kind == pa.string()} == kinds.keys() - numbers


def test_a_table_without_rows_is_fine() -> None:
    entities = conform(pa.table({"text": pa.array([], pa.string())}), ALL)
    assert len(entities) == 0
    assert entities.ids.to_pylist() == []


def test_a_table_without_chunks_is_fine() -> None:
    empty = pa.chunked_array([], pa.string())
    assert len(conform(pa.table({"text": empty, "id": empty}), ALL)) == 0


def test_a_table_with_no_known_column_is_refused_with_those_there_are() -> None:
    with pytest.raises(DataError, match="no column is known to schema 'all', which has text, "):
        conform(pa.table({"title": ["a"], "id": ["1"], "labels": [["x"]]}), ALL)


def test_a_table_with_a_column_twice_is_refused_by_its_name() -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    with pytest.raises(DataError, match="column 'text' occurs more than once"):
        conform(table, ALL)


def test_an_unknown_column_is_a_warning() -> None:
    entities = conform(pa.table({"text": ["a"], "catgory": ["b"]}), ALL)
    assert entities.warnings == [
        "column 'catgory' is not in schema 'all'; did you mean 'category'?"
    ]


# Ids.


def test_a_missing_id_is_the_number_of_the_row() -> None:
    table = pa.table({"text": ["a", "b"]})
    assert conform(table, ALL).ids.to_pylist() == ["0", "1"]
    assert conform(table, ALL, first_row=40).ids.to_pylist() == ["40", "41"]


def test_a_null_id_is_the_number_of_the_row() -> None:
    table = pa.table({"text": ["a", "b", "c"], "id": ["x", None, "z"]})
    assert conform(table, ALL, first_row=7).ids.to_pylist() == ["x", "8", "z"]


def test_a_record_without_an_id_gets_the_number_of_its_row() -> None:
    records: list[Any] = [{"id": "x"}, {"text": "a"}, {"id": None}, {"id": 12}]
    assert from_records(records, ALL, first_row=5).ids.to_pylist() == ["x", "6", "7", "12"]


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.uint64()], ids=str)
def test_ids_may_be_whole_numbers(kind: pa.DataType) -> None:
    table = pa.table({"text": ["a", "b"], "id": pa.array([3, None], kind)})
    assert conform(table, ALL).ids.to_pylist() == ["3", "1"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_ids_may_come_in_any_type_of_text(kind: pa.DataType) -> None:
    ids = pa.array(["x", None], kind)
    assert conform(pa.table({"text": ["a", "b"], "id": ids}), ALL).ids.to_pylist() == ["x", "1"]


def test_ids_may_come_as_a_dictionary() -> None:
    ids = pa.array(["x", "x", None]).dictionary_encode()
    table = pa.table({"text": ["a", "b", "c"], "id": ids})
    assert conform(table, ALL).ids.to_pylist() == ["x", "x", "2"]


def test_ids_may_all_be_null() -> None:
    table = pa.table({"text": ["a", "b"], "id": pa.nulls(2)})
    assert conform(table, ALL).ids.to_pylist() == ["0", "1"]


def test_a_rejected_row_keeps_its_id() -> None:
    table = pa.table({"text": ["a", "b" * 20_000], "id": ["x", "y"]})
    assert conform(table, ALL).ids.to_pylist() == ["x", "y"]


# Values that are rejected, and values that are not.


@pytest.mark.parametrize(
    ("lat", "lon", "reason"),
    [
        (200.0, 1.0, "lat: must lie between -90 and 90"),
        (-90.1, 1.0, "lat: must lie between -90 and 90"),
        (1.0, 180.5, "lon: must lie between -180 and 180"),
        (math.inf, 1.0, "lat: must be finite"),
        (1.0, -math.inf, "lon: must be finite"),
        (1.0, None, "lat and lon must be given together"),
        (None, 1.0, "lat and lon must be given together"),
        (math.nan, 1.0, "lat and lon must be given together"),
    ],
)
def test_a_bad_point_is_rejected_in_its_own_place(
    lat: float | None, lon: float | None, reason: str
) -> None:
    table = pa.table({"text": ["a", "b", "c"], "lat": [1.0, lat, 3.0], "lon": [1.0, lon, 3.0]})
    entities = conform(table, ALL)
    assert entities.rejected == {1: reason}
    assert entities.table["text"].to_pylist() == ["a", None, "c"]
    assert entities.table["lat"].to_pylist() == [1, None, 3]


@pytest.mark.parametrize("given", [(90, 180), (-90, -180), (0, 0), (None, None)])
def test_the_ends_of_the_earth_are_on_it(given: tuple[float | None, float | None]) -> None:
    table = pa.table({"text": ["a"], "lat": [given[0]], "lon": [given[1]]})
    entities = conform(table, ALL)
    assert not entities.rejected
    assert entities.table.select(["lat", "lon"]).to_pylist() == [{"lat": given[0], "lon": given[1]}]


def test_nan_is_a_missing_number() -> None:
    assert column(pa.array([math.nan, 1.0, None]), "number") == [None, 1, None]
    assert from_records([{"number": math.nan}], ALL).table["number"].to_pylist() == [None]


@pytest.mark.parametrize("infinity", [math.inf, -math.inf])
def test_an_infinite_number_is_rejected(infinity: float) -> None:
    assert rejected("number", pa.array([1.0, infinity])) == {1: "number: must be finite"}
    records = [{"number": 1}, {"number": infinity}]
    assert from_records(records, ALL).rejected == {1: "number: must be finite"}


def test_a_table_with_half_a_point_in_all_rows_is_refused() -> None:
    with pytest.raises(DataError, match="column 'lon' needs lat and lon together"):
        conform(pa.table({"text": ["a"], "lon": [1.0]}), ALL)


def test_half_a_point_is_rejected_in_its_own_place_beside_a_whole_one() -> None:
    records = [{"text": "a", "lat": 1}, {"text": "b", "lat": 1, "lon": 2}, {"text": "c"}]
    assert from_records(records, ALL).rejected == {0: "lat and lon must be given together"}


def test_half_a_point_is_rejected_in_its_own_place_without_a_whole_one() -> None:
    records = [{"text": "a", "lat": 1}, {"text": "c"}]
    assert from_records(records, ALL).rejected == {0: "lat and lon must be given together"}


@pytest.mark.parametrize("name", TEXT_LIKE)
def test_a_name_of_a_million_characters_is_rejected(name: str) -> None:
    reason = f"{name}: longer than 10,000 bytes"
    texts = ["a", "x" * 1_000_000, "b"]
    assert rejected(name, pa.array(texts)) == {1: reason}
    assert from_records([{name: text} for text in texts], ALL).rejected == {1: reason}


def test_tags_of_a_million_characters_are_rejected() -> None:
    tags = [{"a": "b"}, {"a": "x" * 1_000_000}]
    reason = {1: "tags: longer than 10,000 bytes"}
    assert from_records([{"tags": value} for value in tags], ALL).rejected == reason
    assert rejected("tags", pa.array(tags)) == reason


def test_the_limit_counts_bytes_and_its_own_number_is_allowed() -> None:
    fits = "é" * (FIELD_LIMIT // 2)
    assert rejected("text", pa.array([fits, fits + "e"])) == {1: "text: longer than 10,000 bytes"}


def test_the_limit_is_for_a_list_as_a_whole() -> None:
    lists = pa.array([["x" * 6_000], ["x" * 6_000, "x" * 6_000]])
    assert rejected("text", lists) == {1: "text: longer than 10,000 bytes"}


@pytest.mark.parametrize(
    "text",
    [
        "👩\u200d🍳🍕",
        "\u05d1\u05d9\u05ea\u200f \u202b\u0645\u0637\u0639\u0645",
        "a\0b",
        "\ufeff",
        "\U0010ffff",
        "e\u0301\u0323",
        "\r\n",
    ],
    ids=["emoji", "right-to-left", "NUL", "mark", "last", "accents", "newline"],
)
@pytest.mark.parametrize("name", TEXT_LIKE)
def test_strange_text_is_accepted_unchanged(name: str, text: str) -> None:
    assert column(pa.array([text]), name) == [text]
    entities = from_records([{name: text}], ALL)
    assert not entities.rejected
    assert entities.table[name].to_pylist() == [text]


# Bytes that claim to be UTF-8.


@pytest.mark.parametrize("name", TEXT_LIKE)
@pytest.mark.parametrize(
    "array",
    [
        BROKEN,
        BROKEN.cast(pa.large_string()),
        BROKEN.cast(pa.string_view()),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 3]), BROKEN),
        pa.chunked_array([BROKEN.slice(0, 1), BROKEN.slice(1)]),
    ],
    ids=["string", "large_string", "string_view", "dictionary", "chunks"],
)
def test_broken_utf8_is_rejected_in_its_own_place(name: str, array: pa.Array) -> None:
    entities = conform(pa.table({name: array}), ALL)
    assert entities.rejected == {1: f"{name}: not valid UTF-8"}
    assert entities.table[name].to_pylist() == ["good", None, "", "fine €"]


@pytest.mark.parametrize(
    "bad",
    [b"\x80", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xff"],
    ids=["tail", "cut", "overlong", "surrogate", "too large", "cut in three", "never"],
)
def test_every_way_to_break_utf8_is_noticed(bad: bytes) -> None:
    assert rejected("text", unchecked(b"a", bad, b"b")) == {1: "text: not valid UTF-8"}


def test_characters_broken_over_two_rows_are_rejected_in_both() -> None:
    assert list(rejected("text", unchecked(b"a\xe2\x82", b"\xac b", b"c"))) == [0, 1]


def test_broken_utf8_within_a_list_is_rejected_in_its_own_place() -> None:
    lists = pa.ListArray.from_arrays([0, 0, 1, 4], BROKEN)
    entities = conform(pa.table({"text": lists}), ALL)
    assert entities.rejected == {2: "text: not valid UTF-8"}
    entities.table.validate(full=True)
    assert entities.table["text"].to_pylist() == ["", "good", None]


def test_broken_utf8_in_an_id_is_rejected_in_its_own_place() -> None:
    entities = conform(pa.table({"text": ["a", "b", "c", "d"], "id": BROKEN}), ALL, first_row=5)
    assert entities.rejected == {1: "id: not valid UTF-8"}
    assert entities.ids.to_pylist() == ["good", "6", "", "fine €"]


def test_broken_utf8_in_a_number_is_rejected_in_its_own_place() -> None:
    assert list(rejected("number", unchecked(b"1", b"2\xff", b"3"))) == [1]


@pytest.mark.parametrize(
    "tags",
    [
        unchecked(b'{"a": "b"}', b'{"a": "\xff"}', b"{}"),
        pa.StructArray.from_arrays([unchecked(b"b", b"\xff", b"")], names=["a"]),
        pa.MapArray.from_arrays([0, 1, 2, 2], pa.array(["a", "a"]), unchecked(b"b", b"\xff")),
        pa.MapArray.from_arrays([0, 1, 2, 2], unchecked(b"a", b"\xff"), pa.array(["b", "b"])),
    ],
    ids=["JSON", "struct", "map", "keys of a map"],
)
def test_broken_utf8_in_tags_is_rejected_in_its_own_place(tags: pa.Array) -> None:
    assert list(rejected("tags", tags)) == [1]


@some
@given(st.lists(st.binary(max_size=6), min_size=1, max_size=5))
def test_a_row_is_rejected_exactly_if_python_cannot_decode_it(values: list[bytes]) -> None:
    def decodes(value: bytes) -> bool:
        try:
            value.decode()
        except UnicodeDecodeError:
            return False
        return True

    bad = [row for row, value in enumerate(values) if not decodes(value)]
    assert list(rejected("text", unchecked(*values))) == bad


# Records of parsed JSON.


@pytest.mark.parametrize("record", [None, 5, "x", [], [{}], True])
def test_a_record_that_is_no_object_is_rejected_in_its_own_place(record: Any) -> None:
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
def test_a_value_of_a_wrong_type_is_rejected_in_its_own_place(
    name: str, value: Any, expected: str
) -> None:
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
def test_a_record_becomes_canonical(name: str, value: Any, canonical: str | float | None) -> None:
    entities = from_records([{name: value}], ALL)
    assert not entities.rejected
    assert entities.table[name].to_pylist() == [canonical]


def test_no_records_are_no_entities() -> None:
    assert len(from_records([], ALL)) == 0


def test_records_with_no_known_key_are_entities_of_which_nothing_is_known() -> None:
    entities = from_records([{"title": "a"}, {}], ALL)
    assert entities.ids.to_pylist() == ["0", "1"]
    assert not entities.rejected
    assert entities.warnings == ["column 'title' is not in schema 'all'"]


def test_a_record_with_a_key_that_is_no_text_is_rejected_in_its_own_place() -> None:
    entities = from_records([{"text": "a"}, {1: "b", "text": "c"}], ALL)
    assert list(entities.rejected) == [1]


# Laws.

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
LONG = st.just("é" * 5_001)
NUMBERS = st.floats() | st.sampled_from([0.0, 89.5, -180.0, 200.0])
TAGS = st.dictionaries(TEXTS, TEXTS, max_size=3)


@st.composite
def columns(draw: st.DrawFn) -> dict[str, list[Any]]:
    """Columns of equal length that both Arrow and JSON can hold, good and bad."""
    rows = draw(st.integers(1, 5))
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "id": TEXTS,
        "text": TEXTS | LONG,
        "words": st.lists(TEXTS | LONG, max_size=3),
        "category": st.integers(-(2**63), 2**63 - 1),
        "web": TEXTS,
        "phone": st.lists(TEXTS, max_size=2),
        "number": NUMBERS,
        "lat": NUMBERS,
        "lon": NUMBERS,
        "tags": TAGS,
    }
    names = draw(st.sets(st.sampled_from(sorted(kinds))))
    names |= {"lat", "lon"} if names & {"lat", "lon"} else {"text"}
    return {
        name: draw(st.lists(st.none() | kinds[name], min_size=rows, max_size=rows))
        for name in sorted(names)
    }


def records_of(given: dict[str, list[Any]], leave_out: bool = False) -> list[dict[str, Any]]:
    """The same as records; nulls may be left out, but for those of points."""
    rows = [dict(zip(given, values, strict=False)) for values in zip(*given.values(), strict=True)]
    if not leave_out:
        return rows
    point = ("lat", "lon")
    return [{k: v for k, v in row.items() if v is not None or k in point} for row in rows]


KINDS = {
    **dict.fromkeys(["id", "text", "web"], pa.string()),
    **dict.fromkeys(["words", "phone"], pa.list_(pa.string())),
    **dict.fromkeys(["number", "lat", "lon"], pa.float64()),
    "category": pa.int64(),
    "tags": pa.map_(pa.string(), pa.string()),
}


def table_of(given: dict[str, list[Any]], tags: str = "map") -> pa.Table:
    """The same as an Arrow table, with tags as a map or as JSON."""
    if tags == "JSON" and "tags" in given:
        texts = [None if tags is None else orjson.dumps(tags).decode() for tags in given["tags"]]
        given = {**given, "tags": texts}
    elif "tags" in given:
        pairs = [None if tags is None else list(tags.items()) for tags in given["tags"]]
        given = {**given, "tags": pairs}
    kinds = KINDS | ({"tags": pa.string()} if tags == "JSON" else {})
    arrays = {name: pa.array(values, kinds[name]) for name, values in given.items()}
    return pa.table(arrays)


@some
@given(columns(), st.sampled_from(["map", "JSON"]), st.booleans(), st.integers(0, 99))
def test_records_and_tables_of_the_same_data_are_the_same_entities(
    given: dict[str, list[Any]], tags: str, leave_out: bool, first_row: int
) -> None:
    table = conform(table_of(given, tags), ALL, first_row)
    records = from_records(records_of(given, leave_out), ALL, first_row)
    assert records.rejected == table.rejected
    assert records.warnings == table.warnings
    for name in table.table.column_names:
        missing = [None] * len(table)
        found = records.table[name].to_pylist() if records.column(name) is not None else missing
        assert found == table.table[name].to_pylist()


def test_a_null_within_a_list_is_left_out_of_records_and_tables() -> None:
    lists = [["a", None], [None], ["b"], None]
    table = conform(pa.table({"text": pa.array(lists)}), ALL)
    assert table.table["text"].to_pylist() == ["a", "", "b", None]
    assert from_records([{"text": texts} for texts in lists], ALL).table.equals(table.table)


@pytest.mark.parametrize("tags", ['[["a", "b"]]', '["ab"]', "[]", "0", "false", '""', "null"])
def test_records_and_tables_agree_on_json_that_is_no_object(tags: str) -> None:
    table = conform(pa.table({"tags": [tags]}), ALL)
    records = from_records([{"tags": tags}], ALL)
    assert records.rejected.keys() == table.rejected.keys()
    assert records.table.equals(table.table)


@some
@given(columns())
def test_what_is_canonical_stays_as_it_is(given: dict[str, list[Any]]) -> None:
    given.pop("tags", None)
    once = conform(table_of(given), ALL)
    twice = conform(once.table, ALL)
    assert twice.table.equals(once.table)
    assert not twice.rejected


@some
@given(columns(), st.data())
def test_a_row_means_the_same_alone_as_among_others(
    given: dict[str, list[Any]], data: st.DataObject
) -> None:
    table = table_of(given)
    row = data.draw(st.integers(0, table.num_rows - 1))
    whole, alone = conform(table, ALL), conform(table.slice(row, 1), ALL, first_row=row)
    assert alone.table.equals(whole.table.slice(row, 1))
    assert alone.rejected.get(0) == whole.rejected.get(row)


BAD_RECORDS: list[Any] = [
    None,
    [],
    "text",
    {"text": 5},
    {"text": "x" * 10_001},
    {"words": ["a", 1]},
    {"category": 1.5},
    {"web": {}},
    {"phone": True},
    {"id": 0.5},
    {"number": "1"},
    {"number": math.inf},
    {"lat": 200, "lon": 0},
    {"lat": 1},
    {"tags": {"a": {}}},
    {"text": "\ud800"},
]


@some
@example({"text": ["a"], "lat": [1.0], "lon": [2.0]}, {"lat": 1}, 0)
@given(columns(), st.sampled_from(BAD_RECORDS), st.integers(0, 5))
def test_one_bad_record_never_changes_its_neighbours(
    given: dict[str, list[Any]], bad: Any, position: int
) -> None:
    good = records_of(given)
    if bad == {"lat": 1} and "lat" not in given:
        good = [{**record, "lat": None, "lon": None} for record in good]
    position = min(position, len(good))
    alone = from_records(good, ALL)
    with_bad = from_records([*good[:position], bad, *good[position:]], ALL)
    assert position in with_bad.rejected
    others = [row for row in range(len(with_bad)) if row != position]
    assert [with_bad.rejected.get(row) for row in others] == [
        alone.rejected.get(row) for row in range(len(alone))
    ]
    kept = with_bad.table.take(others).drop_columns("id")
    for name in alone.table.column_names[1:]:
        assert kept[name].to_pylist() == alone.table[name].to_pylist()


BAD_CELLS: dict[str, Any] = {
    "text": "x" * 10_001,
    "number": -math.inf,
    "lat": 91.0,
    "lon": math.nan,
}


@some
@given(columns(), st.sampled_from(sorted(BAD_CELLS)), st.integers(0, 4))
def test_one_bad_cell_never_changes_the_rows_beside_it(
    given: dict[str, list[Any]], name: str, row: int
) -> None:
    rows = len(next(iter(given.values())))
    row %= rows
    given = {"lat": [0.0] * rows, "lon": [0.0] * rows} | given
    cells = given.get(name, [None] * rows)
    good = conform(table_of(given), ALL)
    changed = {**given, name: [*cells[:row], BAD_CELLS[name], *cells[row + 1 :]]}
    if name == "lon":
        changed["lat"] = [*changed["lat"][:row], 1.0, *changed["lat"][row + 1 :]]
    bad = conform(table_of(changed), ALL)
    assert row in bad.rejected
    for other in set(range(rows)) - {row}:
        assert bad.rejected.get(other) == good.rejected.get(other)
        for field in good.table.column_names:
            assert bad.table[field][other] == good.table[field][other]


def test_a_rejected_row_is_blank_but_for_its_id() -> None:
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


def test_the_first_of_several_reasons_is_kept_and_rows_come_in_order() -> None:
    records: list[Any] = [{"text": 5, "number": math.inf}, {}, {"number": math.inf}, None]
    records.insert(0, {"number": math.inf})
    rejected = from_records(records, ALL).rejected
    assert list(rejected) == [0, 1, 3, 4]
    assert rejected[1] == "text: must be text or a list of texts"


def bad_tables() -> list[pa.Table]:
    """Tables with everything that can be wrong, and something private in every value."""
    private = PRIVATE.encode()
    text = pa.array([PRIVATE])
    number = pa.array([float(len(PRIVATE) * 1_000)])
    return [
        *(pa.table({name: [[[PRIVATE]]]}) for name in ["text", "number", "lat", "tags"]),
        pa.table({"text": text, "id": [[PRIVATE]]}),
        *(pa.table({name: [PRIVATE * 10_000]}) for name in TEXT_LIKE),
        *(pa.table({name: unchecked(private + b"\xff")}) for name in TEXT_LIKE),
        pa.table({"number": text}),
        pa.table({"tags": text}),
        pa.table({"tags": [f'{{"{PRIVATE}": {{"{PRIVATE}": 1}}}}']}),
        pa.table({"lat": text, "lon": number}),
        pa.table({"lat": number, "lon": number}),
        pa.table({"lat": number, "lon": pa.nulls(1)}),
        pa.table({"lat": text}),
    ]


def bad_records() -> list[Any]:
    """Records with everything that can be wrong, and something private in every value."""
    names = [*TEXT_LIKE, "number", "lat", "tags", "id"]
    values = [{PRIVATE: [PRIVATE]}, [PRIVATE, 1], {PRIVATE: {}}, PRIVATE + "\ud800"]
    return [
        PRIVATE,
        [PRIVATE],
        {"number": PRIVATE, "text": PRIVATE},
        {"text": PRIVATE * 10_000},
        *({name: value} for name in names for value in values),
    ]


@pytest.mark.parametrize("table", bad_tables(), ids=lambda table: str(table.schema))
def test_what_is_said_of_a_table_never_repeats_a_value(table: pa.Table) -> None:
    try:
        entities = conform(table, ALL)
    except DataError as error:
        said = [str(error)]
    else:
        said = [*entities.rejected.values(), *entities.warnings]
    assert said
    assert not any(PRIVATE in text or "5000" in text for text in said)


@pytest.mark.parametrize("record", bad_records(), ids=repr)
def test_what_is_said_of_a_record_never_repeats_a_value(record: Any) -> None:
    rejected = from_records([{"lon": 1, "lat": 1}, record], ALL).rejected
    assert list(rejected) == [1]
    assert PRIVATE not in rejected[1]


# Entities as such.


def test_entities_can_be_sliced_and_taken() -> None:
    entities = conform(pa.table({"text": ["a", "b", "c"], "id": ["x", "y", "z"]}), ALL)
    assert entities.slice(1, 2).ids.to_pylist() == ["y", "z"]
    taken = entities.take(np.array([2, 0, 2]))
    assert taken.ids.to_pylist() == ["z", "x", "z"]
    values = taken.column("text")
    assert values is not None
    assert values.to_pylist() == ["c", "a", "c"]


def test_a_slice_of_no_rows_is_no_entities() -> None:
    entities = conform(pa.table({"text": ["a"]}), ALL).slice(1, 5)
    assert len(entities) == 0
    assert entities.ids.to_pylist() == []


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_of_empty_entities_only_the_number_is_known(rows: int) -> None:
    entities = Entities.empty(ALL, rows)
    assert len(entities) == rows
    assert entities.ids.to_pylist() == [str(row) for row in range(rows)]
    assert all(entities.column(field) is None for field in ALL.fields)


def test_every_kind_is_covered_here() -> None:
    assert {column.kind for column in ALL.columns} == set(Kind)


def test_a_column_of_several_chunks_is_one_array() -> None:
    parts: Sequence[pa.Array] = [pa.array(["a"]), pa.array(["b", None])]
    values = conform(pa.table({"text": pa.chunked_array(parts)}), ALL).column("text")
    assert isinstance(values, pa.StringArray)
    assert values.to_pylist() == ["a", "b", None]
