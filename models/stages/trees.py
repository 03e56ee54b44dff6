"""Evaluation of LightGBM's trees for many pairs at once.

A tree is not walked from node to node. Instead, all its nodes are evaluated. If a pair goes right
at a node, the leaves below the left child are removed. The pair reaches the first leaf that remains
(QuickScorer: Lucchese et al., SIGIR 2015). This needs no branches, and a few instructions evaluate
one node for LANES pairs. Nodes that depend only on the label are evaluated once for each label,
when the trees are read. The raw scores are bitwise equal to LightGBM's own predictions.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from labelwright.models.kernels.jit import compiled
from labelwright.models.kernels.simd import (
    LANES,
    LEAVES,
    keep_leaves,
    keep_leaves_nan_left,
    sum_leaves,
    transpose,
)

_CATEGORICAL, _DEFAULT_LEFT, _MISSING = 1, 2, 12  # bits of LightGBM's decision_type
_MISSING_NONE, _MISSING_NAN = 0, 8
_EVERY_LEAF = 0xFFFF
_ZERO = np.float32(1e-35)  # LightGBM treats smaller values as 0

Floats = npt.NDArray[np.float32]
Leaves = npt.NDArray[np.uint16]
Number = TypeVar("Number", bound=np.generic)


class Forest(NamedTuple):
    """Trees over `features` features of (entity, label) pairs; the last feature is the label.

    Node n belongs to tree `trees[n]`. If the value of its feature exceeds `thresholds[n]`, only the
    leaves in `right[n]` (one bit each) remain. The nodes of feature f are at positions
    `bounds[0, f]` to `bounds[0, f + 1]` - 1 if NaN goes right there, and at `bounds[1, f]` to
    `bounds[1, f + 1]` - 1 if NaN goes left. `by_label` (uint16[labels, whole lanes of trees])
    has the leaves (one bit each) that pairs with the label can reach. `values` (float64[trees,
    LEAVES]) are the values of the leaves.
    """

    features: int
    bounds: npt.NDArray[np.int64]
    trees: npt.NDArray[np.int32]
    thresholds: Floats
    right: Leaves
    by_label: Leaves
    values: npt.NDArray[np.float64]


class Workspace(NamedTuple):
    """Working memory for LANES pairs: their labels, reachable leaves, and sums of leaf values."""

    labels: npt.NDArray[np.int32]
    reached: Leaves
    sums: npt.NDArray[np.float64]


class _Node(NamedTuple):
    """A node of a `Forest`. Nodes are sorted by these fields, in this order."""

    nan_left: bool
    feature: int
    tree: int
    threshold: np.float32
    right: int


@dataclasses.dataclass(frozen=True)
class _Tree:
    """A tree in LightGBM's arrays. A child below 0 is the leaf with the number -child - 1."""

    features: npt.NDArray[np.int64]
    thresholds: npt.NDArray[np.float64]
    decisions: npt.NDArray[np.int64]
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    bounds: npt.NDArray[np.int64]
    categories: npt.NDArray[np.uint32]


def read_forest(text: str, features: int, labels: int) -> Forest:
    """Read trees from LightGBM's text; raises ValueError for trees that `walk` does not support."""
    trees = list(_read_trees(text, features))
    by_label = np.full((labels, whole_lanes(len(trees))), _EVERY_LEAF, np.uint16)
    values = np.zeros((len(trees), LEAVES))
    nodes: list[_Node] = []
    for number, tree in enumerate(trees):
        order, right = _leaves(tree)
        values[number, : len(order)] = tree.values[order]
        for node, remaining in enumerate(right):
            if tree.decisions[node] & _CATEGORICAL:
                goes_right = ~_in_category(tree, node, labels)
                by_label[goes_right, number] &= np.uint16(remaining)
            else:
                left = _nan_goes_left(tree, node)
                threshold = _as_float32(tree.thresholds[node])
                nodes.append(_Node(left, int(tree.features[node]), number, threshold, remaining))
    nodes.sort()
    groups = [node.nan_left * features + node.feature for node in nodes]
    starts = np.searchsorted(groups, np.arange(2 * features + 1))
    return Forest(
        features,
        np.stack([starts[: features + 1], starts[features:]]),
        np.array([node.tree for node in nodes], np.int32),
        np.array([node.threshold for node in nodes], np.float32),
        np.array([node.right for node in nodes], np.uint16),
        by_label,
        values,
    )


def _read_trees(text: str, features: int) -> Iterator[_Tree]:
    head, *parts = text.partition("end of trees\n")[0].split("\nTree=")
    stated = _entries(head)
    if not head.startswith("tree\n") or stated.get("num_tree_per_iteration") != "1":
        raise ValueError("the trees are not in LightGBM's text format, or have several classes")
    if len(stated.get("tree_sizes", "").split()) != len(parts) or not parts:
        raise ValueError("some trees are missing: the header states another number of trees")
    if stated.get("max_feature_idx") != str(features - 1) or "average_output" in head:
        raise ValueError(f"the trees do not have {features} features, or average their values")
    for part in parts:
        yield _read_tree(_entries(part), features)


def _read_tree(entries: Mapping[str, str], features: int) -> _Tree:
    try:
        leaves = int(entries["num_leaves"])
        tree = _Tree(
            _numbers(entries, "split_feature", np.int64),
            _numbers(entries, "threshold", np.float64),
            _numbers(entries, "decision_type", np.int64),
            _numbers(entries, "left_child", np.int64),
            _numbers(entries, "right_child", np.int64),
            _numbers(entries, "leaf_value", np.float64),
            _numbers(entries, "cat_boundaries", np.int64),
            _numbers(entries, "cat_threshold", np.uint32),
        )
    except (KeyError, OverflowError) as error:
        raise ValueError("numbers of a tree are missing or too large") from error
    if not 1 <= leaves <= LEAVES or entries.get("is_linear", "0") != "0":
        raise ValueError(
            f"a tree has {leaves} leaves (1 to {LEAVES} are supported), or linear leaves"
        )
    _check(tree, leaves, features)
    return tree


def _entries(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.split("\n") if "=" in line)


def _numbers(entries: Mapping[str, str], name: str, kind: type[Number]) -> npt.NDArray[Number]:
    return np.array(entries.get(name, "").split(), kind)


def _check(tree: _Tree, leaves: int, features: int) -> None:
    """Raise ValueError unless the nodes form one tree and all indices are in range."""
    per_node = (tree.features, tree.thresholds, tree.decisions, tree.left, tree.right)
    if any(len(given) != leaves - 1 for given in per_node) or len(tree.values) != leaves:
        raise ValueError("nodes or leaves of a tree are missing")
    children = np.concatenate([tree.left, tree.right])
    parents = np.tile(np.arange(leaves - 1), 2)
    expected = [*range(-leaves, 0), *range(1, leaves - 1)] if leaves > 1 else []
    if sorted(children.tolist()) != expected:
        raise ValueError("the nodes of a tree do not form a tree")
    if (children[children > 0] <= parents[children > 0]).any():
        raise ValueError("the nodes of a tree form a cycle")
    if not (np.isfinite(tree.values).all() and (tree.thresholds > -np.inf).all()):
        raise ValueError("numbers of a tree are not finite")
    for node, feature in enumerate(tree.features.tolist()):
        categorical = bool(tree.decisions[node] & _CATEGORICAL)
        if not 0 <= feature < features or categorical != (feature == features - 1):
            raise ValueError("a node has a feature that does not exist or is of the wrong kind")
        if not categorical and tree.decisions[node] & _MISSING not in (_MISSING_NONE, _MISSING_NAN):
            raise ValueError("a node treats zero as missing")
        if categorical:
            place = tree.thresholds[node]
            if place != int(place) or not 0 <= place < len(tree.bounds) - 1:
                raise ValueError("a node has no categories")
    if len(tree.bounds) and not (
        tree.bounds[0] == 0
        and (np.diff(tree.bounds) >= 0).all()
        and tree.bounds[-1] == len(tree.categories)
    ):
        raise ValueError("the categories of a tree are incomplete")


def _leaves(tree: _Tree) -> tuple[list[int], list[int]]:
    """The leaves from left to right, and for each node all leaves but those below its left child.

    The leaves of a node are bits; bit i is the leaf at position i from the left.
    """
    order: list[int] = []
    right = [_EVERY_LEAF] * len(tree.left)

    def visit(child: int) -> int:
        """Number the leaves below a child, and return them as bits."""
        if child < 0:
            order.append(-child - 1)
            return 1 << (len(order) - 1)
        left = visit(int(tree.left[child]))
        right[child] = _EVERY_LEAF & ~left
        return left | visit(int(tree.right[child]))

    visit(0 if len(tree.left) else -1)
    return order, right


def _in_category(tree: _Tree, node: int, labels: int) -> npt.NDArray[np.bool_]:
    """The labels (bool[labels]) that go left at a node."""
    place = int(tree.thresholds[node])
    words = tree.categories[tree.bounds[place] : tree.bounds[place + 1]]
    bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little").astype(np.bool_)
    return np.concatenate([bits, np.zeros(labels, np.bool_)])[:labels]


def _nan_goes_left(tree: _Tree, node: int) -> bool:
    """Whether NaN goes left at a node. A node that was trained without NaN treats NaN as 0."""
    if tree.decisions[node] & _MISSING == _MISSING_NAN:
        return bool(tree.decisions[node] & _DEFAULT_LEFT)
    return bool(tree.thresholds[node] >= 0)


def _as_float32(threshold: np.float64) -> np.float32:
    """The float32 threshold that divides float32 values as the float64 threshold does.

    This is the largest finite float32 that is at most the threshold. An infinite threshold divides
    NaN from all numbers. LightGBM treats values near 0 as 0, so a threshold near 0 is moved to the
    border of these values.
    """
    if abs(threshold) <= _ZERO:
        return _ZERO if threshold >= 0 else np.nextafter(-_ZERO, np.float32(-np.inf))
    single = np.float32(min(float(threshold), float(np.finfo(np.float32).max)))
    return np.nextafter(single, np.float32(-np.inf)) if single > threshold else single


@compiled
def new_workspace(forest: Forest) -> Workspace:
    """Working memory for `walk`."""
    return Workspace(
        np.empty(LANES, np.int32),
        np.empty((forest.by_label.shape[1], LANES), np.uint16),
        np.empty(LANES, np.float64),
    )


@compiled
def whole_lanes(number: int) -> int:
    """A number of pairs or trees, rounded up to a multiple of LANES."""
    return -(-number // LANES) * LANES


@compiled
def walk(forest: Forest, pairs: Floats, work: Workspace, raw: npt.NDArray[np.float64]) -> None:
    """Write the raw scores of `raw.size` pairs: the sums of the values of the leaves they reach.

    `pairs` is float32[features, whole_lanes(raw.size)]. Unused lanes, too, must contain the id of a
    label.
    """
    for first in range(0, raw.size, LANES):
        for lane in range(LANES):
            work.labels[lane] = pairs[forest.features - 1, first + lane]
        for tree in range(0, work.reached.shape[0], LANES):
            transpose(forest.by_label, work.labels, tree, work.reached)
        nodes = forest.trees, forest.thresholds, forest.right
        right, left = forest.bounds[0], forest.bounds[1]
        for feature in range(forest.features):
            at, after = feature * pairs.shape[1] + first, feature + 1
            keep_leaves(work.reached, *nodes, right[feature], right[after], pairs, at)
            keep_leaves_nan_left(work.reached, *nodes, left[feature], left[after], pairs, at)
        sum_leaves(work.reached, forest.values, work.sums)
        count = min(LANES, raw.size - first)
        raw[first : first + count] = work.sums[:count]
