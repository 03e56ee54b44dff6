"""Parsing of JSON with the extensions that programs write."""

import json
import math

import pytest

from labelwright.entities.json_text import parse_json


@pytest.mark.parametrize(
    "text", [b'{"a": 1}', '{"a": 1}', b'\xef\xbb\xbf{"a": 1}', '\ufeff{"a": 1}']
)
def test_a_byte_order_mark_is_ignored(text: bytes | str) -> None:
    assert parse_json(text) == {"a": 1}


def test_nan_is_a_missing_value_and_infinity_a_number() -> None:
    text = b"[NaN, Infinity, -Infinity, 1e999, 100000000000000000000]"
    assert parse_json(text) == [None, math.inf, -math.inf, math.inf, 10**20]


def test_half_of_a_surrogate_pair_is_kept() -> None:
    assert parse_json(b'{"\\ud83d": "x\\ud83d"}') == {"\ud83d": "x\ud83d"}


@pytest.mark.parametrize(
    "text",
    [
        *(
            b"",
            b"{",
            b"{'a': 1}",
            b"[1,]",
            b"nan",
            b"-NaN",
            b"1 2",
            b'"\0"',
            b'"\xff"',
            b'"\xed\xa0\x80"',
        ),
        *(b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5_000, b'{"a": 1}'.decode().encode("utf-16")),
    ],
    ids=lambda text: repr(text[:12]),
)
def test_other_text_is_an_error_with_its_place(text: bytes) -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        parse_json(text)
    assert caught.value.lineno == 1
