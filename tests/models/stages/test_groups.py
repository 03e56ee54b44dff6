"""Laws of groups: exclusive groups, attributes, and the most probable kind."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.entities.label_groups import LabelGroup, Role
from labelwright.entities.schema import EntitySchema
from labelwright.models.decisions import BALANCED, Decisions, LabelQuery, Predictions
from labelwright.models.labels import LabelSet
from labelwright.models.stages.groups import Groups, Memberships, asked_of_row
from labelwright.models.stages.implications import Implications
from labelwright.models.stages.linear import candidates
from labelwright.training.fitting.groups import fit_tempering
from tests import plain

some = settings(max_examples=150, deadline=None)

NAMES = ("a=0", "a=1", "a=2", "b=0", "b=1", "b=2", "plain", "w=no", "w=yes", "z=yes")
LABELS = LabelSet(NAMES)
SCHEMA = EntitySchema(
    "test",
    (),
    open_world=("w",),
    groups={
        "a": LabelGroup(("a=*",), exclusive=True, role=Role.KIND),
        "b": LabelGroup(("b=*",), exclusive=True, role=Role.KIND),
        "w": LabelGroup(("w=*",), role=Role.ATTRIBUTE),
        "z": LabelGroup(("z=*",), role=Role.ATTRIBUTE, of=("a=0", "b=0")),
    },
)
A, B, W = range(3), range(3, 6), range(7, 9)
Z = 9
IMPLICATIONS = (
    Implications.none(len(NAMES)),
    # plain implies a=1, z=yes implies b=0, and w=yes implies b=1
    Implications(
        np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3], np.int64), np.array([1, 4, 3], np.int32)
    ),
)


def groups_of(random: np.random.Generator) -> Groups:
    memberships = Memberships.of_labels(SCHEMA, LABELS)
    asked = random.integers(0, 4, (2, len(NAMES) + 1)).astype(np.float32) / 4
    asked[1] = [*(memberships.of[1] if memberships.of[1] is not None else ()), 0]
    return Groups(memberships, np.array(random.uniform(0.05, 5, (2, 2))), asked.astype(np.float32))


def case(
    seed: int, count: int, top_k: int, implications: Implications, low: bool = False
) -> tuple[Groups, npt.NDArray[np.int32], npt.NDArray[np.float32], Predictions]:
    """Groups, candidates, their probabilities and the predictions of three random entities."""
    random = np.random.default_rng(seed)
    scores = (random.integers(-8, 4, (3, len(NAMES))) / 4).astype(np.float32)
    implications.raise_scores(scores)
    chosen = candidates(scores, count)
    probabilities = (random.integers(0, 11, chosen.shape) / 10).astype(np.float32)
    implications.raise_probabilities(chosen, probabilities)
    groups = groups_of(random)
    groups.apply(implications, chosen, probabilities)
    thresholds = (random.integers(0, 11, len(NAMES)) / 10).astype(np.float32) * (not low)
    predictions = plain.predict(
        Decisions(count, 1.5, 3.0, {BALANCED: thresholds}, {}),
        LabelQuery(top_k=top_k),
        LABELS,
        implications,
        scores,
        chosen,
        probabilities,
        groups,
    )
    return groups, chosen, probabilities, predictions


cases = given(
    st.integers(0, 100_000), st.integers(1, 10), st.integers(1, 10), st.sampled_from(IMPLICATIONS)
)


@cases
@some
def test_the_probabilities_of_an_exclusive_group_sum_to_at_most_1(
    seed: int, count: int, top_k: int, implications: Implications
) -> None:
    *_, predictions = case(seed, count, top_k, implications)
    for row in range(len(predictions)):
        one = predictions.slice(row, row + 1)
        for group in (A, B):
            assert one.probabilities[np.isin(one.ids, group)].sum() <= 1 + 1e-6
        assert (np.diff(one.probabilities) <= 0).all()


@cases
@some
def test_at_most_one_label_of_an_exclusive_group_is_asserted(
    seed: int, count: int, top_k: int, implications: Implications
) -> None:
    *_, predictions = case(seed, count, top_k, implications, low=True)
    for row in range(len(predictions)):
        one = predictions.slice(row, row + 1)
        for group in (A, B):
            asserted = one.asserted & np.isin(one.ids, group)
            assert asserted.sum() <= 1
            if asserted.any():
                members = one.probabilities[np.isin(one.ids, group)]
                assert one.probabilities[asserted] == members.max()


@cases
@some
def test_no_prediction_violates_an_implication_where_there_are_groups(
    seed: int, count: int, top_k: int, implications: Implications
) -> None:
    *_, predictions = case(seed, count, top_k, implications, low=True)
    for row in range(len(predictions)):
        one = predictions.slice(row, row + 1)
        decided = zip(one.probabilities, one.asserted, strict=True)
        listed = dict(zip(one.ids.tolist(), decided, strict=True))
        for label, (probability, asserted) in listed.items():
            for above in implications.ancestors_of(label):
                assert listed[above][0] >= probability
                assert listed[above][1] >= asserted


@cases
@some
def test_an_attribute_is_never_more_probable_than_that_it_is_asked(
    seed: int, count: int, top_k: int, implications: Implications
) -> None:
    groups, chosen, probabilities, predictions = case(seed, count, top_k, implications, low=True)
    for row in range(len(predictions)):
        one = predictions.slice(row, row + 1)
        for group, labels in enumerate((W, [Z])):
            asked = asked_of_row(groups.arrays, group, chosen[row], probabilities[row])
            attributes = np.isin(one.ids, labels)
            candidate = np.isin(one.ids, chosen[row])
            assert (one.probabilities[attributes & candidate] <= asked + 1e-6).all()
            if asked == 0:
                assert not one.asserted[attributes].any()


@cases
@some
def test_the_primary_is_the_most_probable_kind_whatever_is_listed(
    seed: int, count: int, top_k: int, implications: Implications
) -> None:
    *_, predictions = case(seed, count, top_k, implications)
    *_, whole = case(seed, count, 10, implications)
    ids, probabilities, asserted = predictions.primaries
    for row in range(len(predictions)):
        one = whole.slice(row, row + 1)
        kinds = np.flatnonzero(one.ids < W[0] - 1)
        first = kinds[0]
        assert (ids[row], probabilities[row], asserted[row]) == (
            one.ids[first],
            one.probabilities[first],
            one.asserted[first],
        )


def test_independent_labels_are_tempered_to_their_conditional_probabilities() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(-1, 1.5, (20_000, 3))
    odds = np.exp(logits)
    weights = np.column_stack([odds, np.ones(len(odds))])
    weights /= weights.sum(axis=1, keepdims=True)
    drawn = (random.random(len(odds))[:, None] > weights.cumsum(axis=1)).sum(axis=1)
    present = drawn[:, None] == np.arange(3)
    assert fit_tempering(logits, present) == pytest.approx([1, 1], rel=0.05)
    assert fit_tempering(logits / 2, present) == pytest.approx([2, 1], rel=0.05)


def test_a_closed_attribute_whose_kinds_are_learned_has_no_group() -> None:
    schema = EntitySchema("test", (), groups={"z": LabelGroup(("z=*",), role=Role.ATTRIBUTE)})
    memberships = Memberships.of_labels(schema, LABELS)
    assert memberships.attribute_names == ()
    assert (memberships.attribute == -1).all()
