"""Corrections in training: whose rows they change, which they add, and which are held out."""

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
Told = tuple[dict[str, Any], list[str], list[str]]
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


def reviews(*told: Told) -> SettledCorrections:
    """What was settled of entities: what they have and what they lack."""
    records, has, lacks = map(list, zip(*told, strict=True))
    return SettledCorrections(labelled(records, has, lacks, partial=True), len(told), 1, 0, 0)


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


def test_rows_of_corrected_entities_have_the_settled_labels(data: LabelledEntities) -> None:
    trained, tested = is_held_out(data).index(False), is_held_out(data).index(True)
    said = ({"name": "renamed"}, ["c"], ["b"])
    training_data = with_corrections(
        data, None, reviews(*(({**said[0], "id": f"id{n}"}, *said[1:]) for n in (trained, tested)))
    )
    assert rows_of(training_data.train)[f"id{trained}"] == (["a", "c"], ["b"])
    assert rows_of(training_data.test)[f"id{tested}"] == (["a", "c"], ["b"])
    assert rows_of(training_data.learned) == {f"id{trained}": (["c"], ["b"])}
    assert rows_of(training_data.unseen) == {f"id{tested}": (["c"], ["b"])}
    assert len(training_data.train) + len(training_data.test) == len(data)
    others = set(rows_of(training_data.train)) - {f"id{trained}"}
    assert all(rows_of(training_data.train)[other] == (["a", "b"], []) for other in others)
    assert training_data.train.partial is None


def test_new_entities_are_partial_rows_and_never_in_the_test(data: LabelledEntities) -> None:
    new: list[Told] = [
        ({"id": f"new{n}", "name": f"Bar {n}", "city": "Ulm"}, ["c"], []) for n in range(40)
    ]
    training_data = with_corrections(data, None, reviews(*new))
    assert set(rows_of(training_data.test)) <= set(rows_of(data))
    added = set(rows_of(training_data.train)) - set(rows_of(data))
    assert added == set(rows_of(training_data.learned))
    assert training_data.train.partial is not None
    assert training_data.train.partial.sum() == len(added)
    assert 0 < len(rows_of(training_data.unseen)) < len(new) / 2
    assert added.isdisjoint(rows_of(training_data.unseen))
    assert len(added) + len(rows_of(training_data.unseen)) == len(new)
    assert training_data.unseen is not None
    assert (name_hashes(training_data.unseen.entities) / 2.0**64 < 0.2).all()


def test_with_test_rows_of_their_own_nothing_held_out_is_learned(data: LabelledEntities) -> None:
    everything: list[Told] = [
        ({"id": f"id{n}", "name": NAMES[n]}, ["c"], []) for n in range(len(NAMES))
    ]
    test = data.take(np.arange(3))
    training_data = with_corrections(data, test, reviews(*everything))
    unseen, learned = rows_of(training_data.unseen), rows_of(training_data.learned)
    assert {"id0", "id1", "id2"} <= set(unseen)
    assert set(rows_of(training_data.train)) == set(learned)
    assert set(unseen).isdisjoint(learned)
    assert rows_of(training_data.test)["id0"] == (["a", "b", "c"], [])
    assert len(unseen) + len(learned) == len(NAMES)


def test_rows_without_ids_are_known_by_their_content(data: LabelledEntities) -> None:
    anonymous = labelled([{"name": name} for name in NAMES], [["a"]] * len(NAMES))
    assert anonymous.entities.anonymous
    told = [({"id": "0", "name": NAMES[7]}, ["c"], ["a"]), ({"id": "x", "name": "?"}, ["c"], [])]
    training_data = with_corrections(anonymous, None, reviews(*told))
    rows = rows_of(training_data.train) | rows_of(training_data.test)
    assert rows["7"] == (["c"], ["a"])
    assert rows["0"] == (["a"], [])


def test_a_correction_without_an_id_finds_its_row_by_content(data: LabelledEntities) -> None:
    record = {"name": NAMES[5]}
    (made,) = content_ids(from_records([record], SCHEMA)).to_pylist()
    training_data = with_corrections(data, None, reviews(({"id": made, **record}, ["c"], ["a"])))
    rows = rows_of(training_data.train) | rows_of(training_data.test)
    assert rows["id5"] == (["b", "c"], ["a"])
    assert len(rows) == len(data)


def test_all_rows_that_repeat_an_id_are_corrected() -> None:
    data = labelled(
        [{"id": "same", "name": NAMES[n]} for n in range(3)]
        + [{"id": f"id{n}", "name": NAMES[n]} for n in range(3, 60)],
        [["a"]] * 60,
    )
    training_data = with_corrections(data, None, reviews(({"id": "same", "name": "x"}, [], ["a"])))
    everything = [*training_data.train.labels.to_pylist(), *training_data.test.labels.to_pylist()]
    assert everything.count([]) == 3


def test_without_anything_settled_the_rows_are_as_ever(data: LabelledEntities) -> None:
    nothing = dataclasses.replace(reviews(({"id": "x"}, [], [])), settled=data.take(np.arange(0)))
    training_data: TrainingData = with_corrections(data, None, nothing)
    plain = with_corrections(data, None, reviews(({"id": "new", "name": "Bar 1"}, ["c"], [])))
    assert rows_of(training_data.test) == rows_of(plain.test)
    assert training_data.corrections is nothing
