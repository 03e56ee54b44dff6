"""Arrow types of columns: accepted types and refused types."""

import datetime
import decimal
import itertools
import math
import uuid
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from labelwright.entities.arrays import is_list
from labelwright.entities.errors import DataError
from labelwright.entities.schema import Kind
from labelwright.entities.tables import from_table
from tests.entities.canonical import ALL, TEXT_LIKE, column

Build = Callable[[list[str | None]], pa.Array]


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
def test_text_can_have_any_arrow_type_of_text(name: str, build: Build) -> None:
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


def test_an_empty_list_becomes_an_empty_text() -> None:
    assert column(pa.array([[], None], pa.list_(pa.null())), "text") == ["", None]


@pytest.mark.parametrize("name", ["category", "phone"])
@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.uint8(), pa.uint64()], ids=str)
def test_categories_and_phones_can_be_whole_numbers(name: str, kind: pa.DataType) -> None:
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
def test_a_number_can_have_any_arrow_type_of_number(kind: pa.DataType) -> None:
    given = [decimal.Decimal(7), None] if pa.types.is_decimal(kind) else [7, None]
    values = np.array([7], np.float16) if kind == pa.float16() else given
    assert column(pa.array(values, kind), "number")[0] == pytest.approx(7)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_a_number_can_be_text(kind: pa.DataType) -> None:
    texts = ["7", " -1.5e2 ", "", "  ", "nan", None]
    assert column(pa.array(texts, kind), "number") == [7, -150, None, None, None, None]


def test_a_text_that_is_not_a_number_rejects_only_its_row() -> None:
    entities = from_table(pa.table({"number": ["1", "one", "2"]}), ALL)
    assert entities.rejected == {1: "number: must be a number"}
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
def test_tags_can_be_a_map_a_struct_or_json(tags: pa.Array) -> None:
    assert column(tags, "tags") == ["a=1;a=3;b=2", None, None]


def test_the_value_of_a_tag_can_be_text_a_number_or_a_boolean() -> None:
    tags = '{"a": "x", "b": 1, "c": 1.5, "d": true, "e": false, "f": null, "g": ""}'
    assert column(pa.array([tags]), "tags") == ["a=x;b=1;c=1.5;d=yes;e=no;g="]


@pytest.mark.parametrize("tags", ["5", "{", "[1]", '{"a": {}}', '{"a": ["x"]}', '"ab"', "a=b"])
def test_tags_that_do_not_map_text_to_text_reject_only_their_rows(tags: str) -> None:
    entities = from_table(pa.table({"tags": ['{"a": "b"}', tags]}), ALL)
    assert entities.rejected == {1: "tags: must be an object of texts"}
    assert entities.table["tags"].to_pylist() == ["a=b", None]


UUID = uuid.UUID(int=7)


def json_values(*texts: str | None) -> pa.Array:
    """A column of Arrow's extension type for JSON."""
    return pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(texts, pa.string()))


OTHER = {"number": [1, 2]}
SPELLED = [
    (pa.array([b"Caf\xc3\xa9"]), "Café"),
    (pa.array([b"ab"], pa.binary(2)), "ab"),
    (pa.array([b"x"], pa.large_binary()), "x"),
    (pa.array([b"x"], pa.binary_view()), "x"),
    (pa.array([b"x"], pa.binary()).dictionary_encode(), "x"),
    (pa.array(["x"], pa.large_string()).cast(pa.string_view()), "x"),
    (pa.DictionaryArray.from_arrays(pa.array([0]), pa.array(["x"], pa.string_view())), "x"),
    (pa.array([UUID], pa.uuid()), str(UUID)),
    (pa.array([datetime.date(2024, 12, 31)]), "2024-12-31"),
    (pa.array([datetime.date(2024, 12, 31)], pa.date64()), "2024-12-31"),
    (pa.array([datetime.datetime(2024, 12, 31)], pa.timestamp("ns")), "2024-12-31"),
    (pa.array([datetime.datetime(2024, 12, 31, 9, 30)]), "2024-12-31T09:30:00"),
    (
        pa.array([datetime.datetime(2024, 1, 1)], pa.timestamp("s", "UTC")),
        "2024-01-01T00:00:00+00:00",
    ),
    (json_values('"x"'), "x"),
    (json_values('["x", "y"]'), "x;y"),
    (pa.array([["x", None, "y"]], pa.list_(pa.string(), 3)), "x;y"),
    (pa.array([["x", "y"]], pa.list_view(pa.string())), "x;y"),
    (pa.array([["x", "y"]], pa.large_list_view(pa.large_string())), "x;y"),
    (pa.array([["x", "y"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))), "x;y"),
    (pa.array([["x", "y"]], pa.large_list(pa.binary_view())), "x;y"),
    (pa.ListArray.from_arrays([0, 1], pa.array([UUID], pa.uuid())), str(UUID)),
]
WHOLE = [
    pa.array([75001.0]),
    pa.array([75001.0], pa.float32()),
    pa.array([75001.0]).dictionary_encode(),
    pa.array([decimal.Decimal("75001")], pa.decimal128(9, 0)),
    pa.array([decimal.Decimal("75001")], pa.decimal256(50, 2)),
    json_values("75001.0"),
]


@pytest.mark.parametrize(
    ("array", "text"),
    SPELLED,
    ids=lambda given: str(given.type) if isinstance(given, pa.Array) else "",
)
@pytest.mark.parametrize("name", [*TEXT_LIKE, "id"])
def test_values_with_one_usual_spelling_are_text(name: str, array: pa.Array, text: str) -> None:
    if name == "id" and is_list(array.type):
        with pytest.raises(DataError, match="column 'id' holds"):
            from_table(pa.table({"id": array, "number": [1]}), ALL)
        return
    with_null = pa.chunked_array([array, pa.nulls(1, array.type)])
    entities = from_table(pa.table({name: with_null, **OTHER}), ALL)
    assert not entities.rejected
    assert entities.table[name].to_pylist() == [text, "row-1" if name == "id" else None]
    assert entities.table.schema.field(name).type == pa.string()


@pytest.mark.parametrize("array", WHOLE, ids=lambda array: str(array.type))
@pytest.mark.parametrize("name", ["category", "phone", "id"])
def test_whole_numbers_with_gaps_have_no_fraction(name: str, array: pa.Array) -> None:
    with_null = pa.chunked_array([array, pa.nulls(1, array.type)])
    entities = from_table(pa.table({name: with_null, **OTHER}), ALL)
    assert entities.table[name].to_pylist() == ["75001", "row-1" if name == "id" else None]
    if not isinstance(array.type, pa.BaseExtensionType):
        assert column(pa.ListArray.from_arrays([0, 1], array), "category") == ["75001"]


@pytest.mark.parametrize("name", ["category", "phone", "id"])
def test_a_number_with_a_fraction_rejects_only_its_row(name: str) -> None:
    entities = from_table(
        pa.table({name: [1.5, math.nan, math.inf, 7.0], "text": list("abcd")}), ALL
    )
    assert entities.rejected == {
        0: f"{name}: must be text or a whole number, and has a fraction",
        2: f"{name}: must be finite",
    }
    assert entities.table["text"].to_pylist() == [None, "b", None, "d"]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([2**31 - 1, 1], pa.int32()).view(pa.date32()),
        pa.array([2**62, 1]).view(pa.timestamp("s")),
        json_values("[1", "1"),
    ],
    ids=lambda array: str(array.type),
)
def test_a_value_that_python_cannot_represent_rejects_only_its_row(array: pa.Array) -> None:
    entities = from_table(pa.table({"category": array}), ALL)
    assert entities.rejected == {0: f"category: not a valid {array.type}"}


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()], ids=str)
def test_binary_that_is_not_utf8_rejects_only_its_row(kind: pa.DataType) -> None:
    values = [b"a", b"\xff", b"b"]
    entities = from_table(pa.table({"text": pa.array(values, kind)}), ALL)
    assert entities.rejected == {1: "text: not valid UTF-8"}
    assert entities.table["text"].to_pylist() == ["a", None, "b"]
    lists = pa.array([[b"a"], [b"b", b"\xff"], None], pa.list_(kind))
    entities = from_table(pa.table({"text": lists}), ALL)
    assert entities.rejected == {1: "text: not valid UTF-8"}
    assert entities.table["text"].to_pylist() == ["a", None, None]


@pytest.mark.parametrize(
    "kind",
    [
        pa.bool_(),
        pa.list_(pa.int64()),
        pa.struct([("a", pa.float64())]),
        pa.duration("s"),
        pa.float64(),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", [*TEXT_LIKE, "number", "tags"])
def test_a_column_without_values_can_have_any_type(name: str, kind: pa.DataType) -> None:
    assert column(pa.nulls(2, kind), name) == [None, None]


def test_hidden_items_of_a_null_list_are_ignored() -> None:
    lists = pa.ListArray.from_arrays(
        pa.array([0, 2, 3], pa.int32()), pa.array(["a", "b", "c"]), mask=pa.array([True, False])
    )
    assert column(lists, "text") == [None, "c"]


TAG_TYPES = [
    pa.array(
        [{"b": "2", "a": 1.0}, None], pa.struct([("b", pa.string_view()), ("a", pa.float64())])
    ),
    pa.array([[{"key": "b", "value": "2"}, {"key": "a", "value": "1"}], None]),
    pa.array(
        [[{"key": "b", "value": "2"}, {"key": "a", "value": "1"}], None],
        pa.large_list(pa.struct([("key", pa.string_view()), ("value", pa.string_view())])),
    ),
    pa.array([[["b", "2"], ["a", "1"]], None]),
    json_values('{"b": 2, "a": "1"}', None),
    pa.array([b'{"b": 2, "a": 1}', None]),
    pa.array([{"b": decimal.Decimal("2"), "a": 1, "c": math.nan}, None]),
]


@pytest.mark.parametrize("tags", TAG_TYPES, ids=lambda array: str(array.type))
def test_tags_can_be_as_other_programs_write_maps(tags: pa.Array) -> None:
    assert column(tags, "tags") == ["a=1;b=2", None]
    assert column(tags.slice(1), "tags") == [None]


NO_TEXT = [
    pa.array([True]),
    pa.array([datetime.timedelta(1)]),
    pa.array([datetime.time(1)]),
    pa.array([{"a": "x"}]),
    pa.array([[True]]),
    pa.array([[["x"]]]),
    pa.array([[("a", "x")]], pa.map_(pa.string(), pa.string())),
]
NO_NUMBER = [*NO_TEXT, pa.array([["x"]]), pa.array([UUID], pa.uuid())]
NO_TAGS = [*NO_TEXT[:3], NO_TEXT[4], pa.array([["x"]]), pa.array([1]), pa.array([1.5])]


@pytest.mark.parametrize(
    ("name", "array"),
    [
        *itertools.product(TEXT_LIKE, NO_TEXT),
        *itertools.product(["text", "words", "web"], [pa.array([1]), pa.array([1.5])]),
        *itertools.product(["number", "lat"], NO_NUMBER),
        *itertools.product(["tags"], NO_TAGS),
        *itertools.product(["id"], [*NO_TEXT, pa.array([["x"]])]),
    ],
    ids=lambda given: given if isinstance(given, str) else str(given.type),
)
def test_a_column_of_a_wrong_type_is_named_in_the_error(name: str, array: pa.Array) -> None:
    with pytest.raises(DataError, match=f"column '{name}' holds"):
        from_table(pa.table({name: array, "words" if name == "text" else "text": ["x"]}), ALL)


def test_the_schema_of_these_tests_has_all_kinds() -> None:
    assert {column.kind for column in ALL.columns} == set(Kind)
