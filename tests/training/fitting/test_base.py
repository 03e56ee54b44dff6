"""A base: the knowledge of another model is the start of a fit."""

import dataclasses

import lightgbm
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from labelwright.entities.errors import DataError
from labelwright.entities.redirects import Redirects
from labelwright.entities.schema import EntitySchema, load_schema
from labelwright.entities.tables import from_table
from labelwright.models.bundle.format import content_hash
from labelwright.models.decisions import NEVER, LabelQuery
from labelwright.models.labeler import Labeler
from labelwright.training.data import LabelledEntities
from labelwright.training.evaluation.evaluate import evaluate_labeler
from labelwright.training.fitting.base_trees import renumbered
from labelwright.training.fitting.fit import Configuration, fit_labeler

TOPICS, WORDS = 8, 60
KNOWN, OWN, TESTED = 1_500, 60, 400
OWN_TOPICS = 6
"""The own rows have only the first topics, and the test rows have all."""
SCHEMA = load_schema("text")

Texts = tuple[list[str], npt.NDArray[np.int64]]


@pytest.fixture(scope="module")
def texts() -> Texts:
    """Texts of three words, and the topic of each text. Each topic has words of its own."""
    random = np.random.default_rng(0)
    letters = random.choice(list("abcdefghijklmnopqrstuvwxyz"), (TOPICS, WORDS, 6))
    topics = random.integers(0, TOPICS, KNOWN + OWN + TESTED)
    topics[KNOWN : KNOWN + OWN] %= OWN_TOPICS
    words = random.integers(0, WORDS, (len(topics), 3))
    spelt = [
        " ".join("".join(letters[topic, word]) for word in row)
        for topic, row in zip(topics, words, strict=True)
    ]
    return spelt, topics


def rows_of(texts: Texts, rows: slice, schema: EntitySchema = SCHEMA) -> LabelledEntities:
    table = pa.table({"id": [str(row) for row in range(len(texts[0][rows]))]})
    table = table.append_column("text", pa.array(texts[0][rows]))
    labels = pa.array([[f"topic {topic}"] for topic in texts[1][rows]], pa.list_(pa.string()))
    return LabelledEntities(from_table(table, schema), labels)


@pytest.fixture(scope="module")
def base(texts: Texts) -> Labeler:
    return fit_labeler(rows_of(texts, slice(KNOWN)), Configuration(threads=1))


def fitted(
    texts: Texts, base: Labeler | None, threads: int = 1, schema: EntitySchema = SCHEMA
) -> Labeler:
    own = rows_of(texts, slice(KNOWN, KNOWN + OWN), schema)
    return fit_labeler(own, Configuration(threads=threads), base=base)


@pytest.fixture(scope="module")
def started(texts: Texts, base: Labeler) -> Labeler:
    """A model of the own rows with the base."""
    return fitted(texts, base)


def test_a_base_knows_the_words_that_the_own_rows_do_not_have(
    texts: Texts, started: Labeler
) -> None:
    test = rows_of(texts, slice(KNOWN + OWN, None))
    alone, with_base = (
        evaluate_labeler(labeler, test, LabelQuery(), 1).metrics.p_at_1
        for labeler in (fitted(texts, None), started)
    )
    assert with_base > alone + 10


def test_labels_of_the_base_are_kept_but_never_promised(started: Labeler) -> None:
    assert started.labels.names == tuple(f"topic {topic}" for topic in range(TOPICS))
    for thresholds in started.decisions.guarantees.values():
        assert (thresholds[OWN_TOPICS:] == NEVER).all()


def test_the_number_of_threads_does_not_change_the_model(
    texts: Texts, base: Labeler, started: Labeler
) -> None:
    assert content_hash(fitted(texts, base, threads=2)) == content_hash(started)


def test_redirects_rename_the_labels_of_the_base(texts: Texts, base: Labeler) -> None:
    redirects = Redirects({"topic 6": "topic six", "topic 7": ""})
    labeler = fitted(texts, base, schema=dataclasses.replace(SCHEMA, redirects=redirects))
    assert "topic six" in labeler.labels.names
    assert not {"topic 6", "topic 7"} & set(labeler.labels.names)


def test_the_error_about_a_base_with_other_columns_names_the_columns(
    texts: Texts, base: Labeler
) -> None:
    title = dataclasses.replace(SCHEMA.columns[0], name="title", fields=("title",))
    other = dataclasses.replace(SCHEMA, columns=(title,))
    own = rows_of(texts, slice(KNOWN, KNOWN + OWN))
    renamed = own.entities.table.rename_columns({"text": "title"})
    data = dataclasses.replace(own, entities=from_table(renamed, other))
    with pytest.raises(DataError, match=r"'text'.*'title'.*--schema"):
        fit_labeler(data, Configuration(), base=base)


def test_renumbered_trees_score_renumbered_labels_as_before(base: Labeler) -> None:
    random = np.random.default_rng(0)
    trees = base.reranker.trees
    features = lightgbm.Booster(model_str=trees).num_feature()
    pairs = random.normal(size=(500, features))
    labels = random.integers(0, TOPICS, 500)
    numbers = 40 * random.permutation(TOPICS) + 3
    raw = []
    for text, ids in ((trees, labels), (renumbered(trees, numbers), numbers[labels])):
        pairs[:, -1] = ids
        raw.append(lightgbm.Booster(model_str=text).predict(pairs, raw_score=True))
    np.testing.assert_array_equal(raw[0], raw[1])
