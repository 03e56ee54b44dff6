"""Reading of labelled rows, and their split into training and test rows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.io.column_map import ColumnMap
from labelwright.entities.io.label_columns import EmptyLabels
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import from_table
from labelwright.training import data as data_module
from labelwright.training.data import (
    TEST_SHARE,
    LabelledEntities,
    name_hashes,
    read_labelled,
    split,
)

LABELS = pa.list_(pa.string())
KINDS = ColumnMap({"labels": "kinds"})


def labelled(schema: EntitySchema, names: list[str]) -> LabelledEntities:
    labels = pa.array([["a"]] * len(names), LABELS)
    return LabelledEntities(from_table(pa.table({"name": names}), schema), labels)


def names_of(data: LabelledEntities) -> list[str]:
    names = data.entities.column("name")
    assert names is not None
    return list(names.to_pylist())


def test_unusable_rows_are_left_out_and_counted(tmp_path: Path, places: EntitySchema) -> None:
    file = tmp_path / "rows.parquet"
    labels = pa.array([["x"], None, ["x"], []], LABELS)
    table = {"id": ["1", "2", "3", "3"], "name": list("abcd"), "lat": [1.0, 1, 200, 1]}
    pq.write_table(pa.table({**table, "lon": [1.0] * 4, "labels": labels}), file)
    data = read_labelled([file], places)
    assert names_of(data) == ["a", "d"]
    assert data.labels.to_pylist() == [["x"], []]
    assert any("1 rows left out: lat" in warning for warning in data.warnings)
    assert any("labels are null" in warning for warning in data.warnings)


def test_a_file_without_labels_is_an_error(tmp_path: Path, places: EntitySchema) -> None:
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"name": ["a"]}), file)
    with pytest.raises(DataError, match="no 'labels' column"):
        read_labelled([file], places)


EMPTY = "name,lat,lon,kinds\na,1,1,x\nb,1,1,\nc,1,1,[]\nd,1,1, \ne,1,1,y|x\n"


@pytest.mark.parametrize(
    ("meaning", "names", "labels", "read_as"),
    [
        (EmptyLabels.UNKNOWN, "ace", [["x"], [], ["y", "x"]], "not labelled, and are left out"),
        (EmptyLabels.NONE, "abcde", [["x"], [], [], [], ["y", "x"]], "none of the labels"),
    ],
)
def test_empty_cells_of_csv_have_the_chosen_meaning(
    tmp_path: Path,
    places: EntitySchema,
    meaning: EmptyLabels,
    names: str,
    labels: list[list[str]],
    read_as: str,
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(EMPTY)
    data = read_labelled([file], places, KINDS, empty_labels=meaning)
    assert names_of(data) == [*names]
    assert data.labels.to_pylist() == labels
    (warning,) = data.warnings
    assert f"2 rows have an empty cell in column 'kinds', read as {read_as};" in warning
    other = "none" if meaning is EmptyLabels.UNKNOWN else "unknown"
    assert f"--empty-labels {other} " in warning


def test_rows_with_empty_cells_can_be_kept_without_labels(
    tmp_path: Path, places: EntitySchema
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(EMPTY)
    data = read_labelled([file], places, KINDS, keep_unlabelled=True)
    assert data.unlabelled is not None
    assert data.unlabelled.table["name"].to_pylist() == ["b", "d"]
    assert "left out" not in data.warnings[0]
    data = read_labelled([file], places, KINDS, True, EmptyLabels.NONE)
    assert data.unlabelled is not None
    assert not len(data.unlabelled)


def test_the_option_does_not_concern_formats_with_null(
    tmp_path: Path, places: EntitySchema
) -> None:
    file = tmp_path / "rows.jsonl"
    lines = ('"labels": ["x"]', '"labels": null', '"labels": []', '"name": "d"')
    file.write_text("".join(f'{{"name": "{n}", {line}}}\n' for n, line in enumerate(lines)))
    for meaning in EmptyLabels:
        data = read_labelled([file], places, empty_labels=meaning)
        assert data.labels.to_pylist() == [["x"], []]
        assert list(data.warnings) == ["2 rows left out: their labels are null"]


def test_a_column_with_only_empty_cells_is_an_error_that_names_file_and_column(
    tmp_path: Path, places: EntitySchema
) -> None:
    file, other = tmp_path / "rows.csv", tmp_path / "other.csv"
    file.write_text("name,kinds\na,\nb,\n")
    other.write_text("name,kinds\na,x\n")
    with pytest.raises(DataError, match=r"cells of column 'kinds' of .*rows\.csv are empty"):
        read_labelled([file], places, KINDS)
    assert len(read_labelled([file, other], places, KINDS)) == 1
    assert len(read_labelled([file], places, KINDS, empty_labels=EmptyLabels.NONE)) == 2


def test_the_split_holds_out_a_tenth_of_the_names_with_all_their_rows(
    places: EntitySchema,
) -> None:
    names = [f"Name {i % 2_000}" for i in range(6_000)]
    train, test = split(labelled(places, names))
    inside = set(names_of(train))
    outside = set(names_of(test))
    assert not inside & outside
    assert len(train) + len(test) == 6_000
    assert len(outside) / 2_000 == pytest.approx(TEST_SHARE, abs=0.03)


def test_the_held_out_names_do_not_depend_on_the_other_rows(places: EntitySchema) -> None:
    names = [f"Name {i}" for i in range(1_000)]
    _, test = split(labelled(places, names))
    _, other = split(labelled(places, [*(f"Other {i}" for i in range(500)), *names]))
    held = set(names_of(test))
    assert held == {n for n in names_of(other) if n.startswith("Name")}


def test_normalised_names_are_hashed(places: EntitySchema) -> None:
    hashes = name_hashes(from_table(pa.table({"name": ["ＣＡＦÉ", "café", "cafe"]}), places))
    assert hashes[0] == hashes[1] != hashes[2]


def test_at_least_one_name_is_held_out(places: EntitySchema) -> None:
    for count in range(2, 12):
        train, test = split(labelled(places, [f"n{i}" for i in range(count)]))
        assert len(test) >= 1
        assert len(train) >= 1


def test_rows_that_all_have_one_name_cannot_be_split(places: EntitySchema) -> None:
    with pytest.raises(DataError, match="--test"):
        split(labelled(places, ["same"] * 20))


def test_the_fingerprint_depends_only_on_the_content(places: EntitySchema) -> None:
    data = labelled(places, ["a", "b"])
    assert data.fingerprint == labelled(places, ["a", "b"]).fingerprint
    assert data.fingerprint == data.take(np.array([0, 1])).fingerprint
    assert data.fingerprint != data.take(np.array([1, 0])).fingerprint


@pytest.mark.parametrize("column", ["name", "labels", "id"])
def test_more_text_than_arrow_can_count_is_refused_with_its_column(
    tmp_path: Path, places: EntitySchema, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    file = tmp_path / "rows.parquet"
    texts = {
        name: f"{name}-" + "x" * (90 if name == column else 1) for name in ("id", "name", "labels")
    }
    row = {**texts, "labels": [texts["labels"]]}
    pq.write_table(pa.Table.from_pylist([row] * 10), file)
    monkeypatch.setattr(data_module, "TEXT_LIMIT", 500)
    with pytest.raises(DataError, match=f"column '{column}' has more than 500 bytes of text"):
        read_labelled([file], places)
    monkeypatch.setattr(data_module, "TEXT_LIMIT", 1_000)
    assert len(read_labelled([file], places)) == 10
