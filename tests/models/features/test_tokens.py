"""Tokens of values: equal and different tokens, and the largest number of tokens."""

import unicodedata
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import from_records
from labelwright.models.features import tokens
from labelwright.models.features.space import token_source
from labelwright.models.features.tokens import (
    Scratch,
    TokenSource,
    decode,
    row_tokens,
    scratch,
    tokens_at_most,
)

some = settings(max_examples=60, deadline=None)

SCHEMA = EntitySchema.from_mapping(
    {
        "name": "all",
        "columns": {
            "text": {"kind": "text", "grams": False},
            "name": {"kind": "text"},
            "words": {"kind": "words"},
            "category": {"kind": "category"},
            "tags": {"kind": "tags"},
            "web": {"kind": "web"},
            "phone": {"kind": "phone"},
        },
    }
)
KINDS = {
    "text": tokens.TEXT,
    "name": tokens.NAME,
    "words": tokens.WORDS,
    "category": tokens.VALUES,
    "tags": tokens.TAGS,
    "web": tokens.WEB,
    "phone": tokens.PHONE,
}
"""The way in which the values of each column are split."""
NO_NUMBERS = np.zeros((0, 15))

TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
NASTY = st.text(st.sampled_from(";=:/. wa1-'\u4e2d\u0e01\u0301\U00020000"), max_size=40)
"""Texts in which nearly every character begins or ends a token."""


def source_of(*records: dict[str, Any]) -> TokenSource:
    """Records, none of which may be rejected, as arrays for kernels."""
    entities = from_records(records, SCHEMA)
    assert not entities.rejected
    return token_source(entities, NO_NUMBERS)


def laid_out(name: str, text: str) -> TokenSource:
    """One value as arrays for kernels. The value is not parsed, even in the column `tags`."""
    data = np.frombuffer(bytearray(text.encode()), np.uint8)
    return TokenSource(
        np.array([KINDS[name]], np.int8),
        np.array([0x5EED], np.uint64),
        np.array([[0, data.size]], np.int64),
        data,
        np.zeros((1, 0), np.uint64),
        tokens.character_classes(),
        0,
        data.size,
    )


def found(source: TokenSource) -> frozenset[int]:
    """The tokens of the only row."""
    space = scratch(source)
    count = row_tokens(0, source, space)
    result = frozenset(space.tokens[:count].tolist())
    assert len(result) == count
    return result


def tokens_of(**record: Any) -> frozenset[int]:
    return found(source_of(record))


def groups_of(given: frozenset[int]) -> set[int]:
    return {tokens.group_of(np.uint64(token)) for token in given}


def counts_of(**record: Any) -> dict[int, int]:
    """The tokens of a record, and how often each of them occurs."""
    source = source_of(record)
    space = scratch(source)
    size = row_tokens(0, source, space)
    return dict(zip(space.tokens[:size].tolist(), space.counts[:size].tolist(), strict=True))


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


# Values, tags, phones, addresses.


def test_a_category_has_a_token_for_each_whole_value() -> None:
    assert len(tokens_of(category="New York")) == 1
    assert tokens_of(category="DE;fr") == tokens_of(category="de") | tokens_of(category="FR")
    assert tokens_of(category=["DE", "FR"]) == tokens_of(category="DE;FR")


@pytest.mark.parametrize(
    "variant", ["new york", " New  York ", "NEW\tYORK", ";New York;;", "; ;new york"]
)
def test_case_and_outer_spaces_of_a_category_do_not_change_tokens(variant: str) -> None:
    assert tokens_of(category=variant) == tokens_of(category="New York")


def test_spaces_within_a_category_change_tokens() -> None:
    assert tokens_of(category="newyork") != tokens_of(category="new york")


def test_a_tag_has_a_token_for_the_key_and_a_token_for_the_whole_tag() -> None:
    pizza, pasta = tokens_of(tags={"cuisine": "pizza"}), tokens_of(tags={"cuisine": "pasta"})
    assert len(pizza) == len(pasta) == 2
    assert len(pizza & pasta) == 1
    assert not pizza & tokens_of(tags={"shop": "pizza"})


def test_several_values_of_a_tag_are_several_tags() -> None:
    both = tokens_of(tags={"cuisine": "pizza; pasta"})
    assert both == tokens_of(tags={"cuisine": "pizza"}) | tokens_of(tags={"cuisine": "pasta"})


def test_the_order_of_tags_does_not_change_tokens() -> None:
    assert tokens_of(tags={"a": "1", "b": "2"}) == tokens_of(tags={"b": "2", "a": "1"})
    assert tokens_of(tags={"a": "1", "b": "2"}) == tokens_of(tags='{"B": 2, "A": 1}')


PHONE = "+1 212 366-1182"


@pytest.mark.parametrize("digits", ["12", "1212", "12123", "121236", "1212366", "12123661"])
def test_phone_numbers_with_the_same_beginning_share_prefixes(digits: str) -> None:
    shared = tokens_of(phone=PHONE) & tokens_of(phone=digits)
    assert len(shared) == len(tokens_of(phone=digits)) - 1


def test_a_phone_number_has_six_prefixes_and_a_token_for_all_digits() -> None:
    assert len(tokens_of(phone=PHONE)) == 7
    assert len(tokens_of(phone="1")) == 1


def test_a_whole_number_differs_from_a_prefix() -> None:
    assert len(tokens_of(phone="12") & tokens_of(phone="123")) == 1
    assert len(tokens_of(phone="12")) == 2


@pytest.mark.parametrize(
    "variant", ["12123661182", "(1) 212.366.1182", "\uff0b\uff11 212 366 1182"]
)
def test_only_digits_of_a_phone_number_change_tokens(variant: str) -> None:
    assert tokens_of(phone=variant) == tokens_of(phone=PHONE)


def test_each_of_several_phone_numbers_has_tokens() -> None:
    both = tokens_of(phone=[PHONE, "030 12345"])
    assert both == tokens_of(phone=PHONE) | tokens_of(phone="03012345")
    assert both == tokens_of(phone=f"{PHONE}; 030/12345")


@pytest.mark.parametrize("text", ["", ";", "call us", "+"])
def test_a_phone_number_without_digits_has_no_tokens(text: str) -> None:
    assert not tokens_of(phone=text)


DOMAIN = "joespizza.example"


@pytest.mark.parametrize(
    "address",
    [
        f"https://{DOMAIN}",
        f"http://{DOMAIN}/",
        f"https://www.{DOMAIN}",
        f"www.{DOMAIN}/menu?x=1#top",
        f"HTTPS://WWW.{DOMAIN.upper()}:8080/Menu",
        f"{DOMAIN}:443",
        f"{DOMAIN} (closed)",
        f"{DOMAIN};",
        f"; https://{DOMAIN}",
        f"https://www.{DOMAIN};{DOMAIN}",
    ],
)
def test_only_the_domain_of_a_web_address_changes_tokens(address: str) -> None:
    assert tokens_of(web=address) == tokens_of(web=DOMAIN)


@pytest.mark.parametrize("address", [f"{DOMAIN}?x=1", f"https://{DOMAIN}#top"])
def test_a_domain_ends_where_a_query_begins(address: str) -> None:
    assert tokens_of(web=address) == tokens_of(web=DOMAIN)


@pytest.mark.parametrize("address", [f" {DOMAIN}", f" www.{DOMAIN}", f"{DOMAIN}; {DOMAIN}.a"])
def test_spaces_before_an_address_do_not_change_tokens(address: str) -> None:
    assert tokens_of(web=address) == tokens_of(web=address.replace(" ", ""))


def test_domains_of_one_country_share_their_last_part() -> None:
    assert len(tokens_of(web="a.example") & tokens_of(web="b.example")) == 1
    assert not tokens_of(web="a.example") & tokens_of(web="b.test")


def test_similar_domains_share_character_n_grams() -> None:
    shared = tokens_of(web="joespizza.example") & tokens_of(web="joespizzas.test")
    assert len(shared) > 5


def test_each_of_several_addresses_has_tokens() -> None:
    both = tokens_of(web="https://a.example/x;www.b.test")
    assert both == tokens_of(web="a.example") | tokens_of(web="b.test")
    assert tokens_of(web=["a.example", "b.test"]) == both


@pytest.mark.parametrize("address", ["", ";", "https://", "http:///path", "/path", ";;;"])
def test_an_address_without_a_domain_has_no_tokens(address: str) -> None:
    assert not tokens_of(web=address)


@pytest.mark.parametrize("address", ["www.", "www.a", ".", "..", "a.", ".a", "localhost", "www"])
def test_the_shortest_addresses_have_tokens(address: str) -> None:
    assert tokens_of(web=address)


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
    record = {"name": "Joe's", "category": "us", "tags": {"a": "b"}, "web": DOMAIN, "phone": PHONE}
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


# Bounds: kernels do not check indices, so the working memory must be large enough.

GUARD = 512
MARK = 77


def guarded(space: Scratch) -> Scratch:
    """Working memory with additional elements at the end, which kernels must not change."""
    return Scratch(*(np.full(part.size + GUARD, MARK, part.dtype) for part in space))


def assert_untouched(space: Scratch, used: Scratch) -> None:
    assert (used.points[space.points.size :] == MARK).all()
    assert (used.padded[space.padded.size :] == MARK).all()
    assert (used.tokens[space.tokens.size :] == MARK).all()


@some
@example(name="name", text="a " * 20 + "a")
@example(name="web", text=";".join(["a.b"] * 10))
@example(name="web", text="www.a;" * 6)
@example(name="tags", text="=" * 40)
@example(name="phone", text="12345678;" * 4 + "1")
@example(name="text", text="\u4e2d" * 20)
@given(st.sampled_from(sorted(KINDS)), TEXTS | NASTY)
def test_the_buffers_are_large_enough_for_any_value(name: str, text: str) -> None:
    source = laid_out(name, text)
    space = scratch(source)
    used = guarded(space)
    count = row_tokens(0, source, used)
    assert count <= tokens_at_most(source.longest) == space.tokens.size
    assert_untouched(space, used)


@some
@given(st.lists(st.dictionaries(st.sampled_from(sorted(KINDS)), TEXTS | NASTY), max_size=4))
def test_the_buffers_are_large_enough_for_any_row(rows: list[dict[str, str]]) -> None:
    records = [
        {name: {text: text} if name == "tags" else text for name, text in row.items()}
        for row in rows
    ]
    source = source_of(*records)
    space = scratch(source)
    for row in range(len(rows)):
        used = guarded(space)
        assert row_tokens(row, source, used) <= space.tokens.size
        assert_untouched(space, used)


@some
@given(st.sampled_from(sorted(KINDS)), TEXTS | NASTY, TEXTS | NASTY)
def test_the_tokens_of_a_row_do_not_depend_on_other_rows(name: str, text: str, other: str) -> None:
    value, beside = ({text: text}, {other: other}) if name == "tags" else (text, other)
    alone = tokens_of(**{name: value})
    source = source_of({name: beside}, {name: value, "id": "x"}, {"name": other})
    space = scratch(source)
    count = row_tokens(1, source, space)
    assert frozenset(space.tokens[:count].tolist()) == alone
