"""Spans: every feature is attributed exactly once, and to the expected words."""

import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labelwright.entities.schema import EntitySchema, Kind
from labelwright.entities.tables import Entities, from_records
from labelwright.models.explain.spans import WORDS_LIMIT, Origins, Span, trace, word_bounds
from labelwright.models.features.space import FeatureSpace, token_source
from labelwright.models.features.tokens import GROUPS, row_tokens, scratch

some = settings(max_examples=100, deadline=None)

SCHEMA = EntitySchema.from_mapping(
    {
        "name": "all",
        "columns": {
            "name": {"kind": "text"},
            "about": {"kind": "text", "grams": False},
            "words": {"kind": "words"},
            "city": {"kind": "category"},
            "tags": {"kind": "tags"},
            "web": {"kind": "web"},
            "phone": {"kind": "phone"},
            "area": {"kind": "number"},
            "position": {"kind": "point", "fields": ["lat", "lon"]},
        },
    }
)
EDGES = np.arange(15.0)[None] * 10
NASTY = st.text(
    st.sampled_from(
        "ab c';,\u00b4\ufb01\u337f\u338f\u4e2d\u304b\u3099\uff76\uff9e\u0301\u00ad\u200b"
    )
)
TEXTS = NASTY | st.text(st.characters(codec="utf-8"), max_size=12)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "name": TEXTS,
        "about": TEXTS,
        "words": TEXTS,
        "city": TEXTS | st.lists(TEXTS, max_size=3),
        "tags": st.dictionaries(st.sampled_from("kl"), TEXTS, max_size=2),
        "web": st.sampled_from(["a.example", "https://www.b.test/x", "c.example;d.test"]) | TEXTS,
        "phone": st.sampled_from(["+1 212 366", "0301;0302", ""]) | TEXTS,
        "area": st.floats(-50, 200),
    },
)


def entity_of(record: dict[str, Any]) -> Entities:
    entities = from_records([record], SCHEMA)
    assert not entities.rejected
    return entities


def traced(record: dict[str, Any], share: float = 1) -> tuple[Origins, int]:
    """The origins of the features of an entity, and the number of its features.

    The feature space has the given share of the tokens of the entity.
    """
    entity = entity_of(record)
    source = token_source(entity, EDGES)
    space = scratch(source)
    tokens = space.tokens[: row_tokens(0, source, space)]
    keys = np.random.default_rng(0).permutation(tokens)[: round(share * len(tokens))]
    ones = np.ones(max(len(keys), GROUPS), np.float32)
    features = FeatureSpace(SCHEMA, keys, ones[: len(keys)], ones[:GROUPS], EDGES)
    row = features.transform(entity)
    assert len(row.indices) == len(keys)
    return trace(features, entity, row.indices), len(keys)


def weighed(record: dict[str, Any]) -> dict[tuple[str, str], float]:
    """For each field and text, the sum of the shares of its features."""
    origins, _ = traced(record)
    found: dict[tuple[str, str], float] = {}
    for place, share in zip(origins.places.tolist(), origins.shares.tolist(), strict=True):
        span = origins.spans[place]
        key = (span.column.name, span.text)
        found[key] = found.get(key, 0) + share
    return found


def words(text: str, kind: Kind = Kind.TEXT) -> list[str]:
    return [text[start:end] for start, end in word_bounds(text, kind)]


# properties


@some
@given(RECORDS, st.sampled_from([0.5, 1.0]))
@example({"name": "a", "about": "a"}, 1.0)
@example({}, 1.0)
def test_every_feature_is_attributed_exactly_once(record: dict[str, Any], share: float) -> None:
    origins, count = traced(record, share)
    assert np.bincount(origins.features, origins.shares, count) == pytest.approx(np.ones(count))
    assert (origins.shares > 0).all()
    assert len({*zip(origins.places.tolist(), origins.features.tolist(), strict=True)}) == len(
        origins.places
    )


@some
@given(RECORDS)
def test_a_span_has_the_text_at_its_position(record: dict[str, Any]) -> None:
    entity = entity_of(record)
    for column, text, start, end in traced(record)[0].spans:
        array = entity.column(column.name)
        assert array is not None
        assert str(array[0].as_py())[start:end] == text
        assert text


@some
@given(TEXTS, st.sampled_from(Kind))
def test_words_do_not_overlap(text: str, kind: Kind) -> None:
    ends = [0, *(at for bounds in word_bounds(text, kind) for at in bounds)]
    assert ends == sorted(ends)
    assert all(start < end for start, end in word_bounds(text, kind))


@some
@given(st.text("aB1' -,;\u00e9\u00df\u0416\u4e2d\u0e01"))
def test_words_and_pairs_explain_all_features_of_ordinary_text(text: str) -> None:
    whole = Span(SCHEMA.columns[0], text, 0, len(text))
    origins, _ = traced({"name": text})
    used = {origins.spans[place] for place in origins.places.tolist()}
    assert whole not in used or len([w for w in words(text) if w[0].isalnum()]) <= 2


# examples


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Joe's Pizza", ["Joe's", "Pizza"]),
        ("boys' - 'n' more", ["boys", "-", "n", "more"]),
        ("C# & .net", ["C", "#", "&", ".", "net"]),
        ("caf\u00e9 cafe\u0301", ["caf\u00e9", "cafe\u0301"]),
        ("\u5bff\u53f8 bar", ["\u5bff", "\u53f8", "bar"]),
        ("\u5bffbar\u53f8", ["\u5bff", "bar", "\u53f8"]),
        ("\u304b\u3099\u304e", ["\u304b\u3099", "\u304e"]),
        ("\uff76\uff9e\uff77", ["\uff76\uff9e", "\uff77"]),
        ("\U0001f355 pizza\U0001f355", ["\U0001f355", "pizza", "\U0001f355"]),
        ("\ufb01sh \u337f", ["\ufb01sh", "\u337f"]),
        ("5\u338f box", ["5\u338f", "box"]),
        ("\uff21\uff22\u3000\uff23", ["\uff21\uff22", "\uff23"]),
        ("", []),
        (" ;- ", ["-"]),
        (" ; ", []),
        ("'", []),
    ],
)
def test_text_is_split_into_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (Kind.WORDS, "a-b  c's\u3000d", ["a-b", "c's", "d"]),
        (Kind.CATEGORY, " New York ; NY;;\uff1b x", ["New York", "NY", "x"]),
        (Kind.TAGS, "fee=no;a=b c", ["fee=no", "a=b c"]),
        (Kind.WEB, "a.example;b.example", []),
        (Kind.PHONE, "030 1;2", []),
    ],
)
def test_values_are_split_according_to_the_kind_of_column(
    kind: Kind, text: str, expected: list[str]
) -> None:
    assert words(text, kind) == expected


def test_character_n_grams_belong_to_a_word_and_pairs_to_two_words() -> None:
    # " ab " has one word and three character n-grams: " ab", " ab ", "ab "; so has " cd "
    assert weighed({"name": "ab cd"}) == {
        ("name", "ab"): 4,
        ("name", "cd"): 4,
        ("name", "ab cd"): 1,
    }


def test_several_spans_share_a_feature_equally() -> None:
    assert weighed({"about": "ab ab"}) == {("about", "ab"): 1, ("about", "ab ab"): 1}
    found = weighed({"name": "abc abd"})
    assert found["name", "abc"] == found["name", "abd"]
    places = traced({"about": "ab ab"})[0]
    assert places.shares.tolist() == [0.5, 0.5, 1]


def test_equal_texts_in_two_columns_are_separate_spans() -> None:
    record = {
        "name": "ab",
        "about": "ab",
        "words": "ab",
        "city": ["ab", "cd"],
        "tags": {"k": "v"},
        "web": "https://ab.example/x",
        "phone": "12",
        "area": 5,
        "lat": 1,
        "lon": 2,
    }
    assert weighed(record) == {
        ("name", "ab"): 4,
        ("about", "ab"): 1,
        ("words", "ab"): 1,
        ("city", "ab"): 1,
        ("city", "cd"): 1,
        ("tags", "k=v"): 2,
        ("web", "https://ab.example/x"): 6,
        ("phone", "12"): 2,
        ("area", "5.0"): 1,
    }


@pytest.mark.parametrize("character", ["\u304c", "\u00e9", "\uac00"])
def test_a_decomposed_character_has_its_original_position(character: str) -> None:
    decomposed = unicodedata.normalize("NFD", character)
    assert len(decomposed) > 1
    assert weighed({"about": f"x {decomposed} y"}) == {
        ("about", "x"): 1,
        ("about", decomposed): 1,
        ("about", "y"): 1,
        ("about", f"x {decomposed}"): 1,
        ("about", f"{decomposed} y"): 1,
    }


def test_features_that_no_word_has_belong_to_the_whole_value() -> None:
    text = " ".join(f"w{number}" for number in range(WORDS_LIMIT + 2))
    found = weighed({"about": text})
    assert found["about", text] == 4  # two words and the pairs that end in them
    assert sum(found.values()) == 2 * (WORDS_LIMIT + 2) - 1
    assert len(word_bounds(text, Kind.TEXT)) == WORDS_LIMIT


@pytest.mark.parametrize("invisible", ["\u00ad", "\u200b", "\u2060", "\ufeff"], ids=ascii)
@pytest.mark.parametrize("kind", [Kind.TEXT, Kind.WORDS, Kind.CATEGORY, Kind.TAGS])
def test_an_invisible_character_does_not_split_a_word(kind: Kind, invisible: str) -> None:
    text = f"Apo{invisible}theke{invisible}"
    assert word_bounds(text, kind) == [(0, len(text) - 1)]
    assert word_bounds(invisible, kind) == []
