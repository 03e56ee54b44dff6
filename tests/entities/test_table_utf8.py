"""Text that is not valid UTF-8 rejects only its row."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.entities.tables import from_table
from tests.entities.canonical import ALL, TEXT_LIKE, rejected, some, unchecked

BROKEN = unchecked(b"good", b"bad \xff\xfe", b"", b"fine \xe2\x82\xac")


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
def test_broken_utf8_rejects_only_its_row(name: str, array: pa.Array) -> None:
    entities = from_table(pa.table({name: array}), ALL)
    assert entities.rejected == {1: f"{name}: not valid UTF-8"}
    assert entities.table[name].to_pylist() == ["good", None, "", "fine €"]


@pytest.mark.parametrize(
    "bad",
    [b"\x80", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xff"],
    ids=["tail", "cut", "overlong", "surrogate", "too large", "cut in three", "never"],
)
def test_all_kinds_of_invalid_utf8_are_detected(bad: bytes) -> None:
    assert rejected("text", unchecked(b"a", bad, b"b")) == {1: "text: not valid UTF-8"}


def test_a_character_split_over_two_rows_rejects_both() -> None:
    assert list(rejected("text", unchecked(b"a\xe2\x82", b"\xac b", b"c"))) == [0, 1]


def test_broken_utf8_within_a_list_rejects_only_its_row() -> None:
    lists = pa.ListArray.from_arrays([0, 0, 1, 4], BROKEN)
    entities = from_table(pa.table({"text": lists}), ALL)
    assert entities.rejected == {2: "text: not valid UTF-8"}
    entities.table.validate(full=True)
    assert entities.table["text"].to_pylist() == ["", "good", None]


def test_broken_utf8_in_an_id_rejects_only_its_row() -> None:
    entities = from_table(pa.table({"text": ["a", "b", "c", "d"], "id": BROKEN}), ALL, first_row=5)
    assert entities.rejected == {1: "id: not valid UTF-8"}
    assert entities.ids.to_pylist() == ["good", "row-6", "", "fine €"]


def test_broken_utf8_in_a_number_rejects_only_its_row() -> None:
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
def test_broken_utf8_in_tags_rejects_only_its_row(tags: pa.Array) -> None:
    assert list(rejected("tags", tags)) == [1]


@some
@given(st.lists(st.binary(max_size=6), min_size=1, max_size=5))
def test_exactly_the_rows_that_python_cannot_decode_are_rejected(values: list[bytes]) -> None:
    def decodes(value: bytes) -> bool:
        try:
            value.decode()
        except UnicodeDecodeError:
            return False
        return True

    bad = [row for row, value in enumerate(values) if not decodes(value)]
    assert list(rejected("text", unchecked(*values))) == bad
