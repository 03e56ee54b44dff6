"""No prediction violates an implication, for any scores and probabilities."""

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.models.decisions import BALANCED, Decisions, LabelQuery, Predictions
from labelwright.models.labels import LabelSet
from labelwright.models.stages.implications import Implications
from labelwright.models.stages.linear import candidates
from tests import plain

L = 12
some = settings(max_examples=100, deadline=None)


def implications_of(ancestors: list[set[int]]) -> Implications:
    indptr = np.cumsum([0, *map(len, ancestors)]).astype(np.int64)
    depth = [len(above) for above in ancestors]
    flat = [a for above in ancestors for a in sorted(above, key=lambda a: -depth[a])]
    return Implications(indptr, np.array(flat, np.int32))


@st.composite
def relations(draw: st.DrawFn) -> Implications:
    """Random implications without cycles.

    The labels have a random order, and each label implies only labels before it.
    """
    order = draw(st.permutations(range(L)))
    ancestors: list[set[int]] = [set() for _ in range(L)]
    for place, label in enumerate(order):
        for parent in draw(st.sets(st.sampled_from(order[:place]), max_size=2)) if place else ():
            ancestors[label] |= {parent} | ancestors[parent]
    return implications_of(ancestors)


@dataclasses.dataclass(frozen=True)
class Case:
    implications: Implications
    scores: npt.NDArray[np.float32]
    chosen: npt.NDArray[np.int32]
    predictions: Predictions


def random_case(implications: Implications, seed: int, query: LabelQuery, rows: int = 3) -> Case:
    """Predictions from random scores and probabilities with ties."""
    random = np.random.default_rng(seed)
    scores = (random.integers(-8, 4, (rows, L)) / 4).astype(np.float32)
    implications.raise_scores(scores)
    chosen = candidates(scores, 5)
    probabilities = (random.integers(0, 11, chosen.shape) / 10).astype(np.float32)
    implications.raise_probabilities(chosen, probabilities)
    thresholds = (random.integers(0, 11, L) / 10).astype(np.float32)
    decisions = Decisions(5, 1.5, -1.0, {BALANCED: thresholds}, {})
    labels = LabelSet(tuple(f"{n:02}" for n in range(L)))
    predictions = plain.predict(
        decisions, query, labels, implications, scores, chosen, probabilities
    )
    return Case(implications, scores, chosen, predictions)


@given(relations(), st.integers(0, 10_000), st.integers(1, L))
@some
def test_no_prediction_violates_an_implication(
    implications: Implications, seed: int, top_k: int
) -> None:
    predictions = random_case(implications, seed, LabelQuery(top_k=top_k)).predictions
    for start, end in zip(predictions.indptr[:-1], predictions.indptr[1:], strict=True):
        place = {int(label): i for i, label in enumerate(predictions.ids[start:end])}
        for label, at in place.items():
            for above in implications.ancestors_of(label):
                assert place[above] < at
                assert (
                    predictions.probabilities[start + place[above]]
                    >= predictions.probabilities[start + at]
                )
                assert (
                    predictions.asserted[start + place[above]] >= predictions.asserted[start + at]
                )


@given(relations(), st.integers(0, 10_000))
@some
def test_candidates_include_the_ancestors_of_candidates(
    implications: Implications, seed: int
) -> None:
    case = random_case(implications, seed, LabelQuery())
    for chosen in case.chosen.tolist():
        for place, label in enumerate(chosen):
            assert set(implications.ancestors_of(label)) <= set(chosen[:place])


def test_ancestors_rise_to_just_above_their_descendants() -> None:
    scores = np.array([[0.5, 2.0, -1.0, 0.0]], np.float32)
    implications_of([set(), {0, 3}, set(), {0}]).raise_scores(scores)
    assert scores[0, 1:3].tolist() == [2.0, -1.0]
    assert scores[0, 0] > scores[0, 3] > 2
    assert scores[0].max() == pytest.approx(2, abs=1e-5)


def test_without_implications_scores_do_not_change() -> None:
    scores = np.random.default_rng(0).random((4, L)).astype(np.float32)
    given_scores = scores.copy()
    Implications.none(L).raise_scores(scores)
    np.testing.assert_array_equal(scores, given_scores)
