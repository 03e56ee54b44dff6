"""Label columns: lists of text of any Arrow type, and no other types."""

from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.entities.arrays import RejectedRows
from labelwright.entities.errors import DataError
from labelwright.entities.io.label_columns import label_lists
from labelwright.entities.schema import EntitySchema
from tests.entities.files import PRIVATE, labels, read, read_bytes


def lists_of(array: pa.Array | pa.ChunkedArray, cells: bool = False) -> pa.ListArray:
    """The labels of a column in which no row is rejected."""
    rejected_rows = RejectedRows()
    lists = label_lists(array, "labels", rejected_rows, cells)
    assert not rejected_rows.reasons
    return lists


@pytest.mark.parametrize(
    "array",
    [
        pa.array([["x", "y"], None, []]),
        pa.array([["x", "y"], None, []], pa.large_list_view(pa.string_view())),
        pa.array([["x", "y"], None, []], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        pa.array([[b"x", b"y"], None, []]),
        pa.array([["x", None, "y"], None, []]),
        pa.array([["x", "y"], None, []], pa.large_list(pa.string())),
        pa.array([["x", "y"], None, []], pa.list_(pa.large_string())),
        pa.array([["x", "y"], None, []], pa.list_(pa.string_view())),
        pa.chunked_array([pa.array([["x", "y"], None]), pa.array([[]], pa.list_(pa.string()))]),
    ],
    ids=[
        "list",
        "list view",
        "categories",
        "binary",
        "null label",
        "large list",
        "large text",
        "view",
        "chunks",
    ],
)
def test_labels_can_have_any_arrow_type_of_lists_of_text(array: pa.Array) -> None:
    lists = lists_of(array)
    assert lists.type == pa.list_(pa.string())
    assert lists.to_pylist() == [["x", "y"], None, []]


def test_a_column_of_nulls_gives_null_labels() -> None:
    assert lists_of(pa.nulls(2)).to_pylist() == [None, None]
    assert lists_of(pa.array([[], None], pa.list_(pa.null()))).to_pylist() == [[], None]


@pytest.mark.parametrize(
    "array",
    [
        pa.array(["x"]),
        pa.array([1]),
        pa.array([{"x": 1}]),
        pa.array([[["x"]]]),
        pa.array([[{"x": 1}]]),
        pa.array([[("x", "y")]], pa.map_(pa.string(), pa.string())),
        *(pa.array([[value]]) for value in (1, True)),
    ],
    ids=lambda array: str(array.type),
)
def test_labels_of_another_type_are_refused(array: pa.Array) -> None:
    with pytest.raises(DataError, match=r"column 'labels' holds .*; it must be lists of text"):
        lists_of(array)


def test_labels_of_a_wrong_type_in_a_file_are_refused(tmp_path: Path, places: EntitySchema) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"name": ["a"], "labels": [PRIVATE]}), path)
    with pytest.raises(DataError, match="column 'labels' holds string") as caught:
        read(path, places)
    assert PRIVATE not in str(caught.value)


def test_labels_that_are_not_utf8_reject_only_their_row() -> None:
    broken = pa.array([b"a", b"\xff"])
    texts = pa.StringArray.from_buffers(2, *broken.buffers()[1:])
    for array in (pa.ListArray.from_arrays([0, 1, 2], texts), texts):
        rejected_rows = RejectedRows()
        lists = label_lists(array, "labels", rejected_rows, cells=True)
        assert rejected_rows.reasons == {1: "labels: not valid UTF-8"}
        assert lists[0].as_py() == ["a"]


def test_a_list_of_fixed_length_and_json_are_lists() -> None:
    assert lists_of(pa.array([["x", "y"]], pa.list_(pa.string(), 2))).to_pylist() == [["x", "y"]]
    texts = pa.array(['["x", "y"]', None, "[]", "null"], pa.string())
    json_lists = pa.ExtensionArray.from_storage(pa.json_(pa.string()), texts)
    assert lists_of(json_lists).to_pylist() == [["x", "y"], None, [], None]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("a b|c", ["a b", "c"]),
        (" a | b ", ["a", "b"]),
        ("a;b", ["a;b"]),
        ("[old] thing", ["[old] thing"]),
        ("[a]|[b]", ["[a]", "[b]"]),
        ("(a)", ["(a)"]),
        ("|", ["", ""]),
        *((text, []) for text in ("[]", "{}", "[ ]", "[None]", "{NULL}", "[null]")),
        *((text, ["a", "b c"]) for text in ("[a, b c]", "{a,b c}", '{a,"b c"}')),
        ("['a', 'b c']", ["a", "b c"]),
        ("['a' 'b c']", ["a", "b c"]),
        ("['a'\n 'b c']", ["a", "b c"]),
        ('["a","b c"]', ["a", "b c"]),
        ("('a', 'b c')", ["a", "b c"]),
        ("('a',)", ["a"]),
        ("{'a', 'b c'}", ["a", "b c"]),
        ("""["it's", 'x, y|z']""", ["it's", "x, y|z"]),
        (r"""['it\'s', "a\"b", 'caf\xe9', 'x\\y']""", ["it's", 'a"b', "café", "x\\y"]),
        (r'{"a\"b",c}', ['a"b', "c"]),
        ("[1, 2]", ["1", "2"]),
    ],
    ids=str,
)
def test_a_cell_can_be_a_list_as_programs_write_it(cell: str, expected: list[str]) -> None:
    assert lists_of(pa.array([cell, None, "z"]), cells=True).to_pylist() == [expected, None, ["z"]]


@pytest.mark.parametrize("cell", [None, "", " ", "\t\u00a0"])
def test_an_empty_cell_is_null_and_empty_brackets_are_no_label(cell: str | None) -> None:
    cells = pa.array([cell, "[]", "a"], pa.string())
    assert lists_of(cells, cells=True).to_pylist() == [None, [], ["a"]]


@pytest.mark.parametrize("cell", ["['a' 'b' ... 'z']", "['a', ['b']]", "{a,{b}}", '["a", {}]'])
def test_a_list_that_cannot_be_read_rejects_only_its_row(cell: str) -> None:
    rejected_rows = RejectedRows()
    lists = label_lists(pa.array(["a|b", cell]), "labels", rejected_rows, cells=True)
    assert list(rejected_rows.reasons) == [1]
    assert "separate labels by |" in rejected_rows.reasons[1]
    assert lists.to_pylist() == [["a", "b"], []]


def test_predictions_in_place_of_labels_are_refused(tmp_path: Path, places: EntitySchema) -> None:
    predictions = [{"label": "x", "probability": 0.5, "asserted": True}]
    rows = pa.table({"name": ["a"], "labels": [predictions]})
    pq.write_table(rows, tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_bytes(orjson.dumps(rows.to_pylist()[0]))
    cell = orjson.dumps(predictions).decode().replace('"', '""')
    (tmp_path / "a.csv").write_text(f'name,labels\na,"{cell}"\n')
    for suffix in ("parquet", "jsonl", "csv"):
        with pytest.raises(DataError, match="'labels' holds predictions"):
            read(tmp_path / f"a.{suffix}", places)


TWINS = [
    "Caf\u00e9 x",
    "Cafe\u0301 x",
    " Caf\u00e9\u00a0x",
    "Caf\u00e9  x ",
    "Ca\u00adf\u00e9 x\u200b",
]


def test_labels_that_look_the_same_are_one_label(tmp_path: Path, places: EntitySchema) -> None:
    given = [[twin, "a"] for twin in TWINS]
    table = pa.table({"name": [*"abcde"], "labels": given})
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(map(orjson.dumps, table.to_pylist())))
    lines = [f"{name},{' | '.join(labels)}" for name, labels in zip("abcde", given, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["name,labels", *lines]) + "\n", "utf-8")
    features = [
        {"type": "Feature", "geometry": None, "properties": {"name": "a", "labels": "|".join(row)}}
        for row in given
    ]
    (tmp_path / "a.geojsonl").write_bytes(b"\n".join(map(orjson.dumps, features)))
    for suffix in ("parquet", "jsonl", "csv", "geojsonl"):
        assert labels(read(tmp_path / f"a.{suffix}", places)) == [["Caf\u00e9 x", "a"]] * 5


def test_a_cell_that_may_be_several_labels_is_reported_once_with_its_row(
    tmp_path: Path, places: EntitySchema
) -> None:
    path = tmp_path / "a.csv"
    rows = 'name,labels\na,x\nb,"x,y|z"\nc,"[a,b]"\nd,x;y\ne,x;z\n'
    (batch,) = read_bytes(path, rows.encode(), places)
    (warning,) = batch.entities.warnings
    assert "'labels' of row 3 has a comma or a semicolon" in warning
    assert labels([batch]) == [["x"], ["x,y", "z"], ["a", "b"], ["x;y"], ["x;z"]]


def test_labels_of_json_lines_are_refused_with_their_row(
    tmp_path: Path, places: EntitySchema
) -> None:
    lines = b'{"name": "a", "labels": NaN}\n{"name": "b", "labels": ["x", NaN]}\n'
    assert labels(read_bytes(tmp_path / "a.jsonl", lines, places)) == [None, ["x"]]
    for bad in (b'"x"', b"5", b"[5]", b"{}"):
        with pytest.raises(DataError, match="row 2: 'labels' must be lists of text"):
            read_bytes(tmp_path / "a.jsonl", lines + b'{"name": "c", "labels": %b}\n' % bad, places)
