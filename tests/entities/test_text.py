"""Unicode normalisation of texts."""

import unicodedata
from typing import Literal, get_args

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.entities.text import normalise, normalise_one

some = settings(max_examples=100, deadline=None)

INVISIBLE = (0x00AD, 0x200B, 0x2060, 0xFEFF)
TEXTS = st.text(st.characters(codec="utf-8"))
Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
MARKED = st.text(
    st.sampled_from(
        "aAß\u017f\u0131Iİ\u03a3\u03c2\u03c3\u1fb3\u0345\u0301\u0307\u0308\u1100\u1161\u11a8ﬁ①Ⅷ々\u212b\u200d\u00ad\u200b\u2060\ufeff"
    )
)
"""Texts of characters that normalisation folds, composes, reorders or expands."""


def reference_normalise(text: str) -> str:
    """Normalise a text by NFKC, case folding and NFKC again, with the module unicodedata."""
    visible = text.translate(dict.fromkeys(INVISIBLE))
    folded = unicodedata.normalize("NFKC", visible).casefold()
    return unicodedata.normalize("NFKC", folded)


@some
@given(st.lists(st.none() | TEXTS | MARKED))
def test_an_array_is_normalised_as_unicode_defines_it(texts: list[str | None]) -> None:
    expected = [None if text is None else reference_normalise(text) for text in texts]
    assert normalise(pa.array(texts, pa.string())).to_pylist() == expected


@some
@given(TEXTS | MARKED)
def test_one_text_is_normalised_like_an_array_of_one(text: str) -> None:
    assert normalise(pa.array([text])).to_pylist() == [normalise_one(text)]


@pytest.mark.parametrize("invisible", [*map(chr, INVISIBLE)], ids=ascii)
def test_invisible_characters_inside_a_word_are_removed(invisible: str) -> None:
    text = f"{invisible}Ca{invisible}fe{invisible}\u0301{invisible}"
    assert normalise_one(text) == "caf\u00e9"
    assert normalise(pa.array([text, None, "Bar"])).to_pylist() == ["caf\u00e9", None, "bar"]


@some
@given(TEXTS | MARKED)
def test_normalisation_is_idempotent(text: str) -> None:
    once = normalise_one(text)
    assert normalise_one(once) == once


def test_normalisation_is_idempotent_for_every_character() -> None:
    points = (point for point in range(0x110000) if not 0xD800 <= point < 0xE000)
    once = normalise(pa.array(map(chr, points), pa.string()))
    assert normalise(once).equals(once)


@some
@given(TEXTS | MARKED, st.sampled_from(get_args(Form)))
def test_all_unicode_forms_of_a_text_become_equal(text: str, form: Form) -> None:
    assert normalise_one(unicodedata.normalize(form, text)) == normalise_one(text)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Joe's PIZZA", "joe's pizza"),
        ("CAFÉ", "café"),
        ("Cafe\u0301", "café"),
        ("Straße", "strasse"),
        ("\uff2a\uff2f\uff25\u3000\uff11\uff12", "joe 12"),
        ("ﬁlet", "filet"),
        ("Ⅷ ½", "viii 1\u20442"),
        ("\u039f\u0394\u039f\u03a3", "\u03bf\u03b4\u03bf\u03c3"),
        ("ｶﾌｪ", "カフェ"),
        ("\u1112\u1161\u11ab", "한"),
        ("N\u00a0O", "n o"),
    ],
)
def test_variants_of_a_text_become_equal(text: str, normal: str) -> None:
    assert normalise_one(text) == normal


@pytest.mark.parametrize("filler", ["ASCII", "ÄÖÜ"], ids=["ASCII", "beyond"])
def test_nulls_keep_their_positions(filler: str) -> None:
    texts = pa.array([None, filler, None, "", None])
    assert normalise(texts).to_pylist() == [None, filler.lower(), None, "", None]


def test_an_array_of_nulls_is_accepted() -> None:
    assert normalise(pa.nulls(3, pa.string())).to_pylist() == [None, None, None]


def test_an_empty_array_stays_empty() -> None:
    assert normalise(pa.array([], pa.string())).to_pylist() == []


def test_a_slice_is_normalised_like_a_whole_array() -> None:
    texts = pa.array(["CUT", "Ä", None, "B", "CUT"])
    assert normalise(texts.slice(1, 3)).to_pylist() == ["ä", None, "b"]
    assert normalise(texts.slice(3, 1)).to_pylist() == ["b"]
