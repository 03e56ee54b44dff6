"""Tokens of words and rows: equal and different tokens, and their counts."""

import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.models.features import tokens
from labelwright.models.features.tokens import decode, row_tokens, scratch
from tests.models.features.tokens_of_values import (
    KINDS,
    counts_of,
    found,
    groups_of,
    laid_out,
    some,
    source_of,
    tokens_of,
)

# Counts.


@some
@given(st.lists(st.sampled_from(["a", "b", "cc", "dd"]), min_size=1, max_size=30))
def test_words_are_counted(words: list[str]) -> None:
    counts = counts_of(words=" ".join(words))
    single = {word: tokens_of(words=word) for word in set(words)}
    assert {word: counts[token] for word, (token,) in single.items()} == Counter(words)


@some
@given(st.lists(st.sampled_from(["tea", "bar", "ice"]), min_size=1, max_size=10), st.integers(1, 5))
def test_a_text_that_is_repeated_multiplies_the_counts_of_its_words(
    words: list[str], times: int
) -> None:
    once, repeated = counts_of(text=" ".join(words)), counts_of(text=" ".join(words * times))
    (token,) = tokens_of(text=words[0])
    assert repeated[token] == times * once[token]
    assert sum(repeated.values()) == times * (sum(once.values()) + 1) - 1  # a pair at each joint


def test_tokens_that_occur_once_have_the_count_one() -> None:
    assert set(counts_of(name="Golden Dragon", phone="5551", tags={"k": "v"}).values()) == {1}


# Characters.


def small(text: str) -> str:
    """A text with its ASCII letters in lower case."""
    return text.translate({point: point + 32 for point in range(ord("A"), ord("Z") + 1)})


@some
@given(st.text(st.characters(codec="utf-8")), st.binary(max_size=4))
def test_text_is_decoded_as_in_python(text: str, before: bytes) -> None:
    data = np.frombuffer(bytearray(before + text.encode() + b"\xff"), np.uint8)
    points = np.zeros(len(text) + 1, np.int32)
    assert decode(data, len(before), data.size - 1, points) == len(text)
    assert points.tolist() == [*map(ord, small(text)), 0]


def test_every_code_point_is_decoded_as_in_python() -> None:
    text = "".join(chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000)
    data = np.frombuffer(bytearray(text.encode()), np.uint8)
    points = np.zeros(len(text), np.int32)
    assert decode(data, 0, data.size, points) == len(text)
    assert np.array_equal(points, np.frombuffer(small(text).encode("utf-32-le"), np.int32))


SCRIPTS = {
    "Latin": "Café",
    "Cyrillic": "\u0410\u043f\u0442\u0435\u043a\u0430",
    "Greek": "\u03a6\u03b1\u03c1\u03bc\u03b1\u03ba\u03b5\u03af\u03bf",
    "Arabic": "\u0635\u064a\u062f\u0644\u064a\u0629",
    "Hebrew": "\u05d1\u05d9\u05ea",
    "Devanagari": "\u0926\u0935\u093e\u0916\u093e\u0928\u093e",
    "Tamil": "\u0bae\u0bb0\u0bc1\u0ba8\u0bcd\u0ba4\u0b95\u0bae\u0bcd",
    "Thai": "\u0e23\u0e49\u0e32\u0e19\u0e22\u0e32",
    "Lao": "\u0eae\u0ec9\u0eb2\u0e99",
    "Khmer": "\u17a2\u17b6\u17a0\u17b6\u179a",
    "Burmese": "\u1006\u1031\u1038",
    "Georgian": "\u10d0\u10e4\u10d7\u10d8",
    "Armenian": "\u0534\u0565\u0572",
    "Ethiopic": "\u1218\u12f5",
    "Chinese": "\u836f\u5e97",
    "rare Chinese": "\U00020000\U0002a6df",
    "Japanese": "\u30b3\u30f3\u30d3\u30cb",
    "Hiragana": "\u3059\u3057",
    "Korean": "\uc57d\uad6d",
    "digits": "24",
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("name", [name for name in KINDS if name != "phone"])
def test_every_script_gives_tokens(script: str, name: str) -> None:
    assert found(laid_out(name, SCRIPTS[script]))


@pytest.mark.parametrize("script", ["Chinese", "rare Chinese", "Japanese", "Hiragana", "Thai"])
def test_scripts_without_spaces_give_a_word_for_each_character(script: str) -> None:
    text = SCRIPTS[script]
    words = set().union(*(tokens_of(text=character) for character in text))
    assert len(words) == len(set(text))
    assert words < tokens_of(text=text)


@pytest.mark.parametrize(
    "script", ["Latin", "Cyrillic", "Arabic", "Hebrew", "Devanagari", "Tamil", "Korean", "digits"]
)
def test_scripts_with_spaces_give_a_word_for_each_word(script: str) -> None:
    assert len(tokens_of(text=SCRIPTS[script])) == 1


def test_letters_and_symbols_have_the_categories_of_unicode() -> None:
    classes = tokens.character_classes()
    categories = [unicodedata.category(chr(point))[0] for point in range(classes.size)]
    silent = {0x27, 0x60, 0xB4, 0x2BC, 0x2019, 0x200C, 0x200D, 0xFE0E, 0xFE0F}
    assert {*np.flatnonzero(classes == tokens.JOINER)} == silent
    for point, category in enumerate(categories):
        if point not in silent and point != ord(";"):
            seen = classes[point] in (tokens.LETTER, tokens.IDEOGRAPH)
            assert seen == (category in "LMN")
            assert (classes[point] == tokens.SYMBOL) == (category in "PS")
    assert classes[ord(";")] == tokens.SEPARATOR


# Words and character n-grams.


def test_a_text_has_words_and_pairs_of_neighbours() -> None:
    a, b, c = (tokens_of(text=word) for word in ("a", "b", "c"))
    both = tokens_of(text="a b c")
    assert len(both) == 5
    assert a | b | c < both
    assert tokens_of(text="a b") & tokens_of(text="b c") == b
    assert tokens_of(text="a b") < both
    assert not tokens_of(text="a c") <= both


def test_the_order_of_words_changes_only_pairs() -> None:
    there, back = tokens_of(text="joes pizza"), tokens_of(text="pizza joes")
    assert there & back == tokens_of(text="joes") | tokens_of(text="pizza")
    assert len(there - back) == len(back - there) == 1


@pytest.mark.parametrize("separator", [" ", ";", "\0", "\n", "\u3000", " ; "])
def test_spaces_and_separators_of_values_separate_words(separator: str) -> None:
    assert tokens_of(name=f"joes{separator}pizza") == tokens_of(name="joes pizza")


@pytest.mark.parametrize("symbol", ["-", "/", ", ", " & ", "—", "🍕", "+", "#"])
def test_a_symbol_is_a_word_and_does_not_separate_a_pair(symbol: str) -> None:
    apart, parted = tokens_of(name="joes pizza"), tokens_of(name=f"joes{symbol}pizza")
    alone = tokens_of(name=symbol.strip())
    assert len(alone) == 1
    assert apart | alone <= parted
    touching = (not symbol.startswith(" ")) + (not symbol.endswith(" "))
    assert len(parted - apart - alone) == touching


def test_a_symbol_forms_pairs_with_adjacent_words() -> None:
    plain, sharp, plus = (tokens_of(text=text) for text in ("c", "c#", "c+"))
    assert plain < sharp
    assert len(sharp - plain) == len(plus - plain) == 2
    assert not (sharp & plus) - plain
    assert tokens_of(text=".net") - tokens_of(text="net") - tokens_of(text=".")
    assert tokens_of(text="c #") == tokens_of(text="c") | tokens_of(text="#")


@pytest.mark.parametrize("apostrophe", ["'", "\u2019", "\u02bc", "`", "\u200d", "\u200c"])
def test_an_apostrophe_joins_the_letters_around_it(apostrophe: str) -> None:
    assert tokens_of(name=f"Joe{apostrophe}s Pizza") == tokens_of(name="Joes Pizza")


@pytest.mark.parametrize("name", [name for name in KINDS if name != "phone"])
@pytest.mark.parametrize("invisible", ["\u00ad", "\u200b", "\u2060", "\ufeff"], ids=ascii)
def test_an_invisible_character_inside_a_word_changes_no_token(name: str, invisible: str) -> None:
    words = "Caf\u00e9 Apotheke \u1780\u1781 x.example"
    broken = invisible.join(words)
    given = ({"a": broken}, {"a": words}) if name == "tags" else (broken, words)
    assert tokens_of(**{name: given[0]}) == tokens_of(**{name: given[1]})
    assert tokens_of(**{name: given[1]})


@pytest.mark.parametrize(
    "variant",
    ["JOE'S CAFÉ", "  joe's  café ", "Joe\u2019s Cafe\u0301", "\uff2aoe's café"],
)
def test_case_spacing_and_spelling_do_not_change_tokens(variant: str) -> None:
    assert tokens_of(name=variant) == tokens_of(name="Joe's Café")


def test_a_name_has_character_n_grams_of_three_to_five_letters_and_edges() -> None:
    word, name = tokens_of(text="abcd"), tokens_of(name="abcd")
    assert len(word) == 1
    assert len(name) == 1 + 4 + 3 + 2
    assert len(tokens_of(name="a")) == 1 + 1


def test_a_character_n_gram_is_part_of_one_word() -> None:
    first, second = tokens_of(name="alpha"), tokens_of(name="beta")
    both = tokens_of(name="alpha beta")
    assert first | second < both
    assert len(both - first - second) == 1


def test_similar_names_share_character_n_grams_but_no_word() -> None:
    shared = tokens_of(name="pharmacy") & tokens_of(name="pharmacie")
    assert groups_of(shared) == {tokens.LETTER_GROUP}
    assert len(shared) > 5


def test_word_columns_are_split_only_at_white_space() -> None:
    assert len(tokens_of(words="w1 a-b;c\tw1\n")) == 2
    assert tokens_of(words="w1  a-b;c ") == tokens_of(words="a-b;c") | tokens_of(words="w1")


# Columns, groups and rows.


def test_the_same_text_in_different_columns_gives_different_tokens() -> None:
    seen: set[int] = set()
    for name in KINDS:
        value = {"12": "12"} if name == "tags" else "12"
        given = tokens_of(**{name: value})
        assert given
        assert not given & seen
        seen |= given


def test_a_row_has_the_tokens_of_all_columns() -> None:
    record = {
        "name": "Joe's",
        "category": "us",
        "tags": {"a": "b"},
        "web": "a.example",
        "phone": "+1 212",
    }
    apart = [tokens_of(**{name: value}) for name, value in record.items()]
    assert tokens_of(**record) == frozenset().union(*apart)


@pytest.mark.parametrize("repeats", [1, 2, 3, 500])
def test_the_tokens_of_a_row_are_distinct(repeats: int) -> None:
    names = " ".join(str(n) for n in range(repeats))
    source = source_of({"text": "a b " * repeats, "name": f"{names} {names}"})
    space = scratch(source)
    count = row_tokens(0, source, space)
    assert len(set(space.tokens[:count].tolist())) == count
    assert count >= repeats


def test_an_empty_row_has_no_tokens() -> None:
    assert tokens_of() == frozenset()
    source = source_of({"text": None}, {"text": "a"}, {})
    assert [row_tokens(row, source, scratch(source)) for row in range(3)] == [0, 1, 0]


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("name", {tokens.LETTER_GROUP, tokens.WORD_GROUP}),
        ("words", {tokens.WORD_GROUP}),
        *((name, {tokens.CONTEXT_GROUP}) for name in ("text", "category", "tags", "web", "phone")),
    ],
)
def test_a_token_contains_its_group(name: str, groups: set[int]) -> None:
    assert groups_of(found(laid_out(name, "abc.de=12 3"))) == groups
