"""Namesakes: the labels that are learned and looked up for each name."""

import collections
import dataclasses
import math
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.entities.tables import Entities, from_records
from labelwright.models.features.space import FeatureRows
from labelwright.models.labeler import Labeler
from labelwright.models.labels import LabelSet, label_matrix
from labelwright.models.stages.namesakes import COUNTED_AT_MOST
from labelwright.models.stages.reranker import PAIR_FEATURES
from labelwright.training.fitting.namesakes import learn_namesakes
from tests import plain

COLUMNS = [PAIR_FEATURES.index(name) for name in ("namesakes", "namesakes_with_label")]
LABELS = LabelSet(("a", "b", "c", "d"))
ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.lists(st.sampled_from(LABELS.names), unique=True)),
    max_size=30,
)


def recalled(
    rows: list[tuple[int, list[str]]], names: list[int]
) -> list[list[tuple[float, float]]]:
    """For each name and each label, the number of namesakes and the share with the label.

    `rows` are the name (a number) and the labels of each training entity.
    """
    matrix = label_matrix(pa.array([labels for _, labels in rows], pa.list_(pa.string())), LABELS)
    namesakes = learn_namesakes(np.array([name for name, _ in rows], np.uint64), matrix)
    chosen = np.tile(np.arange(len(LABELS), dtype=np.int32), (len(names), 1))
    found = namesakes.recall(np.array(names, np.uint64), chosen)
    return [[(float(n), float(share)) for n, share in row] for row in found]


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_the_entities_of_each_name_are_counted(rows: list[tuple[int, list[str]]]) -> None:
    by_name = collections.defaultdict(list)
    for name, labels in rows:
        by_name[name].append(labels)
    for name, found in enumerate(recalled(rows, list(range(6)))):
        same = by_name[name] if name else []  # 0 is no name
        for label, (number, share) in zip(LABELS.names, found, strict=True):
            assert number == len(same)
            if same:
                assert (
                    abs(share - sum(label in given for given in same) / len(same)) <= 0.5001 / 255
                )
            else:
                assert math.isnan(share)


def test_large_chains_are_counted_up_to_a_limit() -> None:
    rows = [(7, ["a"])] * 300 + [(7, ["b"])] * 100
    (found,) = recalled(rows, [7])
    shares = (191 / 255, 64 / 255, 0, 0)  # 300 / 400 and 100 / 400, rounded to n / 255
    assert found == [(COUNTED_AT_MOST, float(np.float32(share))) for share in shares]


def test_a_label_whose_share_rounds_to_zero_is_left_out() -> None:
    (found,) = recalled([(7, ["a"])] * 600 + [(7, ["b"])], [7])
    assert found[1][1] == 0


def names_of(labeler: Labeler, *names: Any) -> list[int]:
    entities = from_records([{"name": name} for name in names], labeler.schema)
    rows: FeatureRows = labeler.features.transform(entities)
    return [int(name) for name in rows.names]


def test_names_are_equal_if_their_words_are_equal_and_in_order(labeler: Labeler) -> None:
    one, *others = names_of(
        labeler, "Joe's  Pizza", "joes pizza", " JOE\u2019S PIZZA ", "Joe's\tpizza"
    )
    assert set(others) == {one}
    different = names_of(labeler, "Pizza Joe's", "Joe's", "Joe's Pizza Pizza", "Joes-Pizza", "Joë")
    assert len({one, *different}) == 6


def test_an_entity_without_a_name_has_no_namesakes(labeler: Labeler) -> None:
    assert names_of(labeler, None, "", "  ") == [0, 0, 0]
    rows = labeler.features.transform(Entities.empty(labeler.schema, 2))
    recalled = labeler.namesakes.recall(rows.names, np.zeros((2, 3), np.int32))
    assert (recalled[:, :, 0] == 0).all()
    assert np.isnan(recalled[:, :, 1]).all()


def test_training_rows_are_their_own_namesakes(
    labeler: Labeler, brands: Entities, brand_labels: pa.ListArray
) -> None:
    rows = labeler.features.transform(brands)
    matrix = label_matrix(brand_labels, labeler.labels)
    chosen = matrix.present.ids[matrix.present.indptr[:-1]][:, None]
    recalled = labeler.namesakes.recall(rows.names, chosen)
    known = recalled[:, :, 0] >= 1
    assert 0.85 < known.mean() < 1  # a tenth of the rows was held out for test
    assert (recalled[known, 1] > 0).all()
    assert np.isnan(recalled[~known, 1]).all()


def test_namesakes_are_features_of_the_reranker(labeler: Labeler, brands: Entities) -> None:
    rows = labeler.features.transform(brands.slice(0, 200))
    scores, chosen, _ = plain.stages(labeler, rows)
    nobody = learn_namesakes(
        np.zeros(0, np.uint64), label_matrix(pa.array([], pa.list_(pa.string())), labeler.labels)
    )
    forgetful = dataclasses.replace(labeler, namesakes=nobody)
    with_namesakes, without_namesakes = (
        one.pairs(rows, scores, chosen)[:, COLUMNS] for one in (labeler, forgetful)
    )
    np.testing.assert_array_equal(
        with_namesakes, labeler.namesakes.recall(rows.names, chosen).reshape(-1, 2)
    )
    assert (with_namesakes[:, 0] > 0).any()
    assert (without_namesakes[:, 0] == 0).all()
    assert np.isnan(without_namesakes[:, 1]).all()
