"""Partial rows: their unknown labels have no effect on the model."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from labelwright.entities.schema import EntitySchema, load_schema
from labelwright.entities.tables import from_records
from labelwright.models.features.space import FeatureRows
from labelwright.models.labels import LabelMatrix, LabelSet, label_matrix
from labelwright.training.data import LabelledEntities
from labelwright.training.fitting.linear import fit_linear
from labelwright.training.fitting.namesakes import learn_namesakes
from labelwright.training.fitting.reranker import co_occurrence, label_rates

LABELS = LabelSet(("a", "b", "c", "step=no", "step=yes"))
LISTS = pa.list_(pa.string())


def matrix(
    rows: list[tuple[list[str], list[str], bool]], open_groups: tuple[str, ...] = ()
) -> LabelMatrix:
    """A matrix of rows: present labels, absent labels, and whether the row is partial."""
    has, lacks, partial = zip(*rows, strict=True)
    return label_matrix(
        pa.array(has, LISTS), LABELS, open_groups, pa.array(lacks, LISTS), np.array(partial)
    )


def known(labels: LabelMatrix) -> list[str]:
    """For each row, one sign for each label: + present, - absent, ? unknown."""
    rows, ids = np.arange(len(labels))[:, None], np.arange(labels.labels, dtype=np.int32)
    is_known = labels.known(rows, ids)
    present = labels.contains(np.broadcast_to(ids, is_known.shape))
    signs = np.where(is_known, np.where(present, "+", "-"), "?")
    return ["".join(row) for row in signs.tolist()]


def test_only_the_listed_labels_of_a_partial_row_are_known() -> None:
    rows = [(["a"], ["b"], True), (["a"], [], False), ([], ["c", "foreign"], True), ([], [], True)]
    labels = matrix(rows)
    assert known(labels) == ["+-???", "+----", "??-??", "?????"]
    assert known(labels.take(np.array([2, 0]))) == ["??-??", "+-???"]


def test_in_an_open_world_one_value_of_a_group_excludes_the_others() -> None:
    rows = [
        (["step=yes"], [], True),
        (["a"], ["step=no"], True),
        (["a"], ["step=no"], False),
        (["step=yes"], ["step=yes"], True),
    ]
    assert known(matrix(rows, ("step",))) == ["???-+", "+??-?", "+---?", "???-+"]


def test_rates_and_co_occurrence_count_only_known_pairs() -> None:
    labels = matrix([(["a", "b"], [], False), (["a"], ["b"], True), (["c"], [], True)])
    assert label_rates(labels).tolist() == [1.0, 0.5, 0.5, 0.0, 0.0]
    shares, evidence = co_occurrence(labels)
    # label c is known in one of the two rows with label a
    assert evidence[0].tolist() == [2, 2, 1, 1, 1]
    assert shares[0].tolist() == [1.0, 0.5, 0.0, 0.0, 0.0]
    assert evidence[2].tolist() == [0, 0, 1, 0, 0]


@pytest.mark.parametrize("seed", range(3))
def test_an_unknown_pair_has_no_effect_on_the_linear_stage(seed: int) -> None:
    random = np.random.default_rng(seed)
    count, features = 40, 6
    indptr = np.arange(0, 2 * count + 1, 2)
    indices = (
        np.sort(np.stack([random.choice(features, 2, replace=False) for _ in range(count)]), axis=1)
        .ravel()
        .astype(np.int32)
    )
    rows = FeatureRows(
        indptr, indices, np.full(2 * count, 0.7, np.float32), np.zeros(count, np.uint64)
    )
    has = [[n for n in LABELS.names if random.random() < 0.4] for _ in range(count)]
    lacks = [[n for n in LABELS.names if random.random() < 0.3 and n not in h] for h in has]
    partial = random.random(count) < 0.5
    order = [random.permutation(count) for _ in range(3)]
    labels = matrix(list(zip(has, lacks, partial.tolist(), strict=True)))
    together = fit_linear(rows, labels, features, order, 0.3, 1)
    whole = dataclasses.replace(labels, complete=np.ones((count, 1), np.bool_))
    for label in range(len(LABELS)):
        is_known = labels.known(np.arange(count), np.full(count, label, np.int32))
        alone = fit_linear(rows, whole, features, [each[is_known[each]] for each in order], 0.3, 1)
        assert together.bias[label] == alone.bias[label]


def test_namesakes_count_only_known_labels() -> None:
    labels = matrix(
        [
            (["a"], ["b"], True),  # the only row of its name
            (["a", "c"], [], False),  # a complete row
            (["b"], ["c"], True),
        ]
    )
    names = np.array([7, 9, 9], np.uint64)
    ids = np.arange(5, dtype=np.int32)[None].repeat(2, axis=0)
    recalled = learn_namesakes(names, labels).recall(np.array([7, 9], np.uint64), ids)
    np.testing.assert_array_equal(recalled[0, :, 0], [1, 1, 0, 0, 0])
    np.testing.assert_array_equal(recalled[0, :, 1], [1, 0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(recalled[1, :, 0], [1] * 5)
    np.testing.assert_allclose(recalled[1, :, 1], [1, 128 / 255, 128 / 255, 0, 0])


def test_the_fingerprint_depends_on_which_rows_are_partial() -> None:
    schema: EntitySchema = load_schema("text")
    data = LabelledEntities(
        from_records([{"id": "1", "text": "x"}], schema), pa.array([["a"]], LISTS)
    )
    partial = dataclasses.replace(data, partial=np.ones(1, np.bool_))
    assert partial.fingerprint != data.fingerprint
    assert partial.take(np.array([0])).fingerprint == partial.fingerprint
