"""Values of a table: accepted values, and values that reject their row."""

import math

import pyarrow as pa
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.tables import from_records, from_table
from labelwright.entities.values import FIELD_LIMIT
from tests.entities.canonical import ALL, TEXT_LIKE, column, rejected


@pytest.mark.parametrize(
    ("lat", "lon", "reason"),
    [
        (200.0, 1.0, "lat: must lie between -90 and 90"),
        (-90.1, 1.0, "lat: must lie between -90 and 90"),
        (1.0, 180.5, "lon: must lie between -180 and 180"),
        (math.inf, 1.0, "lat: must be finite"),
        (1.0, -math.inf, "lon: must be finite"),
        (1.0, None, "lat and lon must be given together"),
        (None, 1.0, "lat and lon must be given together"),
        (math.nan, 1.0, "lat and lon must be given together"),
    ],
)
def test_a_bad_point_rejects_only_its_row(
    lat: float | None, lon: float | None, reason: str
) -> None:
    table = pa.table({"text": ["a", "b", "c"], "lat": [1.0, lat, 3.0], "lon": [1.0, lon, 3.0]})
    entities = from_table(table, ALL)
    assert entities.rejected == {1: reason}
    assert entities.table["text"].to_pylist() == ["a", None, "c"]
    assert entities.table["lat"].to_pylist() == [1, None, 3]


@pytest.mark.parametrize("given", [(90, 180), (-90, -180), (0, 0), (None, None)])
def test_the_largest_latitudes_and_longitudes_are_valid(
    given: tuple[float | None, float | None],
) -> None:
    table = pa.table({"text": ["a"], "lat": [given[0]], "lon": [given[1]]})
    entities = from_table(table, ALL)
    assert not entities.rejected
    assert entities.table.select(["lat", "lon"]).to_pylist() == [{"lat": given[0], "lon": given[1]}]


def test_nan_becomes_null() -> None:
    assert column(pa.array([math.nan, 1.0, None]), "number") == [None, 1, None]
    assert from_records([{"number": math.nan}], ALL).table["number"].to_pylist() == [None]


@pytest.mark.parametrize("infinity", [math.inf, -math.inf])
def test_an_infinite_number_is_rejected(infinity: float) -> None:
    assert rejected("number", pa.array([1.0, infinity])) == {1: "number: must be finite"}
    records = [{"number": 1}, {"number": infinity}]
    assert from_records(records, ALL).rejected == {1: "number: must be finite"}


def test_a_table_with_half_a_point_in_all_rows_is_refused() -> None:
    with pytest.raises(DataError, match="column 'lon' is given alone: give both lat and lon"):
        from_table(pa.table({"text": ["a"], "lon": [1.0]}), ALL)


def test_half_a_point_rejects_only_its_row_next_to_a_complete_point() -> None:
    records = [{"text": "a", "lat": 1}, {"text": "b", "lat": 1, "lon": 2}, {"text": "c"}]
    assert from_records(records, ALL).rejected == {0: "lat and lon must be given together"}


def test_half_a_point_rejects_only_its_row_without_a_complete_point() -> None:
    records = [{"text": "a", "lat": 1}, {"text": "c"}]
    assert from_records(records, ALL).rejected == {0: "lat and lon must be given together"}


@pytest.mark.parametrize("name", TEXT_LIKE)
def test_a_name_of_a_million_characters_is_rejected(name: str) -> None:
    reason = f"{name}: longer than 10,000 bytes"
    texts = ["a", "x" * 1_000_000, "b"]
    assert rejected(name, pa.array(texts)) == {1: reason}
    assert from_records([{name: text} for text in texts], ALL).rejected == {1: reason}


def test_tags_of_a_million_characters_are_rejected() -> None:
    tags = [{"a": "b"}, {"a": "x" * 1_000_000}]
    reason = {1: "tags: longer than 10,000 bytes"}
    assert from_records([{"tags": value} for value in tags], ALL).rejected == reason
    assert rejected("tags", pa.array(tags)) == reason


def test_a_text_of_exactly_the_largest_number_of_bytes_is_accepted() -> None:
    fits = "é" * (FIELD_LIMIT // 2)
    assert rejected("text", pa.array([fits, fits + "e"])) == {1: "text: longer than 10,000 bytes"}


def test_the_limit_applies_to_the_joined_list() -> None:
    lists = pa.array([["x" * 6_000], ["x" * 6_000, "x" * 6_000]])
    assert rejected("text", lists) == {1: "text: longer than 10,000 bytes"}


@pytest.mark.parametrize(
    "text",
    [
        "👩\u200d🍳🍕",
        "\u05d1\u05d9\u05ea\u200f \u202b\u0645\u0637\u0639\u0645",
        "a\0b",
        "\ufeff",
        "\U0010ffff",
        "e\u0301\u0323",
        "\r\n",
    ],
    ids=["emoji", "right-to-left", "NUL", "mark", "last", "accents", "newline"],
)
@pytest.mark.parametrize("name", TEXT_LIKE)
def test_unusual_text_is_accepted_unchanged(name: str, text: str) -> None:
    assert column(pa.array([text]), name) == [text]
    entities = from_records([{name: text}], ALL)
    assert not entities.rejected
    assert entities.table[name].to_pylist() == [text]
