"""A model learns from rows without labels what an encoder knows about them."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from labelwright.entities.schema import load_schema
from labelwright.entities.tables import from_table
from labelwright.models.decisions import LabelQuery
from labelwright.models.labeler import Labeler
from labelwright.training.data import LabelledEntities
from labelwright.training.evaluation.evaluate import evaluate_labeler
from labelwright.training.fitting.distillation import Unlabelled
from labelwright.training.fitting.fit import Configuration, fit_labeler

TOPICS, WORDS, WIDTH = 8, 60, 32
LABELLED, UNLABELLED, TESTED = 60, 1_500, 400


@pytest.fixture(scope="module")
def texts() -> tuple[list[str], npt.NDArray[np.int64]]:
    """Texts of three words, and the topic of each text. Each topic has words of its own."""
    random = np.random.default_rng(0)
    letters = random.choice(list("abcdefghijklmnopqrstuvwxyz"), (TOPICS, WORDS, 6))
    topics = random.integers(0, TOPICS, LABELLED + UNLABELLED + TESTED)
    words = random.integers(0, WORDS, (len(topics), 3))
    spelt = [
        " ".join("".join(letters[topic, word]) for word in row)
        for topic, row in zip(topics, words, strict=True)
    ]
    return spelt, topics


def rows_of(texts: list[str], topics: npt.NDArray[np.int64]) -> LabelledEntities:
    table = pa.table({"id": [str(row) for row in range(len(texts))], "text": texts})
    labels = pa.array([[f"topic {topic}"] for topic in topics], pa.list_(pa.string()))
    return LabelledEntities(from_table(table, load_schema("text")), labels)


@pytest.fixture(scope="module")
def vectors(texts: tuple[list[str], npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
    """Vectors that are near to each other if their topics are equal."""
    random = np.random.default_rng(1)
    centres = random.normal(size=(TOPICS, WIDTH))
    found = 3 + centres[texts[1]] + 0.5 * random.normal(size=(len(texts[1]), WIDTH))
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(unit, np.float32)


def fitted(
    texts: tuple[list[str], npt.NDArray[np.int64]],
    vectors: npt.NDArray[np.float32] | None,
    threads: int = 1,
) -> Labeler:
    """A model of the labelled rows, with the vectors of an encoder if there are any."""
    train = rows_of(texts[0][:LABELLED], texts[1][:LABELLED])
    configuration = Configuration(threads=threads)
    if vectors is None:
        return fit_labeler(train, configuration)
    end = LABELLED + UNLABELLED
    entities = rows_of(texts[0][LABELLED:end], texts[1][LABELLED:end]).entities
    return fit_labeler(train, configuration, unlabelled=Unlabelled.of(entities, vectors[:end]))


def precision(labeler: Labeler, texts: tuple[list[str], npt.NDArray[np.int64]]) -> float:
    test = rows_of(texts[0][-TESTED:], texts[1][-TESTED:])
    return evaluate_labeler(labeler, test, LabelQuery(), 1).metrics.p_at_1


def test_rows_without_labels_teach_the_words_that_labelled_rows_do_not_have(
    texts: tuple[list[str], npt.NDArray[np.int64]], vectors: npt.NDArray[np.float32]
) -> None:
    alone, taught = precision(fitted(texts, None), texts), precision(fitted(texts, vectors), texts)
    assert taught > 95
    assert taught > alone + 10


def test_the_number_of_threads_does_not_change_a_taught_model(
    texts: tuple[list[str], npt.NDArray[np.int64]], vectors: npt.NDArray[np.float32]
) -> None:
    one, two = fitted(texts, vectors), fitted(texts, vectors, threads=2)
    np.testing.assert_array_equal(one.linear.dense, two.linear.dense)
    np.testing.assert_array_equal(one.linear.bias, two.linear.bias)
    np.testing.assert_array_equal(one.reranker.knots, two.reranker.knots)


def test_the_vectors_are_centred(vectors: npt.NDArray[np.float32]) -> None:
    entities = rows_of([], np.zeros(0, np.int64)).entities
    centred = Unlabelled.of(entities, vectors).vectors
    assert np.abs(centred.mean(axis=0)).max() < 0.1
    np.testing.assert_allclose(np.linalg.norm(centred, axis=1), 1, rtol=1e-5)


def test_only_labels_of_the_labelled_rows_are_in_the_label_set(
    texts: tuple[list[str], npt.NDArray[np.int64]], vectors: npt.NDArray[np.float32]
) -> None:
    labeler = fitted(texts, vectors)
    assert set(labeler.labels.names) == {f"topic {topic}" for topic in texts[1][:LABELLED]}
