"""Arrow types of columns: accepted types and refused types."""

import datetime
import decimal
import itertools
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

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
def test_tags_can_be_a_map_a_struct_or_json(tags: pa.Array) -> None:
    assert column(tags, "tags") == ["a=1;a=3;b=2", None, None]


def test_the_value_of_a_tag_can_be_text_a_number_or_a_boolean() -> None:
    tags = '{"a": "x", "b": 1, "c": 1.5, "d": true, "e": false, "f": null, "g": ""}'
    assert column(pa.array([tags]), "tags") == ["a=x;b=1;c=1.5;d=yes;e=no;g="]


@pytest.mark.parametrize("tags", ["5", "{", "[1]", '{"a": {}}', '{"a": ["x"]}', '"ab"', "a=b"])
def test_tags_that_do_not_map_text_to_text_reject_only_their_rows(tags: str) -> None:
    entities = from_table(pa.table({"tags": ['{"a": "b"}', tags]}), ALL)
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
def test_a_column_of_a_wrong_type_is_named_in_the_error(name: str, array: pa.Array) -> None:
    with pytest.raises(DataError, match=f"column '{name}' holds"):
        from_table(pa.table({name: array, "words" if name == "text" else "text": ["x"]}), ALL)


def test_the_schema_of_these_tests_has_all_kinds() -> None:
    assert {column.kind for column in ALL.columns} == set(Kind)
