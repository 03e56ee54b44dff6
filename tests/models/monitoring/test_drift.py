"""Drift: known values of the index, no false alarms, and the changed field as the first shift."""

import math

import hypothesis
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as arrays

from labelwright.entities.tables import Entities
from labelwright.models.labeler import Labeler
from labelwright.models.monitoring.drift import ALARM, Shift, chance_limit, psi, shifts
from labelwright.models.monitoring.profile import Profile
from labelwright.training.data import LabelledEntities, split

Counts = npt.NDArray[np.int64]
HISTOGRAMS = arrays.arrays(np.int64, 6, elements=strategies.integers(0, 10_000))


def counts(*values: int) -> Counts:
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ((50, 50), (50, 50), 0.0),
        ((500_000, 500_000), (900_000, 100_000), 0.4 * math.log(1.8) - 0.4 * math.log(0.2)),
        ((100_000, 300_000, 600_000), (600_000, 300_000, 100_000), math.log(6)),
        ((1_000_000, 0, 0), (1_000_000, 0, 0), 0.0),
    ],
)
def test_the_index_of_known_examples(
    before: tuple[int, ...], now: tuple[int, ...], expected: float
) -> None:
    assert float(psi(counts(*before), counts(*now))) == pytest.approx(expected, abs=1e-4)


def test_the_index_is_finite_for_an_empty_bin() -> None:
    assert 5 < float(psi(counts(1_000, 0), counts(0, 1_000))) < 20


@hypothesis.given(HISTOGRAMS, HISTOGRAMS, strategies.permutations(range(6)))
def test_the_index_is_symmetric_not_negative_and_independent_of_the_order_of_bins(
    before: Counts, now: Counts, order: list[int]
) -> None:
    hypothesis.assume(before.sum() and now.sum())
    index = float(psi(before, now))
    assert index >= 0
    assert float(psi(now, before)) == pytest.approx(index)
    assert float(psi(before[order], now[order])) == pytest.approx(index)
    stacked = psi(np.stack([before, now]), np.stack([now, before]))
    assert stacked == pytest.approx([index, index])


def test_random_samples_of_one_distribution_stay_below_the_limit() -> None:
    random = np.random.default_rng(0)
    shares = random.dirichlet(np.ones(16))
    before, now = random.multinomial(400, shares, 2_000), random.multinomial(250, shares, 2_000)
    index, limit = psi(before, now), chance_limit(before, now)
    assert (index < limit).all()
    assert index.max() > limit.min() / 2, "the limit is too far above the largest index"


@pytest.fixture(scope="module")
def held_out(brands: Entities, brand_labels: pa.ListArray) -> Entities:
    """Rows on which the small model was not fitted."""
    return split(LabelledEntities(brands, brand_labels))[1].entities


@pytest.fixture(scope="module")
def before(labeler: Labeler, held_out: Entities) -> Profile:
    return Profile.of(labeler, held_out.take(np.arange(0, len(held_out), 2)))


@pytest.fixture(scope="module")
def others(held_out: Entities) -> Entities:
    """Held-out rows that are not in the profile."""
    return held_out.take(np.arange(1, len(held_out), 2))


def moved(labeler: Labeler, before: Profile, table: pa.Table) -> list[Shift]:
    now = Profile.of(labeler, Entities(labeler.schema, table))
    return [shift for shift in shifts(labeler, before, now) if shift.moved]


def changed(entities: Entities, name: str, values: pa.Array) -> pa.Table:
    return entities.table.set_column(entities.table.column_names.index(name), name, values)


def test_rows_like_the_training_rows_have_not_moved(
    labeler: Labeler, before: Profile, others: Entities
) -> None:
    assert moved(labeler, before, others.table) == []


def test_a_field_that_becomes_empty_is_the_first_shift(
    labeler: Labeler, before: Profile, others: Entities
) -> None:
    found = moved(labeler, before, others.table.drop_columns(["country"]))
    assert (found[0].kind, found[0].name) == ("field", "country")
    was, now = found[0].figures["filled"]
    assert was > 0.5
    assert now == 0


@pytest.mark.parametrize("country", ["ZZ", "JP"])
def test_another_country_is_the_first_shift(
    labeler: Labeler, before: Profile, others: Entities, country: str
) -> None:
    found = moved(labeler, before, changed(others, "country", pa.repeat(country, len(others))))
    assert (found[0].kind, found[0].name) == ("field", "country")
    assert found[0].psi > ALARM
    if country == "ZZ":
        assert found[0].figures["unseen"][1] == 1


def test_another_language_is_the_first_shift(
    labeler: Labeler, before: Profile, others: Entities
) -> None:
    to_greek = str.maketrans("abcdefghijklmnopqrstuvwxyz", "αβψδεφγηιξκλμνοπϟρστθωςχυζ")
    names = [name.lower().translate(to_greek) for name in others.table["name"].to_pylist()]
    found = moved(labeler, before, changed(others, "name", pa.array(names)))
    assert (found[0].kind, found[0].name) == ("field", "name")
    was, now = found[0].figures["unseen"]
    assert was < 0.5 < now


def test_a_label_that_becomes_frequent_is_the_first_shift_of_labels(
    labeler: Labeler, before: Profile, others: Entities
) -> None:
    banks = pc.binary_join_element_wise(others.table["name"].combine_chunks(), "Bank", " ")
    found = moved(labeler, before, changed(others, "name", banks))
    labels = [shift for shift in found if shift.kind == "label"]
    assert labels[0].name == "amenity=bank"
    assert labels[0].figures["asserted"][1] > labels[0].figures["asserted"][0]
