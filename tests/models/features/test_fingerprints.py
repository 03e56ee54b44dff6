"""Fingerprints: equal for entities with equal values, and different for all others."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.entities.schema import EntitySchema, load_schema
from labelwright.entities.tables import Entities, from_records, from_table
from labelwright.models.features.fingerprints import content_fingerprints, fingerprints

some = settings(max_examples=60, deadline=None)
TEXT = st.text(max_size=20)
RECORD = st.fixed_dictionaries(
    {"id": TEXT.filter(bool), "name": TEXT},
    optional={
        "city": TEXT,
        "lat": st.floats(-90, 90),
        "tags": st.dictionaries(st.sampled_from(["a", "b"]), TEXT, max_size=2),
    },
).map(lambda record: record | ({"lon": 1.5} if "lat" in record else {}))


def known(entities: Entities) -> list[tuple[object, ...]]:
    """The values of each entity by column, without empty values."""
    columns = sorted(entities.table.column_names)
    return [
        tuple((name, row[name]) for name in columns if row[name] not in (None, ""))
        for row in entities.table.to_pylist()
    ]


@some
@given(st.lists(RECORD, min_size=1, max_size=8))
def test_fingerprints_are_equal_for_equal_values(records: list[dict[str, object]]) -> None:
    entities = from_records([*records, *records], load_schema("places"))
    found, values = fingerprints(entities).tolist(), known(entities)
    for left, right in zip(range(len(values)), reversed(range(len(values))), strict=True):
        assert (found[left] == found[right]) == (values[left] == values[right])
    assert found[: len(records)] == found[len(records) :]


def test_each_field_changes_the_fingerprint(places: EntitySchema) -> None:
    records = [
        {"id": "1", "name": "Bar"},
        {"id": "2", "name": "Bar"},
        {"id": "1", "name": "Baz"},
        {"id": "1", "name": "Bar", "city": "Bar"},
        {"id": "1", "city": "Bar"},
        {"id": "1", "name": "Bar", "lat": 1.0, "lon": 2.0},
        {"id": "1", "name": "Bar", "lat": 2.0, "lon": 1.0},
        {"id": "1", "name": "Bar\0"},
        {"id": "1", "name": "Bar" * 9},
        {"id": "1", "name": "Bar" * 10},
    ]
    assert len(set(fingerprints(from_records(records, places)).tolist())) == len(records)


def test_batches_and_missing_columns_do_not_change_fingerprints(places: EntitySchema) -> None:
    table = pa.table({"id": ["1", "2", "3"], "name": ["Bar", None, "Café"]})
    whole = fingerprints(from_table(table, places)).tolist()
    empty = table.append_column("city", pa.array([None, "", None], pa.string()))
    assert fingerprints(from_table(empty, places)).tolist() == whole
    parts = [fingerprints(from_table(table.slice(row, 1), places)).item() for row in range(3)]
    assert parts == whole


def test_without_entities_there_are_no_fingerprints(places: EntitySchema) -> None:
    assert len(fingerprints(Entities.empty(places, 0))) == 0


@some
@given(st.lists(RECORD, min_size=1, max_size=8))
def test_content_fingerprints_do_not_depend_on_ids_and_empty_columns(
    records: list[dict[str, object]],
) -> None:
    places = load_schema("places")
    others = [record | {"id": "another"} for record in records]
    wider = from_records([*others, {"id": "z", "phone": "1", "address": "2"}], places)
    found = content_fingerprints(from_records(records, places))
    assert content_fingerprints(wider)[:-1].tolist() == found.tolist()
    renamed = from_records([record | {"name": "a new name"} for record in records], places)
    same = [record["name"] == "a new name" for record in records]
    assert (content_fingerprints(renamed) == found).tolist() == same
