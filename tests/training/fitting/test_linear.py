"""The linear stage minimises its objective; the number of threads does not change the result."""

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import scipy.optimize
import scipy.sparse

from labelwright.models.features.space import FeatureRows
from labelwright.models.kernels.csr import SparseRows
from labelwright.models.labels import LabelMatrix, LabelSet, label_matrix
from labelwright.training.fitting.linear import (
    BLOCK_SIZE,
    CONSTANT,
    MIN_BLOCK_SIZE,
    START,
    SoftLabels,
    fit_linear,
)
from labelwright.training.fitting.spill import SpillingAllocator

N, F, L = 400, 30, 140
Floats = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def rows() -> FeatureRows:
    random = np.random.default_rng(0)
    dense = random.random((N, F)) * (random.random((N, F)) < 0.3)
    dense[:, 0] += 0.1
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    matrix = scipy.sparse.csr_array(dense.astype(np.float32))
    return FeatureRows(
        matrix.indptr.astype(np.int64), matrix.indices, matrix.data, np.zeros(N, np.uint64)
    )


@pytest.fixture(scope="module")
def labels(rows: FeatureRows) -> LabelMatrix:
    """Label l is present in 90% of the rows with feature l % F, and in no other row."""
    random = np.random.default_rng(1)
    names = [f"{i:03}" for i in range(L)]
    lists = []
    for row in range(N):
        present = set(rows.indices[rows.indptr[row] : rows.indptr[row + 1]].tolist())
        lists.append([n for i, n in enumerate(names) if i % F in present and random.random() < 0.9])
    return label_matrix(pa.array(lists, pa.list_(pa.string())), LabelSet(tuple(names)))


def orders(passes: int, rows: int = N) -> list[npt.NDArray[np.int64]]:
    random = np.random.default_rng(2)
    return [random.permutation(rows) for _ in range(passes)]


def test_the_stage_minimises_the_regularised_squared_hinge_loss(
    rows: FeatureRows, labels: LabelMatrix
) -> None:
    cost = 1.0
    stage = fit_linear(rows, labels, F, orders(60), cost, 2)
    scores = stage.scores(rows)
    x = scipy.sparse.csr_array((rows.values, rows.indices, rows.indptr), shape=(N, F)).toarray()
    x = np.hstack([x, np.full((N, 1), CONSTANT)]).astype(np.float64)
    for label in (0, 7, 139):
        y = np.where(labels.contains(np.full((N, 1), label, np.int32)).ravel(), 1.0, -1.0)

        def objective(w: Floats, y: Floats = y) -> tuple[float, Floats]:
            slack = np.maximum(1 - y * (START + x @ w), 0)
            return float(0.5 * w @ w + cost * slack @ slack), w - 2 * cost * x.T @ (y * slack)

        best = scipy.optimize.minimize(objective, np.zeros(F + 1), jac=True, method="L-BFGS-B")
        np.testing.assert_allclose(scores[:, label], START + x @ best.x, atol=0.06)


def soft_labels(rows: int) -> SoftLabels:
    """Targets for three labels of each of the last rows."""
    random = np.random.default_rng(4)
    ids = np.tile(np.array([0, 7, 139], np.int32), rows)
    targets = random.uniform(-1, 1, len(ids)).astype(np.float32)
    return SoftLabels(N - rows, 3 * np.arange(rows + 1), ids, targets, np.full(rows, 2, np.float32))


def test_soft_labels_have_the_squared_loss(rows: FeatureRows, labels: LabelMatrix) -> None:
    cost, taught = 1.0, 150
    soft = soft_labels(taught)
    first = labels.take(np.arange(soft.first))
    stage = fit_linear(rows, first, F, orders(60), cost, 2, soft=soft)
    scores = stage.scores(rows)
    x = scipy.sparse.csr_array((rows.values, rows.indices, rows.indptr), shape=(N, F)).toarray()
    x = np.hstack([x, np.full((N, 1), CONSTANT)]).astype(np.float64)
    costs = np.where(np.arange(N) < soft.first, cost, float(soft.costs[0]))
    for place, label in enumerate((0, 7, 139)):
        y = np.where(first.contains(np.full((soft.first, 1), label, np.int32)).ravel(), 1.0, -1.0)
        y = np.concatenate([y, soft.scores[place::3]])

        def objective(w: Floats, y: Floats = y) -> tuple[float, Floats]:
            slack = y - (START + x @ w)
            hinge = np.arange(N) < soft.first
            slack = np.where(hinge & (slack * y < 0), 0, slack)
            return float(0.5 * w @ w + costs @ slack**2), w - 2 * x.T @ (costs * slack)

        best = scipy.optimize.minimize(objective, np.zeros(F + 1), jac=True, method="L-BFGS-B")
        np.testing.assert_allclose(scores[:, label], START + x @ best.x, atol=0.06)


def test_labels_without_a_target_are_absent_from_a_row_with_soft_labels(
    rows: FeatureRows, labels: LabelMatrix
) -> None:
    first = labels.take(np.arange(N - 150))
    none = pa.array([[]] * 150, pa.list_(pa.string()))
    absent = label_matrix(none, LabelSet(tuple(f"{i:03}" for i in range(L))))
    both = LabelMatrix.closed(
        SparseRows.joined([first.present, absent.present]), L, np.zeros(N, np.int64)
    )
    soft = soft_labels(150)
    soft = soft._replace(costs=np.ones_like(soft.costs))
    taught = fit_linear(rows, first, F, orders(3), 1.0, 1, soft=soft)
    plain = fit_linear(rows, both, F, orders(3), 1.0, 1)
    others = np.setdiff1d(np.arange(L), [0, 7, 139])
    np.testing.assert_array_equal(taught.bias[others], plain.bias[others])
    assert (taught.bias[[0, 7, 139]] != plain.bias[[0, 7, 139]]).all()


def test_threads_do_not_change_the_result(rows: FeatureRows, labels: LabelMatrix) -> None:
    one = fit_linear(rows, labels, F, orders(3), 0.3, 1)
    three = fit_linear(rows, labels, F, orders(3), 0.3, 3)
    for name in ("bias", "scales", "dense", "sparse_indptr", "sparse"):
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name))


@pytest.mark.parametrize("block_size", [BLOCK_SIZE, BLOCK_SIZE // 2, MIN_BLOCK_SIZE])
def test_less_memory_makes_smaller_blocks_of_labels_with_an_equal_result(
    block_size: int, rows: FeatureRows, labels: LabelMatrix, home: Path
) -> None:
    allocator = SpillingAllocator(N * block_size * 4)
    shares: list[float] = []
    bounded = fit_linear(rows, labels, F, orders(3), 0.3, 1, shares.append, allocator)
    assert len(shares) == 3 * -(-L // block_size)
    whole = fit_linear(rows, labels, F, orders(3), 0.3, 1)
    for name in ("bias", "scales", "dense", "sparse_indptr", "sparse"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(bounded, name))
    assert not home.exists()  # no array was in a spill file


def test_unknown_pairs_are_not_fitted(rows: FeatureRows, labels: LabelMatrix) -> None:
    """A label that is unknown in some rows is fitted on the other rows only."""
    unknown = np.random.default_rng(3).random((N, 1)) < 0.4
    rows_of_labels, ids = labels.present.rows(), labels.present.ids
    kept = ~(unknown[rows_of_labels, 0] & (ids == 7))
    open_labels = dataclasses.replace(
        labels,
        present=SparseRows.from_pairs(rows_of_labels[kept], ids[kept], (N, L)),
        groups=(np.arange(L) == 7).astype(np.int32),
        complete=np.hstack([np.ones((N, 1), np.bool_), ~unknown]),
    )
    kept = np.flatnonzero(~unknown[:, 0])
    partly = fit_linear(rows, open_labels, F, orders(3), 0.3, 1)
    without = fit_linear(
        rows, labels, F, [order[np.isin(order, kept)] for order in orders(3)], 0.3, 1
    )
    whole = fit_linear(rows, labels, F, orders(3), 0.3, 1)
    assert partly.bias[7] == without.bias[7] != whole.bias[7]
    others = np.arange(L) != 7
    np.testing.assert_array_equal(partly.bias[others], whole.bias[others])


def test_progress_adds_up_to_one(rows: FeatureRows, labels: LabelMatrix) -> None:
    shares: list[float] = []
    fit_linear(rows, labels, F, orders(3), 0.3, 1, shares.append)
    assert sum(shares) == pytest.approx(1)
