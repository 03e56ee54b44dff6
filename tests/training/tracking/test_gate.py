"""Laws of the promotion gate's decision, on differences without a model."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import from_table
from labelwright.training.evaluation.intervals import Interval, clustered_mean
from labelwright.training.tracking.gate import (
    TOLERANCE,
    Evidence,
    Finding,
    find,
    further_rows,
    judge,
)

bounds = st.floats(-1, 1)


def evidence(places: EntitySchema, changes: list[float], website: int = 0) -> Evidence:
    """Evidence of rows with names of their own; the first `website` rows have a website."""
    count = len(changes)
    table = pa.table(
        {
            "id": [str(row) for row in range(count)],
            "name": [f"place {row}" for row in range(count)],
            "website": ["https://a.example" if row < website else None for row in range(count)],
        }
    )
    names, entities = np.arange(count, dtype=np.uint64), from_table(table, places)
    return Evidence(np.array(changes), names, entities, "rows", "labelled rows", 3)


@given(st.lists(bounds, min_size=3, max_size=3).map(sorted))
def test_a_finding_follows_from_the_bounds(numbers: list[float]) -> None:
    low, mean, high = numbers
    found = find(Interval(mean, low, high))
    assert (found is Finding.BETTER) == (low > 0)
    assert (found in (Finding.BETTER, Finding.NO_WORSE)) == (low >= -TOLERANCE)
    if found is Finding.WORSE:
        assert high < 0
    if found is Finding.CANNOT_TELL:
        assert low < -TOLERANCE <= 0 <= high


@given(st.floats(-0.2, 0.2), st.floats(0.006, 0.3), st.integers(20, 10_000))
def test_the_rows_that_would_tell_are_enough(mean: float, reach: float, rows: int) -> None:
    change = Interval(mean, mean - reach, mean + reach)
    if find(change) is not Finding.CANNOT_TELL:
        return
    more = further_rows(change, rows)
    assert more >= 10
    narrow = 1.1 * reach * np.sqrt(rows / (rows + 1.06 * more))
    if more < 1_000_000:
        later = Interval(mean, mean - narrow / 1.1, mean + narrow / 1.1)
        closer = min(abs(later.low + TOLERANCE), abs(later.high))
        assert find(later) is not Finding.CANNOT_TELL or closer < 0.1 * reach


@settings(deadline=None, max_examples=50)
@given(st.lists(bounds, min_size=2, max_size=60), st.booleans())
def test_doubts_refuse_only_what_cannot_be_told(
    places: EntitySchema, changes: list[float], doubted: bool
) -> None:
    asked = []

    def doubts() -> list[str]:
        asked.append(True)
        return ["rows are missing"] if doubted else []

    verdict = judge(evidence(places, changes), doubts)
    unclear = verdict.finding is Finding.CANNOT_TELL
    assert bool(asked) == unclear
    expected = {Finding.BETTER: True, Finding.NO_WORSE: True, Finding.WORSE: False}
    assert verdict.promoted == expected.get(verdict.finding, not doubted)
    assert verdict.reason.startswith(f"{verdict.finding}: ")
    assert ("more labelled rows would tell" in verdict.reason) == unclear
    assert ("--force" in verdict.reason) == (unclear and doubted)


@pytest.mark.parametrize("rows", [1, 5, 50, 300])
def test_few_rows_without_a_difference_cannot_tell(places: EntitySchema, rows: int) -> None:
    assert judge(evidence(places, [0.0] * rows), list).finding is Finding.CANNOT_TELL


def test_many_rows_without_a_difference_are_no_worse(places: EntitySchema) -> None:
    assert judge(evidence(places, [0.0] * 1_000), list).finding is Finding.NO_WORSE


def test_a_slice_that_collapses_is_named(places: EntitySchema) -> None:
    changes = [-0.3] * 150 + [0.05] * 2_850
    verdict = judge(evidence(places, changes, website=150), list)
    assert (verdict.promoted, verdict.finding) == (False, Finding.WORSE)
    assert "slice 'with website' -30.00 points" in verdict.reason


def test_rows_of_one_name_count_as_one() -> None:
    random = np.random.default_rng(0)
    values = random.normal(0, 0.2, 400)
    names = np.arange(400, dtype=np.uint64)
    alone = clustered_mean(values, names)
    copied = clustered_mean(np.repeat(values, 10), np.repeat(names, 10))
    assert copied.reach == pytest.approx(alone.reach, rel=0.1)
