"""Label columns: lists of text of any Arrow type, and no other types."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.io.readers import label_lists
from labelwright.entities.schema import EntitySchema
from tests.entities.files import PRIVATE, read


@pytest.mark.parametrize(
    "array",
    [
        pa.array([["x", "y"], None, []]),
        pa.array([["x", "y"], None, []], pa.large_list(pa.string())),
        pa.array([["x", "y"], None, []], pa.list_(pa.large_string())),
        pa.array([["x", "y"], None, []], pa.list_(pa.string_view())),
        pa.chunked_array([pa.array([["x", "y"], None]), pa.array([[]], pa.list_(pa.string()))]),
    ],
    ids=["list", "large list", "large text", "view", "chunks"],
)
def test_labels_can_have_any_arrow_type_of_lists_of_text(array: pa.Array) -> None:
    lists = label_lists(array)
    assert lists.type == pa.list_(pa.string())
    assert lists.to_pylist() == [["x", "y"], None, []]


def test_a_column_of_nulls_gives_null_labels() -> None:
    assert label_lists(pa.nulls(2)).to_pylist() == [None, None]
    assert label_lists(pa.array([[], None], pa.list_(pa.null()))).to_pylist() == [[], None]


@pytest.mark.parametrize(
    "array",
    [
        pa.array(["x"]),
        pa.array([1]),
        pa.array([{"x": 1}]),
        pa.array([[["x"]]]),
        pa.array([[{"x": 1}]]),
        pa.array([["x"]], pa.list_(pa.string(), 1)),
        pa.array([[("x", "y")]], pa.map_(pa.string(), pa.string())),
        *(pa.array([[value]]) for value in (1, True, b"x")),
    ],
    ids=lambda array: str(array.type),
)
def test_labels_of_another_type_are_refused(array: pa.Array) -> None:
    with pytest.raises(DataError, match=r"column 'labels' holds .*; it must be lists of text"):
        label_lists(array)


def test_labels_of_a_wrong_type_in_a_file_are_refused(tmp_path: Path, places: EntitySchema) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"name": ["a"], "labels": [PRIVATE]}), path)
    with pytest.raises(DataError, match="column 'labels' holds string") as caught:
        read(path, places)
    assert PRIVATE not in str(caught.value)


def test_labels_that_are_not_utf8_are_refused() -> None:
    broken = pa.array([b"\xff"])
    texts = pa.StringArray.from_buffers(1, *broken.buffers()[1:])
    with pytest.raises(DataError, match="must be lists of text"):
        label_lists(pa.ListArray.from_arrays([0, 1], texts))
