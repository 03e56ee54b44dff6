"""Fitting the linear stage: dual coordinate descent for all labels together.

The objective is liblinear's L2-regularised squared hinge loss (Hsieh et al., ICML 2008), with one
dual variable for each (entity, label) pair. The labels are divided into blocks. A pass goes through
all entities and updates the labels of one block. The weights of a feature for these labels are
adjacent in memory, and most pairs need no update. Blocks are independent, so the result does not
depend on the number of threads. Weights are stored as float16, because most of the time is spent on
reading them from memory. This rounding had no measurable effect on quality. Kernels treat float16
values as uint16 bits (`models.kernels.simd`).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse

from labelwright.models.features.space import FeatureRows
from labelwright.models.kernels.csr import row_numbers
from labelwright.models.kernels.jit import compiled
from labelwright.models.kernels.simd import float_to_half, half_to_float, prefetch_row
from labelwright.models.labels import LabelMatrix, LabelStates
from labelwright.models.stages.linear import (
    DENSE_BYTES,
    PRUNED_BELOW,
    LinearStage,
    pack_weights,
    padded,
)
from labelwright.training.fitting.spill import SpillingAllocator

BLOCK_SIZE = 128
"""Number of labels in a block: enough for vector instructions, and few enough for the CPU cache."""
MIN_BLOCK_SIZE = 32
"""Minimum number of labels in a block. Blocks are smaller if memory is short: more passes over the
rows are faster than dual variables in files."""
START = np.float32(-1)
"""Initial score of each label. It is on the margin of absent labels, so most of them need no
update."""
CONSTANT = np.float32(0.2)
"""Value of the constant feature. The weight of this feature gives the bias of a label."""
SMALLEST_STEP = np.float32(0.01)
"""Minimum change of a dual variable; smaller changes are skipped."""
AHEAD = 8
"""Prefetch distance: the weights of a feature are prefetched this number of features before their
use."""

RowOrder = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.uint16]
Fitted = Callable[[int, Halves, Floats], object]
"""Called for each block with the id of its first label, its weights (features x labels, float16
bits), and the weights of the constant feature (one for each label)."""


def fit_linear(
    rows: FeatureRows,
    labels: LabelMatrix,
    features: int,
    passes: Sequence[RowOrder],
    cost: float,
    threads: int,
    advance: Callable[[float], None] = lambda share: None,
    allocator: SpillingAllocator | None = None,
    fitted: Fitted = lambda first, weights, constant: None,
) -> LinearStage:
    """Fit one linear classifier for each label.

    Each of `passes` is a sequence of row numbers. Rows that are in no pass are not used. Unknown
    pairs are skipped. `features` is the number of features. `cost` is liblinear's C. `advance` is
    called after each pass of a block with the share of the work that this pass was. `allocator`
    allocates the dual variables. `fitted` is called with the weights of each block before they are
    rounded. Raises StorageError if the allocator needs more disk space than is free.
    """
    allocator = allocator or SpillingAllocator()
    block_size = _block_size(len(labels) * threads, allocator)
    firsts = range(0, labels.labels, block_size)
    frequent = max(1, min(features, DENSE_BYTES // padded(labels.labels)))
    states = labels.states

    def fit_block(first: int) -> _FittedBlock:
        width = min(block_size, labels.labels - first)
        weights = np.zeros((features, width), np.uint16)
        constant = np.zeros(width, np.float32)
        duals = allocator.zeros((len(labels), width), np.float32)
        block = _Block(first, weights, constant, duals)
        for order in passes:
            _descend(rows, order, states, np.float32(cost), block)
            advance(1 / (len(firsts) * len(passes)))
        fitted(first, weights, constant)
        return _snapshot(weights, constant, frequent)

    with ThreadPoolExecutor(threads) as pool:
        return _assemble(list(pool.map(fit_block, firsts)), labels.labels)


def _block_size(rows: int, allocator: SpillingAllocator) -> int:
    """The number of labels in a block.

    It is at most BLOCK_SIZE, and it is halved until the dual variables of the rows fit into memory
    or MIN_BLOCK_SIZE is reached.
    """
    size = BLOCK_SIZE
    while size > MIN_BLOCK_SIZE and rows * size * 4 > allocator.available:
        size //= 2
    return size


class _Block(NamedTuple):
    """A block of labels that is being fitted.

    `first` is the id of the first label. `weights` (float16 bits, features x labels), `constant`
    (float32, one for each label) and `duals` (float32, rows x labels) are updated in place.
    """

    first: int
    weights: Halves
    constant: Floats
    duals: Floats


class _FittedBlock(NamedTuple):
    """The biases and weights of a block.

    `dense` has the weights of the most frequent features, `rare` those of all other features.
    """

    bias: Floats
    dense: Floats
    rare: scipy.sparse.csr_array


def _snapshot(weights: Halves, constant: Floats, frequent: int) -> _FittedBlock:
    rare = weights[frequent:]
    indptr = np.zeros(len(rare) + 1, np.int64)
    indptr[1:] = np.cumsum(_count_kept(rare))
    ids, values = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
    _keep(rare, ids, values)
    return _FittedBlock(
        START + CONSTANT * constant,
        weights[:frequent].view(np.float16).astype(np.float32),
        scipy.sparse.csr_array((values, ids, indptr), shape=rare.shape),
    )


@compiled
def _count_kept(weights: Halves) -> npt.NDArray[np.int64]:
    counts = np.zeros(weights.shape[0], np.int64)
    for row in range(weights.shape[0]):
        for label in range(weights.shape[1]):
            counts[row] += abs(half_to_float(weights[row, label])) >= PRUNED_BELOW
    return counts


@compiled
def _keep(weights: Halves, ids: npt.NDArray[np.int32], values: Floats) -> None:
    at = 0
    for row in range(weights.shape[0]):
        for label in range(weights.shape[1]):
            weight = half_to_float(weights[row, label])
            if abs(weight) >= PRUNED_BELOW:
                ids[at] = label
                values[at] = weight
                at += 1


def _assemble(blocks: list[_FittedBlock], labels: int) -> LinearStage:
    """Join the blocks; round weights to 8 bits, with one scale for each feature."""
    dense = np.concatenate([block.dense for block in blocks], axis=1)
    rare = scipy.sparse.hstack([block.rare for block in blocks], format="csr")
    largest = np.zeros(rare.shape[0], np.float32)
    owners = row_numbers(rare.indptr)
    np.maximum.at(largest, owners, np.abs(rare.data))
    peaks = np.concatenate([np.abs(dense).max(axis=1), largest])
    scales = np.where(peaks > 0, peaks / 127, 1).astype(np.float32)
    rounded = np.rint(dense / scales[: len(dense), None]).astype(np.int8)
    return LinearStage(
        bias=np.concatenate([block.bias for block in blocks]),
        scales=scales,
        dense=np.pad(rounded, ((0, 0), (0, padded(labels) - labels))),
        sparse_indptr=rare.indptr.astype(np.int64),
        sparse=pack_weights(
            rare.indices, np.rint(rare.data / scales[len(dense) + owners]).astype(np.int8)
        ),
    )


@compiled
def _descend(
    rows: FeatureRows, order: RowOrder, states: LabelStates, cost: np.float32, block: _Block
) -> None:
    """One pass over the rows in `order` for one block of labels.

    For a pair with sign y, score s and dual a, the step of dual coordinate descent is
    a' = max(0, a - (y s - 1 + a / 2C) / (|x|^2 + 1 / 2C)); (a' - a) y x is added to the weights.
    The sign of an unknown pair is 0, so its weights do not change.
    """
    indptr, indices, values, _ = rows
    first, weights, constant, duals = block
    width = weights.shape[1]
    scores = np.empty(width, np.float32)
    signs = np.empty(width, np.float32)
    steps = np.empty(width, np.float32)
    moved = np.empty(width, np.int32)
    damping = np.float32(0.5) / cost
    curvature = np.float32(1) + CONSTANT * CONSTANT + damping
    for position in range(order.size):
        row = order[position]
        begin, end = indptr[row], indptr[row + 1]
        for label in range(width):
            scores[label] = START + CONSTANT * constant[label]
        for i in range(begin, min(begin + AHEAD, end)):
            prefetch_row(weights, indices[i])
        for i in range(begin, end):
            if i + AHEAD < end:
                prefetch_row(weights, indices[i + AHEAD])
            value, line = values[i], weights[indices[i]]
            for label in range(width):
                scores[label] += value * half_to_float(line[label])
        _write_signs(states, row, first, signs)
        dual = duals[row]
        for label in range(width):
            gradient = signs[label] * scores[label] - np.float32(1) + damping * dual[label]
            step = max(dual[label] - gradient / curvature, np.float32(0)) - dual[label]
            step = step if abs(step) >= SMALLEST_STEP else np.float32(0)
            dual[label] += step
            steps[label] = step * signs[label]
        count = 0
        for label in range(width):
            if steps[label] != 0:
                moved[count] = label
                count += 1
        if count == 0:
            continue
        for i in range(begin, end):
            value, line = values[i], weights[indices[i]]
            for j in range(count):
                label = moved[j]
                line[label] = float_to_half(half_to_float(line[label]) + value * steps[label])
        for j in range(count):
            constant[moved[j]] += CONSTANT * steps[moved[j]]


@compiled
def _write_signs(states: LabelStates, row: int, first: int, signs: Floats) -> None:
    """Write the signs of the labels from `first` on: 1 if present, -1 if absent, 0 if unknown."""
    present, absent, groups, complete = states
    closed = np.float32(-1) if complete[row, 0] else np.float32(0)
    for label in range(signs.size):
        signs[label] = closed
    if complete.shape[1] > 1:
        for label in range(signs.size):
            signs[label] = -1 if complete[row, groups[first + label]] else 0
    for i in range(absent.indptr[row], absent.indptr[row + 1]):
        label = absent.ids[i] - first
        if 0 <= label < signs.size:
            signs[label] = -1
    for i in range(present.indptr[row], present.indptr[row + 1]):
        label = present.ids[i] - first
        if 0 <= label < signs.size:
            signs[label] = 1
