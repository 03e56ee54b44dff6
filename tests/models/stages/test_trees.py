"""Evaluation of trees gives the same raw scores as LightGBM."""

import lightgbm
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labelwright.entities.tables import Entities
from labelwright.models.kernels.simd import LANES, LEAVES
from labelwright.models.labeler import Labeler
from labelwright.models.stages.reranker import PAIR_FEATURES
from labelwright.models.stages.trees import Forest, new_workspace, read_forest, walk
from tests import plain

some = settings(max_examples=25, deadline=None)

FEATURES, LABELS = 5, 70
Pairs = npt.NDArray[np.float32]


def pairs_of(random: np.random.Generator, rows: int, unknown: float) -> Pairs:
    """Random pairs with ties. Feature 2 has some NaN, and the last feature is the label."""
    pairs = np.round(random.normal(size=(rows, FEATURES)), 1).astype(np.float32)
    pairs[random.random(rows) < unknown, 2] = np.nan
    pairs[:, -1] = random.integers(0, LABELS, rows)
    return pairs


def grown(seed: int, leaves: int, trees: int, unknown: float) -> lightgbm.Booster:
    random = np.random.default_rng(seed)
    pairs = pairs_of(random, 600, unknown)
    signal = pairs[:, 0] + np.nan_to_num(pairs[:, 2], nan=0.7) + np.sin(pairs[:, -1])
    present = (signal + random.normal(size=600) > 0).astype(np.float32)
    data = lightgbm.Dataset(pairs, present, categorical_feature=[FEATURES - 1], free_raw_data=False)
    parameters = {
        "objective": "binary",
        "num_leaves": leaves,
        "min_data_in_leaf": 5,
        "cat_smooth": 1.0,
        "verbosity": -1,
        "seed": seed,
        "deterministic": True,
        "num_threads": 1,
    }
    return lightgbm.train(parameters, data, trees)


def raw_scores(forest: Forest, pairs: Pairs) -> npt.NDArray[np.float64]:
    raw = np.empty(len(pairs))
    lanes = np.pad(pairs.T, ((0, 0), (0, -len(pairs) % LANES)))
    walk(forest, np.ascontiguousarray(lanes), new_workspace(forest), raw)
    return raw


@some
@example(0, LEAVES, 3, 0.3, 16)
@given(
    st.integers(0, 999),
    st.integers(2, LEAVES),
    st.sampled_from([1, 3, 15, 16, 17, 33]),
    st.sampled_from([0.0, 0.01, 0.5]),
    st.sampled_from([0, 1, 15, 16, 17, 40]),
)
def test_raw_scores_are_equal_to_the_predictions_of_lightgbm(
    seed: int, leaves: int, trees: int, unknown: float, rows: int
) -> None:
    booster = grown(seed, leaves, trees, unknown)
    forest = read_forest(booster.model_to_string(), FEATURES, LABELS)
    pairs = pairs_of(np.random.default_rng(seed + 1), rows, 0.2)
    expected = booster.predict(pairs, raw_score=True) if rows else np.zeros(0)
    np.testing.assert_array_equal(raw_scores(forest, pairs), expected)


def test_a_node_can_separate_nan_from_numbers() -> None:
    """LightGBM writes a threshold of infinity for such a node."""
    random = np.random.default_rng(0)
    pairs = pairs_of(random, 400, 0.5)
    pairs[~np.isnan(pairs[:, 2]), 2] = 1
    data = lightgbm.Dataset(pairs, np.isnan(pairs[:, 2]), params={"verbosity": -1})
    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "num_leaves": 3}, data, 3)
    forest = read_forest(booster.model_to_string(), FEATURES, LABELS)
    pairs[0, 2] = np.finfo(np.float32).max
    np.testing.assert_array_equal(raw_scores(forest, pairs), booster.predict(pairs, raw_score=True))


def test_values_on_a_threshold_go_left() -> None:
    booster = grown(0, 8, 4, 0.0)
    forest = read_forest(booster.model_to_string(), FEATURES, LABELS)
    pairs = np.zeros((len(forest.thresholds), FEATURES), np.float32)
    numbers = np.tile(np.arange(FEATURES), 2)
    compared = np.repeat(numbers, np.diff(forest.bounds).ravel())
    pairs[np.arange(len(pairs)), compared] = forest.thresholds
    expected = booster.predict(pairs, raw_score=True)
    np.testing.assert_array_equal(raw_scores(forest, pairs), expected)


@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_values_near_zero_are_treated_as_zero(unknown: float) -> None:
    """LightGBM, too, treats values below about 1e-35 as 0."""
    random = np.random.default_rng(0)
    pairs = pairs_of(random, 600, unknown)
    near = [0, -0.0, 1e-40, -1e-40, 1e-36, -1e-36, 1e-35, -1e-35, 2e-35, -2e-35, 1, -1]
    pairs[:, 2] = np.where(np.isnan(pairs[:, 2]), np.nan, random.choice(near[:1] + near[-2:], 600))
    present = (np.nan_to_num(pairs[:, 2], nan=0.5) > 0) ^ (random.random(600) < 0.1)
    data = lightgbm.Dataset(pairs, present, categorical_feature=[FEATURES - 1])
    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "num_leaves": 4}, data, 5)
    forest = read_forest(booster.model_to_string(), FEATURES, LABELS)
    pairs = pairs_of(random, 40 * len(near), 0.0)
    pairs[:, 2] = np.tile(np.array(near, np.float32), 40)
    np.testing.assert_array_equal(raw_scores(forest, pairs), booster.predict(pairs, raw_score=True))


def test_a_tree_with_one_leaf_adds_its_value() -> None:
    random = np.random.default_rng(0)
    pairs = pairs_of(random, 50, 0)
    data = lightgbm.Dataset(pairs, np.arange(50) % 2, params={"verbosity": -1})
    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "min_data": 50}, data, 2)
    forest = read_forest(booster.model_to_string(), FEATURES, LABELS)
    assert not len(forest.trees)
    np.testing.assert_array_equal(raw_scores(forest, pairs), booster.predict(pairs, raw_score=True))


def test_real_raw_scores_are_equal_to_the_predictions_of_lightgbm(
    labeler: Labeler, brands: Entities
) -> None:
    rows = labeler.features.transform(brands.slice(0, 300))
    pairs = plain.pairs_of(labeler, rows)
    expected = plain.raw_scores(labeler, pairs)
    np.testing.assert_array_equal(raw_scores(labeler.reranker.forest, pairs), expected)


# Unsupported trees.


TEXT = grown(1, 6, 3, 0.3).model_to_string()
CHANGES = [
    ("tree\nversion", "shrub\nversion", "not in LightGBM's text format"),
    ("num_tree_per_iteration=1", "num_tree_per_iteration=2", "several classes"),
    ("\nTree=2", "\nBush=2", "missing"),
    ("max_feature_idx=4", "max_feature_idx=5", "do not have 5 features"),
    ("is_linear=0", "is_linear=1", "linear leaves"),
    ("num_leaves=6", "num_leaves=17", "17 leaves"),
    ("num_leaves=6", "num_leaves=5", "nodes or leaves"),
    ("leaf_value=", "leaf_value=nan ", "nodes or leaves"),
    ("split_feature=", "split_feature=7 ", "nodes or leaves"),
]


@pytest.mark.parametrize(("before", "after", "message"), CHANGES)
def test_unsupported_trees_are_an_error(before: str, after: str, message: str) -> None:
    assert before in TEXT
    with pytest.raises(ValueError, match=message):
        read_forest(TEXT.replace(before, after), FEATURES, LABELS)


def replaced(name: str, place: int, value: str) -> str:
    """TEXT with another number in the first tree."""
    head, tree, rest = TEXT.partition("Tree=0")
    lines = rest.split("\n")
    at = next(n for n, line in enumerate(lines) if line.startswith(f"{name}="))
    numbers = lines[at].removeprefix(f"{name}=").split()
    numbers[place] = value
    lines[at] = f"{name}={' '.join(numbers)}"
    return head + tree + "\n".join(lines)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("split_feature", "5"),
        ("split_feature", "-1"),
        ("split_feature", "4"),  # the label, with a threshold
        ("decision_type", "4"),  # zero as missing
        ("left_child", "0"),
        ("left_child", "-9"),
        ("right_child", "99"),
        ("threshold", "nan"),
        ("threshold", "-inf"),
        ("leaf_value", "nan"),
        ("leaf_value", "x"),
    ],
)
def test_a_number_out_of_range_is_an_error(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_forest(replaced(name, 0, value), FEATURES, LABELS)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(TEXT) - 1), st.sampled_from("0123456789-. =\nTx"))
def test_trees_with_any_character_changed_do_not_read_other_memory(at: int, letter: str) -> None:
    try:
        forest = read_forest(TEXT[:at] + letter + TEXT[at + 1 :], FEATURES, LABELS)
    except ValueError:
        return
    pairs = pairs_of(np.random.default_rng(0), 16, 0.5)
    assert np.isfinite(raw_scores(forest, pairs)).all()


def test_the_forest_of_a_model_has_all_pair_features(labeler: Labeler) -> None:
    with pytest.raises(ValueError, match=f"do not have {len(PAIR_FEATURES) + 1} features"):
        read_forest(labeler.reranker.trees, len(PAIR_FEATURES) + 1, len(labeler.labels))
