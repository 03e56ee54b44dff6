"""Reader of GeoJSON: one feature at a time, in any layout."""

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.entities.errors import DataError
from labelwright.entities.io.geojson import features
from labelwright.entities.io.readers import read_batches
from labelwright.entities.schema import EntitySchema
from tests.entities.files import ids

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FEATURES = st.lists(
    st.fixed_dictionaries(
        {"type": st.just("Feature"), "properties": st.dictionaries(st.text(), VALUES, max_size=3)}
    ),
    max_size=4,
)


class SlowStream:
    """A stream that returns at most `size` bytes for each read."""

    def __init__(self, content: bytes, size: int) -> None:
        self._stream, self._size = io.BytesIO(content), size

    def read(self, size: int) -> bytes:
        return self._stream.read(min(size, self._size))


@given(
    FEATURES,
    st.integers(1, 7),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.dictionaries(st.sampled_from(["name", "crs", "bbox"]), VALUES),
)
@settings(deadline=None)
def test_features_of_a_collection_are_read_in_any_layout(
    given_features: list[Any], size: int, indent: int | None, plain: bool, others: dict[str, Any]
) -> None:
    collection = {"type": "FeatureCollection", **others, "features": given_features, "more": 12}
    text = json.dumps(collection, indent=indent, ensure_ascii=plain)
    assert list(features(SlowStream(text.encode(), size))) == given_features


@pytest.mark.parametrize("between", ["\n", "\r\n", "\n\x1e", ""])
def test_a_sequence_of_features_is_read(between: str) -> None:
    rows = [{"type": "Feature", "properties": {"n": n}} for n in range(3)]
    text = between.join(map(json.dumps, rows))
    assert list(features(io.BytesIO(text.encode()))) == rows


@pytest.mark.parametrize(
    "text",
    [
        "[]", "nonsense", '{"type": "FeatureCollection", "features": [',
        '{"features": [{"type": "Feature"}', '{"features": [}]}', '{"a" 1}', "12",
    ],
)  # fmt: skip
def test_invalid_geojson_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="not valid GeoJSON"):
        list(features(io.BytesIO(text.encode())))


def test_properties_and_the_centre_become_columns(tmp_path: Path, places: EntitySchema) -> None:
    path = tmp_path / "places.geojson"
    square = [[[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]]
    rows = [
        {
            "type": "Feature",
            "id": "node/1",
            "geometry": {"type": "Point", "coordinates": [7.4, 43.7]},
            "properties": {"name": "Joe's Pizza", "postcode": 98000, "labels": "a|b"},
        },
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": square},
            "properties": {"name": "Square", "labels": ["a"], "id": 7},
        },
        {"type": "Feature", "geometry": None, "properties": None},
        "no feature",
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": rows}))
    (batch,) = read_batches(path, places)
    table = batch.entities.table
    assert table["name"].to_pylist() == ["Joe's Pizza", "Square", None, None]
    assert table["lat"].to_pylist() == [43.7, 1.0, None, None]
    assert table["lon"].to_pylist() == [7.4, 1.0, None, None]
    assert table["postcode"].to_pylist() == ["98000", None, None, None]
    assert batch.labels is not None
    assert batch.labels.to_pylist() == [["a", "b"], ["a"], None, None]
    assert batch.entities.rejected == {3: "an entity must be an object"}
    assert ids([batch]) == ["node/1", "7", "row-2", "row-3"]


def test_an_error_has_the_file_and_the_number_of_the_feature(
    tmp_path: Path, places: EntitySchema
) -> None:
    path = tmp_path / "places.geojson"
    feature = '{"type": "Feature", "properties": {}}'
    path.write_text(f'{{"features": [{feature}, {feature}, {{"type": ]}}')
    with pytest.raises(DataError, match=r"places\.geojson cannot be read: .* feature 3$"):
        list(read_batches(path, places))


def test_rows_can_be_skipped(tmp_path: Path, places: EntitySchema) -> None:
    path = tmp_path / "places.geojson"
    rows = [{"type": "Feature", "properties": {"id": str(n), "name": "x"}} for n in range(20_000)]
    path.write_text("\n".join(map(json.dumps, rows)))
    batches = list(read_batches(path, places, skip=17_000))
    assert ids(batches) == [str(n) for n in range(17_000, 20_000)]
    assert batches[-1].share == 1.0


def test_reading_a_collection_needs_less_memory_than_its_text() -> None:
    row = json.dumps({"type": "Feature", "properties": {"name": "x" * 1_000}})
    text = f'{{"type": "FeatureCollection", "features": [{",".join([row] * 20_000)}]}}'
    stream = io.BytesIO(text.encode())
    tracemalloc.start()
    try:
        count = sum(1 for _ in features(stream))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 20_000
    assert peak < 8 << 20 < len(text)
