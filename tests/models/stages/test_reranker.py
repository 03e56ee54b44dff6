"""The reranker: features of pairs, calibration, and probabilities."""

import math

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.entities.tables import Entities
from labelwright.models.features.space import FeatureRows
from labelwright.models.labeler import Labeler
from labelwright.models.labels import label_matrix
from labelwright.models.stages.linear import LabelIds, Scores, candidates
from labelwright.models.stages.namesakes import Recalled
from labelwright.models.stages.reranker import (
    LABEL_FEATURE,
    PAIR_FEATURES,
    Relations,
    calibrated,
    pair_features,
)
from tests import plain

some = settings(max_examples=60, deadline=None)


def rows_of(lengths: list[int]) -> FeatureRows:
    """Feature rows with these lengths. Their content does not matter."""
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    features = np.zeros(indptr[-1], np.int32), np.ones(indptr[-1], np.float32)
    return FeatureRows(indptr, *features, np.zeros(len(lengths), np.uint64))


def by_hand(
    length: int,
    scores: list[float],
    chosen: list[int],
    recalled: list[list[float]],
    rate: list[float],
    co_occurrence: list[list[int]],
) -> list[dict[str, float]]:
    """The pair features of the candidates of one entity, computed in plain Python."""
    share = {label: min(max((scores[label] + 1) / 2, 0), 1) for label in chosen}
    pairs = []
    for rank, label in enumerate(chosen):
        others = [other for other in chosen if other != label]
        brings = {other: co_occurrence[other][label] / 255 for other in others}
        first = next(iter(others), label)
        implying = [scores[other] for other in others if brings[other] > 0.95]
        pairs.append(
            {
                "score": scores[label],
                "rank": rank,
                "gap_to_best": scores[chosen[0]] - scores[label],
                "gap_to_previous": scores[chosen[rank - 1]] - scores[label] if rank else 0,
                "best": scores[chosen[0]],
                "second": scores[chosen[1]] if others else -3,
                "support": sum(share[other] * brings[other] for other in others),
                "strongest_support": max((share[o] * brings[o] for o in others), default=0),
                "lift": sum(
                    share[other] * math.log((brings[other] + 1e-3) / (rate[label] + 1e-3))
                    for other in others
                ),
                "missing_company": sum(
                    (1 - share[other]) * co_occurrence[label][other] / 255 for other in others
                ),
                "brought_by_first": co_occurrence[first][label] / 255,
                "brings_first": co_occurrence[label][first] / 255,
                "specialisation": max([-3, *implying]),
                "total": sum(share.values()),
                "known_features": length,
                "namesakes": recalled[rank][0],
                "namesakes_with_label": recalled[rank][1],
                "label": label,
            }
        )
    return pairs


def assert_as_by_hand(
    rows: FeatureRows,
    scores: Scores,
    chosen: LabelIds,
    recalled: Recalled,
    rate: npt.NDArray[np.float32],
    co_occurrence: npt.NDArray[np.uint8],
) -> None:
    found = pair_features(rows, scores, chosen, recalled, Relations.of(rate, co_occurrence))
    expected = [
        pair
        for row, length in enumerate(np.diff(rows.indptr))
        for pair in by_hand(
            int(length),
            scores[row].tolist(),
            chosen[row].tolist(),
            recalled[row].tolist(),
            rate.tolist(),
            co_occurrence.tolist(),
        )
    ]
    assert found.shape == (chosen.size, len(PAIR_FEATURES))
    assert found.dtype == np.float32
    for values, pair in zip(found.tolist(), expected, strict=False):
        named = dict(zip(PAIR_FEATURES, values, strict=False))
        assert named == pytest.approx(pair, rel=1e-4, abs=1e-4, nan_ok=True)


@some
@given(st.integers(0, 9_999), st.integers(1, 9), st.integers(1, 12), st.integers(0, 3))
def test_pair_features_are_equal_to_plain_python(
    seed: int, labels: int, count: int, entities: int
) -> None:
    random = np.random.default_rng(seed)
    scores = random.normal(scale=1.5, size=(entities, labels)).astype(np.float32)
    co_occurrence = random.choice(np.array([0, 1, 128, 240, 243, 255], np.uint8), (labels, labels))
    rate = random.random(labels).astype(np.float32)
    rows = rows_of(random.integers(0, 9, entities).tolist())
    chosen = candidates(scores, count)
    recalled = random.choice(np.array([np.nan, 0, 0.4, 3], np.float32), (*chosen.shape, 2))
    assert_as_by_hand(rows, scores, chosen, recalled, rate, co_occurrence)


def test_real_pair_features_are_equal_to_plain_python(labeler: Labeler, brands: Entities) -> None:
    rows = labeler.features.transform(brands.slice(100, 5))
    scores, chosen, _ = plain.stages(labeler, rows)
    reranker = labeler.reranker
    recalled = labeler.namesakes.recall(rows.names, chosen)
    assert_as_by_hand(rows, scores, chosen, recalled, reranker.rate, reranker.co_occurrence)
    pairs = labeler.pairs(rows, scores, chosen)
    assert np.array_equal(pairs[:, LABEL_FEATURE].reshape(chosen.shape), chosen)


def test_the_names_of_features_are_distinct() -> None:
    assert len(set(PAIR_FEATURES)) == len(PAIR_FEATURES) == 18
    assert PAIR_FEATURES[LABEL_FEATURE] == "label"


# Calibration.

KNOTS = st.lists(st.floats(-20, 20), min_size=1, max_size=6, unique=True).map(sorted)


@some
@given(KNOTS, st.data())
def test_calibration_keeps_the_order(raw_knots: list[float], data: st.DataObject) -> None:
    size = len(raw_knots)
    log_odds = sorted(data.draw(st.lists(st.floats(-20, 20), min_size=size, max_size=size)))
    raw = np.array(sorted(data.draw(st.lists(st.floats(-50, 50), max_size=20))), np.float64)
    found = calibrated(raw, np.array([raw_knots, log_odds]))
    assert found.dtype == np.float32
    assert (np.diff(found) >= 0).all()
    assert ((found > 0) & (found <= 1)).all()


def test_calibration_is_linear_in_log_odds_between_knots() -> None:
    knots = np.array([[-1.0, 1.0, 3.0], [-2.0, 0.0, 4.0]])
    raw = np.array([-9.0, -1.0, 0.0, 1.0, 2.0, 3.0, 9.0])
    log_odds = np.array([-2.0, -2.0, -1.0, 0.0, 2.0, 4.0, 4.0])
    assert np.allclose(calibrated(raw, knots), 1 / (1 + np.exp(-log_odds)))


def test_the_knots_of_a_real_model_are_in_order(labeler: Labeler) -> None:
    assert (np.diff(labeler.reranker.knots, axis=1) >= 0).all()
    assert (np.diff(labeler.reranker.knots[0]) > 0).all()


# Probabilities.


def test_the_probabilities_of_a_row_do_not_depend_on_its_neighbours(
    labeler: Labeler, brands: Entities
) -> None:
    rows = labeler.features.transform(brands.slice(0, 40))
    _, _, together = plain.stages(labeler, rows)
    order = np.random.default_rng(0).permutation(40)
    _, _, shuffled = plain.stages(labeler, rows.take(order))
    assert np.array_equal(shuffled, together[order])
    for row in range(5):
        _, _, alone = plain.stages(labeler, rows.take(np.array([row])))
        assert np.array_equal(alone, together[row : row + 1])


def test_probabilities_are_calibrated(
    labeler: Labeler, brands: Entities, brand_labels: pa.ListArray
) -> None:
    truth = label_matrix(brand_labels, labeler.labels)
    _, chosen, probabilities = plain.stages(labeler, labeler.features.transform(brands))
    hits = truth.contains(chosen)
    assert hits[probabilities > 0.9].mean() > 0.8
    assert hits[probabilities < 0.1].mean() < 0.2


def test_lifts_add_up_to_the_pair_feature_lift(labeler: Labeler, brands: Entities) -> None:
    rows = labeler.features.transform(brands.slice(7, 1))
    scores, chosen, _ = plain.stages(labeler, rows)
    pairs = labeler.pairs(rows, scores, chosen)
    lifts = labeler.reranker.lifts(scores[0], chosen[0], chosen[0])
    assert (np.diag(lifts) == 0).all()
    sums = pairs[:, PAIR_FEATURES.index("lift")]
    assert lifts.sum(axis=1) == pytest.approx(sums, rel=1e-4, abs=1e-4)
