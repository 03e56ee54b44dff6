"""Corrections in the training data: changed rows, added rows and held-out entities."""

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from labelwright.entities.schema import EntitySchema, load_schema
from labelwright.entities.tables import from_records
from labelwright.models.features.fingerprints import content_ids
from labelwright.training.data import LabelledEntities, held_out, held_out_share, name_hashes
from labelwright.training.feedback.merge import TrainingData, with_corrections
from labelwright.training.feedback.votes import SettledCorrections

LISTS = pa.list_(pa.string())
SCHEMA: EntitySchema = load_schema("places")
Settled = tuple[dict[str, Any], list[str], list[str]]
NAMES = [f"Café {n}" for n in range(60)]


def labelled(
    records: list[dict[str, Any]],
    labels: list[list[str]],
    absent: list[list[str]] | None = None,
    partial: bool = False,
) -> LabelledEntities:
    return LabelledEntities(
        from_records(records, SCHEMA),
        pa.array(labels, LISTS),
        (),
        None if absent is None else pa.array(absent, LISTS),
        np.ones(len(records), np.bool_) if partial else None,
    )


def corrections_of(*settled: Settled) -> SettledCorrections:
    """Settled corrections of entities, with their present and absent labels."""
    records, has, lacks = map(list, zip(*settled, strict=True))
    return SettledCorrections(labelled(records, has, lacks, partial=True), len(settled), 1, 0, 0)


@pytest.fixture
def data() -> LabelledEntities:
    records = [{"id": f"id{n}", "name": name} for n, name in enumerate(NAMES)]
    return labelled(records, [["a", "b"]] * len(NAMES))


def is_held_out(data: LabelledEntities) -> list[bool]:
    found: list[bool] = held_out(data.entities, held_out_share(data.entities)).tolist()
    return found


def rows_of(part: LabelledEntities | None) -> dict[str, tuple[list[str], list[str]]]:
    assert part is not None
    absent = [[]] * len(part) if part.absent is None else part.absent.to_pylist()
    return {
        i: (sorted(has), sorted(lacks or []))
        for i, has, lacks in zip(
            part.entities.ids.to_pylist(), part.labels.to_pylist(), absent, strict=True
        )
    }


def test_settled_labels_replace_those_of_the_rows(data: LabelledEntities) -> None:
    trained, tested = is_held_out(data).index(False), is_held_out(data).index(True)
    correction = ({"name": "renamed"}, ["c"], ["b"])
    merged = with_corrections(
        data,
        None,
        corrections_of(
            *(({**correction[0], "id": f"id{n}"}, *correction[1:]) for n in (trained, tested))
        ),
    )
    assert rows_of(merged.train)[f"id{trained}"] == (["a", "c"], ["b"])
    assert rows_of(merged.test)[f"id{tested}"] == (["a", "c"], ["b"])
    assert rows_of(merged.learned) == {f"id{trained}": (["c"], ["b"])}
    assert rows_of(merged.unseen) == {f"id{tested}": (["c"], ["b"])}
    assert len(merged.train) + len(merged.test) == len(data)
    others = set(rows_of(merged.train)) - {f"id{trained}"}
    assert all(rows_of(merged.train)[other] == (["a", "b"], []) for other in others)
    assert merged.train.partial is None


def test_new_entities_become_partial_training_rows_and_never_test_rows(
    data: LabelledEntities,
) -> None:
    new: list[Settled] = [
        ({"id": f"new{n}", "name": f"Bar {n}", "city": "Ulm"}, ["c"], []) for n in range(40)
    ]
    merged = with_corrections(data, None, corrections_of(*new))
    assert set(rows_of(merged.test)) <= set(rows_of(data))
    added = set(rows_of(merged.train)) - set(rows_of(data))
    assert added == set(rows_of(merged.learned))
    assert merged.train.partial is not None
    assert merged.train.partial.sum() == len(added)
    assert 0 < len(rows_of(merged.unseen)) < len(new) / 2
    assert added.isdisjoint(rows_of(merged.unseen))
    assert len(added) + len(rows_of(merged.unseen)) == len(new)
    assert merged.unseen is not None
    assert (name_hashes(merged.unseen.entities) / 2.0**64 < 0.2).all()


def test_with_separate_test_rows_held_out_entities_are_not_trained_on(
    data: LabelledEntities,
) -> None:
    everything: list[Settled] = [
        ({"id": f"id{n}", "name": NAMES[n]}, ["c"], []) for n in range(len(NAMES))
    ]
    test = data.take(np.arange(3))
    merged = with_corrections(data, test, corrections_of(*everything))
    unseen, learned = rows_of(merged.unseen), rows_of(merged.learned)
    assert {"id0", "id1", "id2"} <= set(unseen)
    assert set(rows_of(merged.train)) == set(learned)
    assert set(unseen).isdisjoint(learned)
    assert rows_of(merged.test)["id0"] == (["a", "b", "c"], [])
    assert len(unseen) + len(learned) == len(NAMES)


def test_rows_without_ids_are_matched_by_content(data: LabelledEntities) -> None:
    anonymous = labelled([{"name": name} for name in NAMES], [["a"]] * len(NAMES))
    assert anonymous.entities.anonymous
    settled = [({"id": "0", "name": NAMES[7]}, ["c"], ["a"]), ({"id": "x", "name": "?"}, ["c"], [])]
    merged = with_corrections(anonymous, None, corrections_of(*settled))
    rows = rows_of(merged.train) | rows_of(merged.test)
    assert rows["7"] == (["c"], ["a"])
    assert rows["0"] == (["a"], [])


def test_a_correction_without_an_id_is_matched_by_content(data: LabelledEntities) -> None:
    record = {"name": NAMES[5]}
    (content_id,) = content_ids(from_records([record], SCHEMA)).to_pylist()
    merged = with_corrections(
        data, None, corrections_of(({"id": content_id, **record}, ["c"], ["a"]))
    )
    rows = rows_of(merged.train) | rows_of(merged.test)
    assert rows["id5"] == (["b", "c"], ["a"])
    assert len(rows) == len(data)


def test_all_rows_with_the_id_of_a_correction_are_corrected() -> None:
    data = labelled(
        [{"id": "same", "name": NAMES[n]} for n in range(3)]
        + [{"id": f"id{n}", "name": NAMES[n]} for n in range(3, 60)],
        [["a"]] * 60,
    )
    merged = with_corrections(data, None, corrections_of(({"id": "same", "name": "x"}, [], ["a"])))
    everything = [*merged.train.labels.to_pylist(), *merged.test.labels.to_pylist()]
    assert everything.count([]) == 3


def test_rows_are_unchanged_if_no_label_is_settled(data: LabelledEntities) -> None:
    nothing = dataclasses.replace(
        corrections_of(({"id": "x"}, [], [])), settled=data.take(np.arange(0))
    )
    merged: TrainingData = with_corrections(data, None, nothing)
    plain = with_corrections(
        data, None, corrections_of(({"id": "new", "name": "Bar 1"}, ["c"], []))
    )
    assert rows_of(merged.test) == rows_of(plain.test)
    assert merged.corrections is nothing
