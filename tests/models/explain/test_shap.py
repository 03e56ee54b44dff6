"""SHAP values add up to the raw scores of the trees."""

from typing import TYPE_CHECKING

import pytest

from labelwright.entities.tables import Entities
from labelwright.models.explain.shap import contributions
from labelwright.models.stages.reranker import PAIR_FEATURES
from tests import plain

if TYPE_CHECKING:
    from labelwright.models.labeler import Labeler


def test_contributions_add_up_to_raw_scores(labeler: "Labeler", brands: Entities) -> None:
    pairs = plain.pairs_of(labeler, labeler.features.transform(brands.slice(0, 5)))
    found = contributions(labeler.reranker.trees, len(PAIR_FEATURES), pairs)
    assert found.shape == (len(pairs), len(PAIR_FEATURES) + 1)
    assert found.sum(axis=1) == pytest.approx(plain.raw_scores(labeler, pairs))


def test_without_pairs_there_are_no_contributions(labeler: "Labeler", brands: Entities) -> None:
    pairs = plain.pairs_of(labeler, labeler.features.transform(brands.slice(0, 1)))
    found = contributions(labeler.reranker.trees, len(PAIR_FEATURES), pairs[:0])
    assert found.shape == (0, len(PAIR_FEATURES) + 1)
