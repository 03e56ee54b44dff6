"""Buffers of tokens: kernels do not check indices, so the working memory must be large enough."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from labelwright.models.features.tokens import Scratch, row_tokens, scratch, tokens_at_most
from tests.models.features.tokens_of_values import (
    KINDS,
    NASTY,
    TEXTS,
    laid_out,
    some,
    source_of,
    tokens_of,
)

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
