"""Properties of canonical tables: records and tables agree, rows are independent."""

import math
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from labelwright.entities.tables import from_records, from_table
from tests.entities.canonical import ALL, some

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
LONG = st.just("é" * 5_001)
NUMBERS = st.floats() | st.sampled_from([0.0, 89.5, -180.0, 200.0])
TAGS = st.dictionaries(TEXTS, TEXTS, max_size=3)


@st.composite
def columns(draw: st.DrawFn) -> dict[str, list[Any]]:
    """Columns of equal length with valid and invalid values that Arrow and JSON can represent."""
    rows = draw(st.integers(1, 5))
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "id": TEXTS,
        "text": TEXTS | LONG,
        "words": st.lists(TEXTS | LONG, max_size=3),
        "category": st.integers(-(2**63), 2**63 - 1),
        "web": TEXTS,
        "phone": st.lists(TEXTS, max_size=2),
        "number": NUMBERS,
        "lat": NUMBERS,
        "lon": NUMBERS,
        "tags": TAGS,
    }
    names = draw(st.sets(st.sampled_from(sorted(kinds))))
    names |= {"lat", "lon"} if names & {"lat", "lon"} else {"text"}
    return {
        name: draw(st.lists(st.none() | kinds[name], min_size=rows, max_size=rows))
        for name in sorted(names)
    }


def records_of(given: dict[str, list[Any]], leave_out: bool = False) -> list[dict[str, Any]]:
    """The columns as records; nulls can be left out, except for nulls of points."""
    rows = [dict(zip(given, values, strict=False)) for values in zip(*given.values(), strict=True)]
    if not leave_out:
        return rows
    point = ("lat", "lon")
    return [{k: v for k, v in row.items() if v is not None or k in point} for row in rows]


KINDS = {
    **dict.fromkeys(["id", "text", "web"], pa.string()),
    **dict.fromkeys(["words", "phone"], pa.list_(pa.string())),
    **dict.fromkeys(["number", "lat", "lon"], pa.float64()),
    "category": pa.int64(),
    "tags": pa.map_(pa.string(), pa.string()),
}


def table_of(given: dict[str, list[Any]], tags: str = "map") -> pa.Table:
    """The columns as an Arrow table, with tags as a map or as JSON."""
    if tags == "JSON" and "tags" in given:
        texts = [None if tags is None else orjson.dumps(tags).decode() for tags in given["tags"]]
        given = {**given, "tags": texts}
    elif "tags" in given:
        pairs = [None if tags is None else list(tags.items()) for tags in given["tags"]]
        given = {**given, "tags": pairs}
    kinds = KINDS | ({"tags": pa.string()} if tags == "JSON" else {})
    arrays = {name: pa.array(values, kinds[name]) for name, values in given.items()}
    return pa.table(arrays)


@some
@given(columns(), st.sampled_from(["map", "JSON"]), st.booleans(), st.integers(0, 99))
def test_records_and_tables_of_the_same_data_give_the_same_entities(
    given: dict[str, list[Any]], tags: str, leave_out: bool, first_row: int
) -> None:
    table = from_table(table_of(given, tags), ALL, first_row)
    records = from_records(records_of(given, leave_out), ALL, first_row)
    assert records.rejected == table.rejected
    assert records.warnings == table.warnings
    for name in table.table.column_names:
        missing = [None] * len(table)
        found = records.table[name].to_pylist() if records.column(name) is not None else missing
        assert found == table.table[name].to_pylist()


def test_a_null_in_a_list_is_dropped_in_records_and_tables() -> None:
    lists = [["a", None], [None], ["b"], None]
    table = from_table(pa.table({"text": pa.array(lists)}), ALL)
    assert table.table["text"].to_pylist() == ["a", "", "b", None]
    assert from_records([{"text": texts} for texts in lists], ALL).table.equals(table.table)


@pytest.mark.parametrize("tags", ['[["a", "b"]]', '["ab"]', "[]", "0", "false", '""', "null"])
def test_records_and_tables_agree_on_json_that_is_not_an_object(tags: str) -> None:
    table = from_table(pa.table({"tags": [tags]}), ALL)
    records = from_records([{"tags": tags}], ALL)
    assert records.rejected.keys() == table.rejected.keys()
    assert records.table.equals(table.table)


@some
@given(columns())
def test_a_canonical_table_is_not_changed_by_another_check(given: dict[str, list[Any]]) -> None:
    given.pop("tags", None)
    once = from_table(table_of(given), ALL)
    twice = from_table(once.table, ALL)
    assert twice.table.equals(once.table)
    assert not twice.rejected


@some
@given(columns(), st.data())
def test_the_result_of_a_row_does_not_depend_on_other_rows(
    given: dict[str, list[Any]], data: st.DataObject
) -> None:
    table = table_of(given)
    row = data.draw(st.integers(0, table.num_rows - 1))
    named = any(value is not None for value in given.get("id", ()))
    whole = from_table(table, ALL)
    alone = from_table(table.slice(row, 1), ALL, first_row=row, named=named)
    assert alone.table.equals(whole.table.slice(row, 1))
    assert alone.rejected.get(0) == whole.rejected.get(row)


BAD_RECORDS: list[Any] = [
    None,
    [],
    "text",
    {"text": 5},
    {"text": "x" * 10_001},
    {"words": ["a", {}]},
    {"category": 1.5},
    {"web": {}},
    {"phone": True},
    {"id": 0.5},
    {"number": "one"},
    {"number": math.inf},
    {"lat": 200, "lon": 0},
    {"lat": 1},
    {"tags": {"a": {}}},
    {"text": "\ud800"},
]


@some
@example({"text": ["a"], "lat": [1.0], "lon": [2.0]}, {"lat": 1}, 0)
@given(columns(), st.sampled_from(BAD_RECORDS), st.integers(0, 5))
def test_a_bad_record_does_not_change_other_records(
    given: dict[str, list[Any]], bad: Any, position: int
) -> None:
    good = records_of(given)
    if bad == {"lat": 1} and "lat" not in given:
        good = [{**record, "lat": None, "lon": None} for record in good]
    position = min(position, len(good))
    alone = from_records(good, ALL)
    with_bad = from_records([*good[:position], bad, *good[position:]], ALL)
    assert position in with_bad.rejected
    others = [row for row in range(len(with_bad)) if row != position]
    assert [with_bad.rejected.get(row) for row in others] == [
        alone.rejected.get(row) for row in range(len(alone))
    ]
    kept = with_bad.table.take(others).drop_columns("id")
    for name in alone.table.column_names[1:]:
        assert kept[name].to_pylist() == alone.table[name].to_pylist()


BAD_CELLS: dict[str, Any] = {
    "text": "x" * 10_001,
    "number": -math.inf,
    "lat": 91.0,
    "lon": math.nan,
}


@some
@given(columns(), st.sampled_from(sorted(BAD_CELLS)), st.integers(0, 4))
def test_a_bad_cell_does_not_change_other_rows(
    given: dict[str, list[Any]], name: str, row: int
) -> None:
    rows = len(next(iter(given.values())))
    row %= rows
    given = {"lat": [0.0] * rows, "lon": [0.0] * rows} | given
    cells = given.get(name, [None] * rows)
    good = from_table(table_of(given), ALL)
    changed = {**given, name: [*cells[:row], BAD_CELLS[name], *cells[row + 1 :]]}
    if name == "lon":
        changed["lat"] = [*changed["lat"][:row], 1.0, *changed["lat"][row + 1 :]]
    bad = from_table(table_of(changed), ALL)
    assert row in bad.rejected
    for other in set(range(rows)) - {row}:
        assert bad.rejected.get(other) == good.rejected.get(other)
        for field in good.table.column_names:
            assert bad.table[field][other] == good.table[field][other]
