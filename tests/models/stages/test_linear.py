"""The linear stage: scores equal plain arithmetic, and candidates equal plain sorting."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.entities.tables import Entities
from labelwright.models.features.space import FeatureRows
from labelwright.models.labeler import Labeler
from labelwright.models.stages.linear import (
    LinearStage,
    Scores,
    candidates,
    pack_weights,
    padded,
    unpack_weights,
)
from tests import plain

some = settings(max_examples=60, deadline=None)

SIZES = st.sampled_from([1, 2, 5, 63, 64, 65, 130])


def stage_of(random: np.random.Generator, labels: int, frequent: int, rare: int) -> LinearStage:
    """A stage with random weights; sparse rows have weights for about a third of the labels."""
    present = random.random((rare, labels)) < 1 / 3
    indptr = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int64)
    ids = np.nonzero(present)[1].astype(np.int32)
    return LinearStage(
        bias=random.normal(size=labels).astype(np.float32),
        scales=random.uniform(0.001, 0.05, frequent + rare).astype(np.float32),
        dense=whole_blocks(random.integers(-127, 128, (frequent, labels)).astype(np.int8)),
        sparse_indptr=indptr,
        sparse=pack_weights(ids, random.integers(-127, 128, len(ids)).astype(np.int8)),
    )


def whole_blocks(dense: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    return np.pad(dense, ((0, 0), (0, padded(dense.shape[1]) - dense.shape[1])))


def rows_of(random: np.random.Generator, rows: int, features: int) -> FeatureRows:
    present = random.random((rows, features)) < 0.4
    indptr = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int64)
    indices = np.nonzero(present)[1].astype(np.int32)
    values = random.random(len(indices)).astype(np.float32)
    return FeatureRows(indptr, indices, values, np.zeros(rows, np.uint64))


def weights_of(stage: LinearStage) -> npt.NDArray[np.float64]:
    """The weights as real numbers, features x labels."""
    rare = len(stage.scales) - len(stage.dense)
    sparse = np.zeros((rare, len(stage.bias)))
    owners = np.repeat(np.arange(rare), np.diff(stage.sparse_indptr))
    ids, weights = unpack_weights(stage.sparse)
    sparse[owners, ids] = weights
    dense = stage.dense[:, : len(stage.bias)].astype(np.float64)
    whole = np.concatenate([dense, sparse])
    return whole * stage.scales.astype(np.float64)[:, None]


def by_hand(stage: LinearStage, rows: FeatureRows) -> npt.NDArray[np.float64]:
    """The scores, computed as a product of dense matrices."""
    matrix = np.zeros((len(rows.indptr) - 1, len(stage.scales)))
    owners = np.repeat(np.arange(len(matrix)), np.diff(rows.indptr))
    matrix[owners, rows.indices] = rows.values
    scores: npt.NDArray[np.float64] = matrix @ weights_of(stage) + stage.bias
    return scores


def assert_as_by_hand(scores: Scores, stage: LinearStage, rows: FeatureRows) -> None:
    """Check that scores differ from the product of matrices only by rounding."""
    expected = by_hand(stage, rows)
    within = 1e-4 + 1e-4 * np.abs(expected) + plain.rounding(stage, rows)[:, None]
    assert (np.abs(scores - expected) <= within).all()


@some
@given(
    st.integers(0, 999),
    SIZES,
    st.integers(0, 6),
    st.integers(0, 6),
    st.integers(0, 5),
)
def test_scores_are_a_product_of_matrices(
    seed: int, labels: int, frequent: int, rare: int, count: int
) -> None:
    random = np.random.default_rng(seed)
    stage = stage_of(random, labels, frequent, rare)
    rows = rows_of(random, count, frequent + rare)
    scores = stage.scores(rows)
    assert scores.shape == (count, labels)
    assert scores.dtype == np.float32
    assert_as_by_hand(scores, stage, rows)


def test_real_scores_are_a_product_of_matrices(labeler: Labeler, brands: Entities) -> None:
    rows = labeler.features.transform(brands.slice(0, 50))
    assert_as_by_hand(labeler.linear.scores(rows), labeler.linear, rows)


@some
@given(st.integers(0, 9_999), SIZES, st.integers(0, 4), st.integers(0, 4))
def test_weights_and_bias_give_the_scores(seed: int, labels: int, frequent: int, rare: int) -> None:
    random = np.random.default_rng(seed)
    stage = stage_of(random, labels, frequent, rare)
    features = random.permutation(frequent + rare).astype(np.int32)
    wanted = random.permutation(labels)[: random.integers(0, labels + 1)].astype(np.int32)
    found = stage.weights(features, wanted)
    assert found.dtype == np.float32
    assert found == pytest.approx(weights_of(stage)[np.ix_(features, wanted)], rel=1e-5)


def test_the_scores_of_a_row_without_features_are_the_bias() -> None:
    stage = stage_of(np.random.default_rng(0), 7, 3, 3)
    none = np.zeros(0, np.int32), np.zeros(0, np.float32)
    empty = FeatureRows(np.zeros(3, np.int64), *none, np.zeros(2, np.uint64))
    assert np.array_equal(stage.scores(empty), [stage.bias, stage.bias])


@some
@given(st.integers(0, 999), SIZES, st.integers(0, 5), st.integers(0, 5))
def test_the_scores_of_a_row_do_not_depend_on_its_neighbours(
    seed: int, labels: int, frequent: int, rare: int
) -> None:
    random = np.random.default_rng(seed)
    stage = stage_of(random, labels, frequent, rare)
    rows = rows_of(random, 6, frequent + rare)
    order = random.permutation(6)
    whole = stage.scores(rows)
    assert np.array_equal(stage.scores(rows.take(order)), whole[order])
    assert np.array_equal(stage.scores(rows.take(order[:1])), whole[order[:1]])


def test_sparse_and_dense_rows_of_equal_weights_give_equal_scores() -> None:
    random = np.random.default_rng(0)
    sparse = stage_of(random, 65, 0, 9)
    dense = np.zeros((9, 65), np.int8)
    ids, weights = unpack_weights(sparse.sparse)
    dense[np.repeat(np.arange(9), np.diff(sparse.sparse_indptr)), ids] = weights
    stage = sparse._replace(
        dense=whole_blocks(dense),
        sparse_indptr=np.zeros(1, np.int64),
        sparse=sparse.sparse[:0],
    )
    rows = rows_of(random, 20, 9)
    within = 1e-5 + plain.rounding(stage, rows)
    assert (np.abs(stage.scores(rows) - sparse.scores(rows)) <= within[:, None]).all()


@pytest.mark.parametrize("weight", [127, -127])
def test_the_largest_sums_do_not_overflow(weight: int) -> None:
    """All 2,000 factors are equal: with the finest steps, the sum would not fit into 32 bits."""
    features, labels = 2_000, 65
    dense = whole_blocks(np.full((features, labels), weight, np.int8))
    stage = LinearStage(
        bias=np.zeros(labels, np.float32),
        scales=np.ones(features, np.float32),
        dense=dense,
        sparse_indptr=np.zeros(1, np.int64),
        sparse=np.zeros(0, np.uint32),
    )
    everything = np.arange(features, dtype=np.int32), np.ones(features, np.float32)
    rows = FeatureRows(np.array([0, features]), *everything, np.zeros(1, np.uint64))
    assert stage.scores(rows) == pytest.approx(np.full((1, labels), weight * features), rel=1e-3)


def test_packed_weights_can_be_unpacked() -> None:
    weights = np.arange(-128, 128).astype(np.int8)
    labels = np.linspace(0, (1 << 24) - 1, len(weights)).astype(np.int32)
    found = unpack_weights(pack_weights(labels, weights))
    assert np.array_equal(found[0], labels)
    assert np.array_equal(found[1], weights)


@some
@given(st.integers(0, 9_999), SIZES, st.integers(1, 20), st.booleans())
def test_candidates_are_the_first_of_a_stable_sort(
    seed: int, labels: int, count: int, many_ties: bool
) -> None:
    random = np.random.default_rng(seed)
    scores = random.normal(size=(4, labels)).astype(np.float32)
    if many_ties:
        scores = np.round(scores)
    chosen = candidates(scores, count)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    assert chosen.dtype == np.int32
    assert np.array_equal(chosen, expected)


@pytest.mark.parametrize("value", [0.0, -1.5, np.inf, -np.inf])
def test_among_labels_with_equal_scores_the_first_are_candidates(value: float) -> None:
    scores = np.full((2, 200), value, np.float32)
    assert np.array_equal(candidates(scores, 7), [range(7), range(7)])


@pytest.mark.parametrize("place", [0, 1, 63, 64, 127, 128, 199])
def test_the_best_label_is_found_at_any_position(place: int) -> None:
    scores = np.linspace(0, -1, 200, dtype=np.float32)[None]
    scores[0, place] = 1
    assert candidates(scores, 3)[0, 0] == place


def test_there_are_not_more_candidates_than_labels() -> None:
    scores = np.array([[1, 3, 2]], np.float32)
    assert np.array_equal(candidates(scores, 10), [[1, 2, 0]])


def test_without_entities_there_are_no_candidates() -> None:
    assert candidates(np.zeros((0, 5), np.float32), 3).shape == (0, 3)


def test_real_candidates_are_the_first_of_a_stable_sort(labeler: Labeler, brands: Entities) -> None:
    scores = labeler.linear.scores(labeler.features.transform(brands.slice(0, 200)))
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :15]
    assert np.array_equal(candidates(scores, 15), expected)
