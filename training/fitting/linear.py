"""Fitting the linear stage: dual coordinate descent for all labels together.

The objective is liblinear's L2-regularised squared hinge loss (Hsieh et al., ICML 2008), with one
dual variable for each (entity, label) pair. Rows without labels may have soft labels, for example
the scores of a teacher; their loss is the squared difference to these scores.

The labels are divided into blocks. A pass goes through all entities and updates the labels of one
block. The weights of a feature for these labels are adjacent in memory, and most pairs need no
update. Blocks are independent, so the result does not depend on the number of threads. Weights are
stored as float16, because most of the time is spent on reading them from memory. This rounding had
no measurable effect on quality. Kernels treat float16 values as uint16 bits
(`models.kernels.simd`).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse

from labelwright.models.features.space import FeatureRows
from labelwright.models.kernels.csr import joined_offsets, row_numbers
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

_UNBOUNDED = np.float32(1e30)
"""A bound that no dual variable reaches."""

RowOrder = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.uint16]
Fitted = Callable[[int, Halves, Floats], object]
"""Called for each block with the id of its first label, its weights (features x labels, float16
bits), and the weights of the constant feature (one for each label)."""
Mixture: TypeAlias = scipy.sparse.csr_array
"""Parts of the weights of fitted labels (rows) in the weights of the stage's labels (columns)."""


def no_start(first: int, weights: Halves, constant: Floats) -> None:
    """A start of `fit_linear` with weights of 0."""


class SoftLabels(NamedTuple):
    """Scores of labels of rows that are not training rows: targets of the linear stage.

    Row `first` + r of the features has the targets `scores[indptr[r]:indptr[r + 1]]` (float32, from
    -1 to 1) for the labels `ids[...]` (int32). All other labels of the row are absent. `costs[r]`
    (float32) is liblinear's C for this row.
    """

    first: int
    indptr: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]
    scores: Floats
    costs: Floats

    @classmethod
    def none(cls, rows: int) -> Self:
        """No soft labels, after `rows` training rows."""
        nothing = np.zeros(0, np.float32)
        return cls(rows, np.zeros(1, np.int64), np.zeros(0, np.int32), nothing, nothing)

    @classmethod
    def joined(cls, parts: Sequence["SoftLabels"]) -> Self:
        """The soft labels of adjacent rows."""
        return cls(
            parts[0].first,
            joined_offsets([part.indptr for part in parts]),
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.costs for part in parts]),
        )

    @property
    def rows(self) -> RowOrder:
        """The numbers of the rows with soft labels."""
        return self.first + np.arange(len(self.costs))


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
    soft: SoftLabels | None = None,
    mixture: Mixture | None = None,
    start: Fitted = no_start,
) -> LinearStage:
    """Fit one linear classifier for each label.

    `rows` are the rows of `labels`, and after them the rows of `soft`, if there are any. Each of
    `passes` is a sequence of row numbers. Rows that are in no pass are not used. Unknown pairs are
    skipped. `features` is the number of features. `cost` is liblinear's C. `advance` is called
    after each pass of a block with the share of the work that this pass was. `allocator` allocates
    the dual variables. `fitted` is called with the weights of each block before they are rounded.
    With a `mixture`, the stage's weights are mixtures of the fitted weights. `start` is called with
    the weights of each block, which are 0, before the first pass; it may write others. Raises
    StorageError if the allocator needs more disk space than is free.
    """
    allocator = allocator or SpillingAllocator()
    soft = soft or SoftLabels.none(len(labels))
    count = len(rows.names)
    block_size = _block_size(count * threads, allocator)
    firsts = range(0, labels.labels, block_size)
    kept = labels.labels if mixture is None else mixture.shape[1]
    frequent = max(1, min(features, DENSE_BYTES // padded(kept)))
    states = labels.states

    def fit_block(first: int) -> _FittedBlock:
        width = min(block_size, labels.labels - first)
        weights, constant = np.zeros((features, width), np.uint16), np.zeros(width, np.float32)
        start(first, weights, constant)
        duals = allocator.zeros((count, width), np.float32)
        block = _Block(first, weights, constant, duals)
        for order in passes:
            _descend(rows, order, states, soft, np.float32(cost), block)
            advance(1 / (len(firsts) * len(passes)))
        fitted(first, weights, constant)
        return _snapshot(weights, constant, frequent)

    with ThreadPoolExecutor(threads) as pool:
        return _assemble(list(pool.map(fit_block, firsts)), mixture)


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


def _assemble(blocks: list[_FittedBlock], mixture: Mixture | None) -> LinearStage:
    """Join and mix the blocks; round weights to 8 bits, with one scale for each feature."""
    bias = np.concatenate([block.bias for block in blocks])
    dense = np.concatenate([block.dense for block in blocks], axis=1)
    rare = scipy.sparse.hstack([block.rare for block in blocks], format="csr")
    if mixture is not None:
        bias = START + (bias - START) @ mixture
        dense = np.ascontiguousarray(dense @ mixture)  # scipy returns columns
        rare = (rare @ mixture).tocsr()
    largest = np.zeros(rare.shape[0], np.float32)
    owners = row_numbers(rare.indptr)
    np.maximum.at(largest, owners, np.abs(rare.data))
    peaks = np.concatenate([np.abs(dense).max(axis=1), largest])
    scales = np.where(peaks > 0, peaks / 127, 1).astype(np.float32)
    rounded = np.rint(dense / scales[: len(dense), None]).astype(np.int8)
    return LinearStage(
        bias=bias,
        scales=scales,
        dense=np.pad(rounded, ((0, 0), (0, padded(len(bias)) - len(bias)))),
        sparse_indptr=rare.indptr.astype(np.int64),
        sparse=pack_weights(
            rare.indices, np.rint(rare.data / scales[len(dense) + owners]).astype(np.int8)
        ),
    )


@compiled
def _descend(
    rows: FeatureRows,
    order: RowOrder,
    states: LabelStates,
    soft: SoftLabels,
    cost: np.float32,
    block: _Block,
) -> None:
    """One pass over the rows in `order` for one block of labels.

    For a pair with target t, score s and dual b, the step of dual coordinate descent is
    b' = b + (t - s - b / 2C) / (|x|^2 + 1 / 2C), moved into the bounds of b; (b' - b) x is added to
    the weights. The target of a label is 1 if it is present, with b >= 0, and -1 if it is absent,
    with b <= 0: this is the squared hinge loss. The dual of an unknown pair is 0. The dual of a
    soft label has no bounds: this is the squared loss.
    """
    indptr, indices, values, _ = rows
    first, weights, constant, duals = block
    width = weights.shape[1]
    scores = np.empty(width, np.float32)
    targets, lowest, highest = np.empty((3, width), np.float32)
    steps = np.empty(width, np.float32)
    moved = np.empty(width, np.int32)
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
        if row < soft.first:
            _write_targets(states, row, first, targets, lowest, highest)
            damping = np.float32(0.5) / cost
        else:
            _write_soft_targets(soft, row - soft.first, first, targets, lowest, highest)
            damping = np.float32(0.5) / soft.costs[row - soft.first]
        curvature = np.float32(1) + CONSTANT * CONSTANT + damping
        dual = duals[row]
        for label in range(width):
            change = (targets[label] - scores[label] - damping * dual[label]) / curvature
            step = min(max(dual[label] + change, lowest[label]), highest[label]) - dual[label]
            step = step if abs(step) >= SMALLEST_STEP else np.float32(0)
            dual[label] += step
            steps[label] = step
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
def _write_targets(
    states: LabelStates, row: int, first: int, targets: Floats, lowest: Floats, highest: Floats
) -> None:
    """Write the targets of the labels from `first` on, and the bounds of their duals.

    The target is 1 if the label is present, -1 if it is absent, and 0 if it is unknown.
    """
    present, absent, groups, complete = states
    closed = np.float32(-1) if complete[row, 0] else np.float32(0)
    for label in range(targets.size):
        targets[label] = closed
    if complete.shape[1] > 1:
        for label in range(targets.size):
            targets[label] = -1 if complete[row, groups[first + label]] else 0
    for i in range(absent.indptr[row], absent.indptr[row + 1]):
        label = absent.ids[i] - first
        if 0 <= label < targets.size:
            targets[label] = -1
    for i in range(present.indptr[row], present.indptr[row + 1]):
        label = present.ids[i] - first
        if 0 <= label < targets.size:
            targets[label] = 1
    for label in range(targets.size):
        lowest[label] = _UNBOUNDED * min(targets[label], np.float32(0))
        highest[label] = _UNBOUNDED * max(targets[label], np.float32(0))


@compiled
def _write_soft_targets(
    soft: SoftLabels, row: int, first: int, targets: Floats, lowest: Floats, highest: Floats
) -> None:
    """Write the targets of the labels from `first` on, and the bounds of their duals."""
    targets[:] = -1
    lowest[:] = -_UNBOUNDED
    highest[:] = 0
    for i in range(soft.indptr[row], soft.indptr[row + 1]):
        label = soft.ids[i] - first
        if 0 <= label < targets.size:
            targets[label] = soft.scores[i]
            highest[label] = _UNBOUNDED
