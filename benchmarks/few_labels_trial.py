"""One measurement of `benchmarks.few_labels`, in this process: a method on one drawing of rows.

The process reads a task as JSON from its argument, and writes figures as JSON to a file.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow as pa
import scipy.sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import FeatureUnion
from sklearn.svm import LinearSVC

from benchmarks.contract import ranked_dense
from benchmarks.drawing import drawing_order
from benchmarks.few_labels_results import Figures
from labelwright.entities.schema import load_schema
from labelwright.entities.tables import Entities
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.labels import LabelMatrix, LabelSet, label_set
from labelwright.training.data import LabelledEntities, read_labelled
from labelwright.training.evaluation.evaluate import evaluate_labeler
from labelwright.training.evaluation.metrics import Metrics, evaluate
from labelwright.training.fitting.distillation import Unlabelled
from labelwright.training.fitting.fit import Configuration, fit_labeler
from labelwright.training.teachers.encoder import Encoder, open_encoder
from labelwright.training.teachers.texts import texts_of

EMBEDDING = "embedding"
"""The method that only computes the vectors of all rows."""
LOGISTIC_COST = 10.0
"""C of the logistic regressions. scikit-learn's default of 1 underfits vectors of unit length, and
the best value differs between sets."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """A task: the method, the files of the set, the drawing, and the encoder with its tokenizer."""

    method: str
    train: str
    test: str
    rows: int
    seed: int
    threads: int
    encoder: str
    tokenizer: str | None = None


@dataclasses.dataclass(frozen=True)
class Drawing:
    """The rows of a trial: with labels, without labels, and for testing."""

    trial: Trial
    labelled: LabelledEntities
    unlabelled: Entities
    test: LabelledEntities

    @classmethod
    def of(cls, trial: Trial) -> "Drawing":
        """Read the files of a trial, and draw its labelled rows."""
        schema = load_schema("text")
        rows = read_labelled([trial.train], schema)
        order = drawing_order(rows.entities.ids.to_pylist(), trial.seed)
        drawn, others = np.sort(order[: trial.rows]), np.sort(order[trial.rows :])
        test = read_labelled([trial.test], schema)
        return cls(trial, rows.take(drawn), rows.entities.take(others), test)

    def encoder(self) -> Encoder:
        """The encoder of the trial."""
        return open_encoder(self.trial.encoder, self.trial.tokenizer, self.trial.threads)


def _figures(metrics: Metrics, seconds: float, probabilities: bool = True) -> Figures:
    error = metrics.ece if probabilities else None
    return Figures(metrics.p_at_1, metrics.p_at_3, metrics.micro_f1, error, seconds)


def embed_all(drawing: Drawing) -> dict[str, float]:
    """Embed the texts of all rows, so that the vectors are in the cache.

    Returns the number of texts that were not in the cache, and the seconds.
    """
    entities = (drawing.labelled.entities, drawing.unlabelled, drawing.test.entities)
    encoder, embedded = drawing.encoder(), 0

    def count(done: int, total: int) -> None:
        nonlocal embedded
        embedded = done

    started = time.perf_counter()
    encoder.embed(pa.concat_arrays([texts_of(each) for each in entities]), count)
    return {"embedded": embedded, "seconds": time.perf_counter() - started}


def labelwright(drawing: Drawing) -> Figures:
    """This project without an encoder."""
    return _labelwright(drawing, None)


def labelwright_taught(drawing: Drawing) -> Figures:
    """This project with an encoder that teaches on the rows without labels."""
    texts = [texts_of(each) for each in (drawing.labelled.entities, drawing.unlabelled)]
    vectors = drawing.encoder().embed(pa.concat_arrays(texts))
    return _labelwright(drawing, Unlabelled.of(drawing.unlabelled, vectors))


def words_and_letters(drawing: Drawing) -> Figures:
    """scikit-learn: a linear support vector machine for each label on tf-idf features."""
    train, test = (texts_of(each.entities).to_pylist() for each in (drawing.labelled, drawing.test))
    started = time.perf_counter()
    features = FeatureUnion(
        [
            ("words", TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)),
            (
                "letters",
                TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
            ),
        ]
    )
    rows = features.fit_transform(train)
    model = _fitted(LinearSVC(), rows, drawing)
    seconds = time.perf_counter() - started
    scores = model.decision_function(features.transform(test))
    return _figures(_metrics(drawing, scores, 0.0), seconds, probabilities=False)


def encoder_and_logistic(drawing: Drawing) -> Figures:
    """scikit-learn: a logistic regression for each label on the vectors of the encoder."""
    encoder = drawing.encoder()
    train, test = (
        encoder.embed(texts_of(each.entities)) for each in (drawing.labelled, drawing.test)
    )
    started = time.perf_counter()
    model = _fitted(LogisticRegression(C=LOGISTIC_COST, max_iter=1_000), train, drawing)
    seconds = time.perf_counter() - started
    return _figures(_metrics(drawing, model.predict_proba(test), 0.5), seconds)


RUNNERS: dict[str, Callable[[Drawing], Figures]] = {
    "labelwright": labelwright,
    "labelwright-encoder": labelwright_taught,
    "words-letters-svc": words_and_letters,
    "encoder-logistic": encoder_and_logistic,
}


def _labelwright(drawing: Drawing, unlabelled: Unlabelled | None) -> Figures:
    configuration = Configuration(threads=drawing.trial.threads)
    started = time.perf_counter()
    labeler = fit_labeler(drawing.labelled, configuration, unlabelled=unlabelled)
    seconds = time.perf_counter() - started
    evaluation = evaluate_labeler(labeler, drawing.test, LabelQuery(), drawing.trial.threads)
    return _figures(evaluation.metrics, seconds)


def _fitted(estimator: Any, rows: Any, drawing: Drawing) -> Any:
    """A model for each label of the labelled rows."""
    matrix = drawing.labelled.matrix(_labels(drawing))
    model = OneVsRestClassifier(estimator, n_jobs=drawing.trial.threads)
    with joblib.parallel_config("threading"):
        return model.fit(rows, _indicators(matrix))


def _labels(drawing: Drawing) -> LabelSet:
    return label_set(drawing.labelled.labels, 1)


def _indicators(matrix: LabelMatrix) -> Any:
    present = matrix.present
    ones = np.ones(len(present.ids), np.int8)
    return scipy.sparse.csr_matrix(
        (ones, present.ids, present.indptr), (len(matrix), matrix.labels)
    )


def _metrics(drawing: Drawing, scores: Any, threshold: float) -> Metrics:
    """Metrics of the scores of all labels; scores above the threshold assert labels."""
    labels = _labels(drawing)
    given = ranked_dense(scores, threshold)
    predictions = Predictions(labels, given.indptr, given.ids, given.scores, given.asserted)
    return evaluate(predictions, drawing.test.matrix(labels)).metrics


def main() -> None:
    """Carry out the task in the argument."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", type=json.loads)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    trial = Trial(**given.task)
    drawing = Drawing.of(trial)
    if trial.method == EMBEDDING:
        figures = embed_all(drawing)
    else:
        figures = dataclasses.asdict(RUNNERS[trial.method](drawing))
    given.output.write_text(json.dumps(figures), "utf-8")


if __name__ == "__main__":
    main()
