"""Messages about invalid data contain no value of the data."""

from typing import Any

import pyarrow as pa
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.tables import from_records, from_table
from tests.entities.canonical import ALL, TEXT_LIKE, unchecked

PRIVATE = "xyzzy"


def bad_tables() -> list[pa.Table]:
    """Tables with all kinds of errors, and a private text in every value."""
    private = PRIVATE.encode()
    text = pa.array([PRIVATE])
    number = pa.array([float(len(PRIVATE) * 1_000)])
    return [
        *(pa.table({name: [[[PRIVATE]]]}) for name in ["text", "number", "lat", "tags"]),
        pa.table({"text": text, "id": [[PRIVATE]]}),
        *(pa.table({name: [PRIVATE * 10_000]}) for name in TEXT_LIKE),
        *(pa.table({name: unchecked(private + b"\xff")}) for name in TEXT_LIKE),
        pa.table({"number": text}),
        pa.table({"tags": text}),
        pa.table({"tags": [f'{{"{PRIVATE}": {{"{PRIVATE}": 1}}}}']}),
        pa.table({"lat": text, "lon": number}),
        pa.table({"lat": number, "lon": number}),
        pa.table({"lat": number, "lon": pa.nulls(1)}),
        pa.table({"lat": text}),
    ]


def bad_records() -> list[Any]:
    """Records with all kinds of errors, and a private text in every value."""
    names = [*TEXT_LIKE, "number", "lat", "tags", "id"]
    values = [{PRIVATE: [PRIVATE]}, [PRIVATE, 1.5], {PRIVATE: {}}, PRIVATE + "\ud800"]
    return [
        PRIVATE,
        [PRIVATE],
        {"number": PRIVATE, "text": PRIVATE},
        {"text": PRIVATE * 10_000},
        *({name: value} for name in names for value in values),
    ]


@pytest.mark.parametrize("table", bad_tables(), ids=lambda table: str(table.schema))
def test_messages_about_a_table_do_not_contain_its_values(table: pa.Table) -> None:
    try:
        entities = from_table(table, ALL)
    except DataError as error:
        messages = [str(error)]
    else:
        messages = [*entities.rejected.values(), *entities.warnings]
    assert messages
    assert not any(PRIVATE in text or "5000" in text for text in messages)


@pytest.mark.parametrize("record", bad_records(), ids=repr)
def test_messages_about_a_record_do_not_contain_its_values(record: Any) -> None:
    rejected = from_records([{"lon": 1, "lat": 1}, record], ALL).rejected
    assert list(rejected) == [1]
    assert PRIVATE not in rejected[1]
