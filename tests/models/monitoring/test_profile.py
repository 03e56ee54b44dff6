"""Profiles: every row is counted once in each column and score, and counts can be added."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import strategies

from labelwright.entities.errors import BundleError
from labelwright.entities.schema import Column, EntitySchema, Kind
from labelwright.entities.tables import Entities, from_records
from labelwright.models.bundle.format import read_bundle, write_bundle
from labelwright.models.decisions import LabelQuery
from labelwright.models.labeler import Labeler
from labelwright.models.monitoring.profile import BINS, MOSTLY_UNSEEN, SCORES, UNSEEN, Profile
from tests.models.bundles import sign

Rows = npt.NDArray[np.int64]
SAMPLE = 120


@pytest.fixture(scope="module")
def profile(tiny: Labeler, brands: Entities) -> Profile:
    return Profile.of(tiny, brands.slice(0, SAMPLE))


def bins(labeler: Labeler, column: str, **fields: object) -> list[int]:
    """The bins of a column that count one entity with these fields."""
    entities = from_records([fields], labeler.schema)
    names = [column.name for column in labeler.schema.columns]
    return np.flatnonzero(Profile.of(labeler, entities).fields[names.index(column)]).tolist()


def test_each_row_is_counted_once_in_each_column_and_score(profile: Profile, tiny: Labeler) -> None:
    assert profile.rows == SAMPLE
    assert (profile.fields.sum(axis=1) == SAMPLE).all()
    assert (profile.scores.sum(axis=1) == SAMPLE).all()
    assert len(profile.fields) == len(tiny.schema.columns)
    assert len(profile.scores) == len(SCORES)


def test_bins_labels_and_scores_count_the_rows(
    profile: Profile, tiny: Labeler, brands: Entities
) -> None:
    entities = brands.slice(0, SAMPLE)
    predictions = tiny.label(entities, LabelQuery())
    asserted = np.bincount(predictions.ids[predictions.asserted], minlength=len(tiny.labels))
    assert profile.labels.tolist() == asserted.tolist()
    assert profile.scores[1] @ np.arange(BINS) == predictions.asserted.sum()
    best = predictions.probabilities[predictions.indptr[:-1]]
    assert profile.scores[0, BINS // 2 :].sum() == (best >= 0.5).sum()
    for column, counts in zip(tiny.schema.columns, profile.fields, strict=True):
        array = entities.column(column.fields[0])
        filled = 0 if array is None else SAMPLE - array.null_count
        assert counts[1:].sum() == filled


@pytest.fixture(scope="module")
def count(tiny: Labeler, brands: Entities) -> Callable[[Rows], list[int]]:
    return lambda rows: Profile.of(tiny, brands.take(rows)).counts.tolist()


@hypothesis.settings(deadline=None, max_examples=20)
@hypothesis.given(
    strategies.lists(strategies.integers(0, SAMPLE), max_size=4), strategies.integers(0, 99)
)
def test_profiles_of_parts_add_up_in_any_order(
    count: Callable[[Rows], list[int]], cuts: list[int], seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(SAMPLE)
    parts = [count(part) for part in np.split(order, sorted(cuts))]
    assert np.sum(parts, axis=0).tolist() == count(np.arange(SAMPLE))


def test_rejected_rows_are_not_counted(tiny: Labeler) -> None:
    entities = from_records([{"name": "Bank"}, {"name": 5}, 7, {"country": "US"}], tiny.schema)
    assert Profile.of(tiny, entities).rows == 2
    assert Profile.of(tiny, Entities.empty(tiny.schema, 0)).rows == 0


def test_unseen_values_have_separate_bins(tiny: Labeler) -> None:
    assert bins(tiny, "country") == [0]
    assert bins(tiny, "country", country="") == [0]
    assert bins(tiny, "country", country="zz") == [UNSEEN]
    known = bins(tiny, "country", country="us")
    assert known[0] > UNSEEN
    assert bins(tiny, "country", country="US") == known
    assert bins(tiny, "name", name="Bank")[0] < MOSTLY_UNSEEN
    assert bins(tiny, "name", name="Ωμέγα") == [BINS - 1]


@pytest.mark.parametrize(("lon", "expected"), [(-180.0, 1), (0.0, 8), (180.0, BINS - 1)])
def test_points_are_binned_by_longitude(tiny: Labeler, lon: float, expected: int) -> None:
    assert bins(tiny, "position", lat=0.0, lon=lon) == [expected]


def test_numbers_are_binned_like_features_of_the_model(tiny: Labeler) -> None:
    schema = EntitySchema("numbers", (Column("x", Kind.NUMBER),))
    edges = np.array([[1.0, 5.0]])
    features = dataclasses.replace(tiny.features, schema=schema, edges=edges)
    labeler = dataclasses.replace(tiny, features=features)
    numbers = pa.table({"id": ["a", "b", "c", "d"], "x": [0.0, 2.0, 9.0, None]})
    found = Profile.of(labeler, Entities(schema, numbers)).fields[0]
    assert np.flatnonzero(found).tolist() == [0, 1, 6, 11]


def test_a_bundle_contains_the_profile(tiny: Labeler, profile: Profile, tmp_path: Path) -> None:
    write_bundle(tiny, tmp_path / "bundle", "1", {}, profile)
    found = read_bundle(tmp_path / "bundle").profile
    assert found.counts.tolist() == profile.counts.tolist()
    assert found.columns == profile.columns


def test_a_bundle_that_is_written_without_a_profile_has_an_empty_profile(written: Path) -> None:
    assert read_bundle(written).profile.rows == 0


@pytest.mark.parametrize("damage", ["short", "negative", "float", "labels", "rows", "huge"])
def test_an_invalid_profile_is_an_error(copy: Path, profile: Profile, damage: str) -> None:
    counts = profile.counts.copy()
    if damage == "negative":
        counts[:2] += [-SAMPLE - 1, SAMPLE + 1]
    elif damage == "labels":
        counts[-1] = SAMPLE + 1
    elif damage == "rows":
        counts[0] += 1
    elif damage == "huge":
        counts[:] = 1 << 62
    forged = {"short": counts[:-1], "float": counts.astype(np.float64)}.get(damage, counts)
    np.save(copy / "profile.counts.npy", forged)
    sign(copy)
    with pytest.raises(BundleError, match="the profile "):
        read_bundle(copy)
