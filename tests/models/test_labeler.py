"""The labeler: the results do not depend on the batch, the thread or the order of rows."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

from labelwright.entities.errors import RequestError
from labelwright.entities.tables import Entities, from_records
from labelwright.models.decisions import TOP_K_LIMIT, LabelQuery, Predictions
from labelwright.models.labeler import CHUNK, Labeler
from labelwright.models.labels import LabelSet
from labelwright.models.stages.groups import Groups
from labelwright.models.stages.implications import Implications
from labelwright.models.stages.linear import LinearStage, padded
from labelwright.models.stages.reranker import Reranker
from tests import plain


def assert_same(left: Predictions, right: Predictions) -> None:
    """Check that predictions are bitwise equal."""
    assert np.array_equal(left.indptr, right.indptr)
    assert np.array_equal(left.ids, right.ids)
    assert np.array_equal(left.probabilities, right.probabilities)
    assert np.array_equal(left.asserted, right.asserted)


@pytest.mark.parametrize("rows", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 7])
def test_the_size_of_a_batch_does_not_change_results(
    labeler: Labeler, brands: Entities, rows: int
) -> None:
    entities = brands.take(np.arange(rows) % len(brands))
    whole = labeler.label(entities, LabelQuery()).to_arrow()
    assert len(whole) == rows
    for start in (0, CHUNK - 3, rows - 2):
        part = labeler.label(entities.slice(start, 2), LabelQuery()).to_arrow()
        assert part.equals(whole.slice(start, 2)[: len(part)])


def test_results_are_in_the_order_of_the_entities(labeler: Labeler, brands: Entities) -> None:
    order = np.random.default_rng(0).permutation(60)
    shuffled = labeler.label(brands.take(order), LabelQuery()).to_arrow()
    whole = labeler.label(brands.slice(0, 60), LabelQuery()).to_arrow()
    assert shuffled.equals(whole.take(pa.array(order)))


def test_concurrent_threads_get_the_same_results(labeler: Labeler, brands: Entities) -> None:
    queries = [
        LabelQuery(),
        LabelQuery(top_k=50),
        LabelQuery(only=("amenity=*",)),
        LabelQuery(top_k=1),
    ]
    expected = [labeler.label(brands.slice(0, 300), query) for query in queries]
    with ThreadPoolExecutor(4) as pool:
        tasks = [
            pool.submit(labeler.label, brands.slice(0, 300), queries[n % len(queries)])
            for n in range(24)
        ]
        for n, task in enumerate(tasks):
            assert_same(task.result(), expected[n % len(queries)])


def test_a_labeler_finds_the_labels_of_training_entities(
    labeler: Labeler, brands: Entities, brand_labels: pa.ListArray
) -> None:
    predictions = labeler.label(brands.slice(0, 500), LabelQuery(top_k=1)).to_arrow().to_pylist()
    hits = [
        row[0]["label"] in truth
        for row, truth in zip(predictions, brand_labels.to_pylist()[:500], strict=False)
    ]
    assert np.mean(hits) > 0.7


def test_without_entities_there_are_no_predictions(labeler: Labeler, brands: Entities) -> None:
    predictions = labeler.label(brands.slice(0, 0), LabelQuery())
    assert predictions.to_arrow().to_pylist() == []


def test_a_rejected_row_gets_the_labels_of_an_empty_entity(labeler: Labeler) -> None:
    records = [{"name": "Shell"}, {"name": "Shell", "lat": 200, "lon": 0}, {}]
    entities = from_records(records, labeler.schema)
    lists = labeler.label(entities, LabelQuery()).to_arrow()
    assert lists[1] == lists[2] != lists[0]
    assert (
        labeler.label(entities, LabelQuery()).to_arrow(list(entities.rejected))[1].as_py() is None
    )


@pytest.mark.parametrize("top_k", [1, 5, 1_000])
def test_an_empty_entity_gets_labels(labeler: Labeler, top_k: int) -> None:
    predictions = labeler.label(Entities.empty(labeler.schema, 1), LabelQuery(top_k=top_k))
    assert len(predictions.ids) >= min(top_k, len(labeler.labels))
    assert np.isfinite(predictions.probabilities).all()


def test_the_longest_list_has_every_label_once(labeler: Labeler, brands: Entities) -> None:
    predictions = labeler.label(brands.slice(0, 20), LabelQuery(top_k=TOP_K_LIMIT))
    assert len(labeler.labels) <= TOP_K_LIMIT
    for start, end in zip(predictions.indptr[:-1], predictions.indptr[1:], strict=False):
        assert sorted(predictions.ids[start:end]) == list(range(len(labeler.labels)))


@pytest.mark.parametrize("rows", [0, 3])
def test_an_unknown_policy_is_an_error_even_without_entities(
    labeler: Labeler, brands: Entities, rows: int
) -> None:
    with pytest.raises(RequestError, match="unknown policy; this model has balanced"):
        labeler.label(brands.slice(0, rows), LabelQuery(policy="bold"))


def test_a_pattern_that_matches_no_label_is_an_error_even_without_entities(
    labeler: Labeler, brands: Entities
) -> None:
    with pytest.raises(RequestError, match="matches no label"):
        labeler.label(brands.slice(0, 0), LabelQuery(only=("nothing",)))


def test_the_stages_give_scores_candidates_and_probabilities(
    labeler: Labeler, brands: Entities
) -> None:
    rows = labeler.features.transform(brands.slice(0, 7))
    scores, chosen, probabilities = plain.stages(labeler, rows)
    count = labeler.decisions.candidates
    assert scores.shape == (7, len(labeler.labels))
    assert chosen.shape == probabilities.shape == (7, count)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


def test_the_stages_accept_an_empty_batch(labeler: Labeler) -> None:
    rows = labeler.features.transform(Entities.empty(labeler.schema, 0))
    scores, chosen, probabilities = plain.stages(labeler, rows)
    assert len(scores) == len(chosen) == len(probabilities) == 0


def test_warming_up_does_not_change_results(labeler: Labeler, brands: Entities) -> None:
    before = labeler.label(brands.slice(0, 50), LabelQuery())
    labeler.warm_up()
    assert_same(labeler.label(brands.slice(0, 50), LabelQuery()), before)


@pytest.mark.parametrize(
    "query",
    [
        LabelQuery(),
        LabelQuery(top_k=1),
        LabelQuery(top_k=40),
        LabelQuery(top_k=7, only=("cuisine=*",)),
        LabelQuery(policy="precise"),
        LabelQuery(min_probability=0.2, policy="broad"),
    ],
    ids=["usual", "one", "many", "only", "precise", "broad"],
)
def test_the_kernel_gives_the_same_results_as_separate_stages(
    labeler: Labeler, brands: Entities, query: LabelQuery
) -> None:
    entities = brands.slice(0, 700)
    stages = plain.stages(labeler, labeler.features.transform(entities))
    decisions, implications = labeler.decisions, labeler.implications
    expected = plain.predict(
        decisions, query, labeler.labels, implications, *stages, labeler.groups
    )
    assert_same(labeler.label(entities, query), expected)


def grown(labeler: Labeler, labels: int) -> Labeler:
    """A copy of the labeler with `labels` labels; no entity has the additional labels."""
    more = labels - len(labeler.labels)
    names = (*labeler.labels.names, *(f"zz{n}" for n in range(more)))
    linear, reranker = labeler.linear, labeler.reranker
    return Labeler(
        LabelSet(names),
        labeler.features,
        LinearStage(
            np.pad(linear.bias, (0, more), constant_values=-1),
            linear.scales,
            np.pad(
                linear.dense[:, : len(linear.bias)],
                ((0, 0), (0, padded(labels) - len(linear.bias))),
            ),
            linear.sparse_indptr,
            linear.sparse,
        ),
        Implications(
            np.pad(labeler.implications.indptr, (0, more), mode="edge"),
            labeler.implications.ancestors,
        ),
        labeler.namesakes,
        Reranker(
            np.pad(reranker.rate, (0, more)),
            np.pad(reranker.co_occurrence, (0, more)),
            reranker.knots,
            reranker.trees,
        ),
        Groups.none(LabelSet(names)),
        dataclasses.replace(
            labeler.decisions,
            policies={
                policy: np.pad(thresholds, (0, more), constant_values=1)
                for policy, thresholds in labeler.decisions.policies.items()
            },
            guarantees={
                level: np.pad(thresholds, (0, more), constant_values=1)
                for level, thresholds in labeler.decisions.guarantees.items()
            },
        ),
    )


def test_a_model_with_more_labels_than_a_list_may_have_can_be_warmed_up(labeler: Labeler) -> None:
    large = grown(labeler, TOP_K_LIMIT + 1)
    large.warm_up()
    predictions = large.label(Entities.empty(large.schema, 1), LabelQuery(top_k=TOP_K_LIMIT))
    assert len(predictions.ids) == TOP_K_LIMIT
