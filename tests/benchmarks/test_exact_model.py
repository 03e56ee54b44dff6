"""The exact model: its scores and its quality, compared with the labeler."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.exact_model import EXACT, exact_predictions, exact_scores, fitted_weights, qualities
from labelwright.entities.schema import load_schema
from labelwright.models.decisions import LabelQuery
from labelwright.training.data import read_labelled
from labelwright.training.fitting.fit import Configuration, fit_labeler
from labelwright.training.fitting.linear import BLOCK_SIZE
from tests.conftest import BRANDS

ROWS = 600


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("exactness") / "brands.parquet"
    pq.write_table(pq.read_table(BRANDS).slice(0, ROWS), file)
    return file


def test_the_exact_model_differs_only_by_rounding(data: Path) -> None:
    labelled = read_labelled([data], load_schema("places"))
    with fitted_weights() as weights:
        labeler = fit_labeler(labelled, Configuration())
    assert sorted(weights) == list(range(0, len(labeler.labels), BLOCK_SIZE))
    rows = labeler.features.transform(labelled.entities)
    exact, rounded = exact_scores(labeler, rows, weights), labeler.linear.scores(rows)
    assert exact.shape == rounded.shape
    assert 0 < np.abs(exact - rounded).max() < 0.2
    with pytest.raises(ValueError, match="expected the weights"):
        exact_scores(labeler, rows, {0: weights[0]})
    found = exact_predictions(labeler, rows, weights)
    given = labeler.label(labelled.entities, LabelQuery(top_k=1))
    same = found.ids[found.indptr[:-1]] == given.ids[given.indptr[:-1]]
    assert same.mean() > 0.95
    assert (
        np.abs(found.probabilities[found.indptr[:-1]] - given.probabilities[given.indptr[:-1]])[
            same
        ].mean()
        < 0.05
    )


def test_both_methods_are_evaluated_on_each_part(data: Path) -> None:
    found = list(qualities(data, [("a", data), ("b", data)]))
    assert [(one.part, one.method) for one in found] == [
        (part, method) for part in "ab" for method in ("labelwright", EXACT)
    ]
    assert all(50 < one.p_at_1 <= 100 and 0 < one.p_at_5 <= 100 for one in found)
