"""Fixtures for tests of models: a small model, its bundle, and a copy that tests may damage."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from labelwright.entities.tables import Entities
from labelwright.models.bundle.format import write_bundle
from labelwright.models.labeler import Labeler
from labelwright.models.stages.linear import LinearStage, pack_weights
from labelwright.training.data import LabelledEntities
from labelwright.training.fitting.fit import Configuration, fit_labeler
from tests.models.bundles import DETAILS, ROWS


def with_sparse_rows(linear: LinearStage) -> LinearStage:
    """A copy of the stage in which the rarer half of the features has sparse rows."""
    frequent = len(linear.dense) // 2
    rare = linear.dense[frequent:]
    owners, ids = np.nonzero(rare)
    indptr = np.searchsorted(owners, np.arange(len(rare) + 1)).astype(np.int64)
    return linear._replace(
        dense=linear.dense[:frequent],
        sparse_indptr=indptr,
        sparse=pack_weights(ids.astype(np.int32), rare[owners, ids]),
    )


@pytest.fixture(scope="session")
def tiny(brands: Entities, brand_labels: pa.ListArray) -> Labeler:
    """A model that is fitted on ROWS entities, with dense and sparse rows of weights."""
    data = LabelledEntities(brands.slice(0, ROWS), brand_labels.slice(0, ROWS))
    fitted = fit_labeler(data, Configuration(min_count=2, trees=5, passes=1, folds=2))
    return dataclasses.replace(fitted, linear=with_sparse_rows(fitted.linear))


@pytest.fixture(scope="session")
def written(tiny: Labeler, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `tiny`; tests must not change it."""
    folder = tmp_path_factory.mktemp("written") / "bundle"
    write_bundle(tiny, folder, "1.2.3", DETAILS)
    return folder


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    """A copy of the bundle of `tiny` that a test may damage."""
    folder = tmp_path / "copy"
    shutil.copytree(written, folder)
    return folder
