"""Redirects of labels that were renamed, merged or retired."""

import time
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.entities.errors import DataError, SchemaError
from labelwright.entities.redirects import Redirects
from labelwright.entities.schema import EntitySchema

LABELS = st.sampled_from("abcdefgh")
LISTS = st.lists(st.none() | st.lists(st.none() | LABELS, max_size=4), max_size=8)
TABLES = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["", *"efgh"]))


def test_chains_are_resolved_and_an_empty_target_retires_a_label() -> None:
    redirects = Redirects({"a": "b", "b": "c", "d": "e", "e": ""})
    assert redirects.targets == {"a": "c", "b": "c", "d": "", "e": ""}
    assert [redirects.current(label) for label in "acdx"] == ["c", "c", None, "x"]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_long_chain_is_resolved_in_linear_time(reverse: bool) -> None:
    rows = 200_000
    order = range(rows)[::-1] if reverse else range(rows)
    began = time.process_time()
    redirects = Redirects({str(row): str(row + 1) for row in order})
    assert time.process_time() - began < 5  # quadratic time would be hours
    assert set(redirects.targets.values()) == {str(rows)}
    assert next(iter(redirects.targets)) == str(order[0])


@pytest.mark.parametrize("targets", [{"a": "a"}, {"a": "b", "b": "a"}, {"x": "a", "a": "a"}])
def test_a_cycle_is_refused(targets: dict[str, str]) -> None:
    with pytest.raises(DataError, match="cycle"):
        Redirects(targets)


def test_merged_labels_are_listed_once_and_nulls_stay() -> None:
    lists = pa.array([["old", "new", "x"], None, ["gone"], [], ["x"]])
    redirects = Redirects({"old": "new", "gone": ""})
    assert redirects.rewrite(lists).to_pylist() == [["new", "x"], None, [], [], ["x"]]


@given(LISTS, TABLES, st.integers(0, 3))
@settings(deadline=None)
def test_lists_are_rewritten_label_by_label(
    rows: list[list[str | None] | None], table: dict[str, str], start: int
) -> None:
    redirects = Redirects(table)
    lists = pa.array(rows, pa.list_(pa.string())).slice(start)
    found = redirects.rewrite(lists).to_pylist()
    for row, new in zip(rows[start:], found, strict=True):
        if row is None or not set(table) & set(row):
            assert new == row
        else:
            wanted = (redirects.current(label) for label in row if label is not None)
            assert new == list(dict.fromkeys(label for label in wanted if label is not None))
    again = redirects.rewrite(redirects.rewrite(lists))
    assert again.to_pylist() == found


@pytest.mark.parametrize(
    "content", [b'old,new\na,"b\nc,d\n', b"old,new\na,\xe9\n", b'old,new\n"a"b,c\n']
)
def test_a_broken_table_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "redirects.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"redirects .* cannot be read: "):
        Redirects.read(path)


def test_a_table_is_read_from_csv(tmp_path: Path) -> None:
    path = tmp_path / "redirects.csv"
    path.write_text('\ufeffold,new\n"shop=a, b",shop=c\n\nshop=gone,\n', "utf-8")
    assert Redirects.read(path).targets == {"shop=a, b": "shop=c", "shop=gone": ""}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must begin with the header old,new"),
        ("from,to\na,b\n", "must begin with the header old,new"),
        ("old,new\na\n", "row 2 must have two cells"),
        ("old,new\na,b\n,c\n", "row 3 must have two cells"),
        ("old,new\na,b\na,c\n", "the old label of row 3 has two targets"),
    ],
)
def test_an_invalid_table_is_refused_by_its_row(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "redirects.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=reason):
        Redirects.read(path)
    with pytest.raises(DataError, match="cannot be read"):
        Redirects.read(tmp_path / "missing.csv")


def test_a_schema_stores_redirects() -> None:
    content = {"name": "n", "columns": {"c": {"kind": "text"}}, "redirects": {"a": "b"}}
    schema = EntitySchema.from_mapping(content)
    assert schema.redirects == Redirects({"a": "b"})
    assert EntitySchema.from_mapping(schema.to_mapping()) == schema
    for bad in ({"a": 1}, {"a": "a"}, ["a"]):
        with pytest.raises(SchemaError):
            EntitySchema.from_mapping({**content, "redirects": bad})
