"""scikit-learn: a linear support vector machine for each label."""

from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import LinearSVC

from benchmarks import contract

SETTINGS = {"C": 1.0, "dual": True}
BATCH = 1_024


def run(work: contract.Work) -> None:
    """Train and predict with OneVsRestClassifier(LinearSVC)."""
    features = work.features("train").astype(np.float64)  # else each fit converts them
    labels = work.label_matrix()
    model = OneVsRestClassifier(LinearSVC(**SETTINGS), n_jobs=work.threads)
    with work.training(SETTINGS), joblib.parallel_config("threading"):
        model.fit(features, labels)
    # One product for all labels: decision_function loops over labels, which is many times slower.
    weights = np.vstack([_weights(one, features.shape[1]) for one in model.estimators_]).T.copy()

    def predict(rows: Any) -> contract.Predictions:
        starts = range(0, rows.shape[0], BATCH)
        batches = (rows[at : at + BATCH] @ weights[:-1] + weights[-1] for at in starts)
        return contract.concatenated([contract.ranked_dense(scores, 0.0) for scores in batches])

    for part in work.tests:
        rows = work.features(part).astype(np.float64)
        work.save(part, work.predict(part, rows, predict))


def _weights(estimator: Any, features: int) -> npt.NDArray[np.float64]:
    """Weights and intercept of one label.

    For a label that all rows or no rows have, the weights are 0 and the intercept is a sign.
    """
    if isinstance(estimator, LinearSVC):
        return np.concatenate([estimator.coef_[0], estimator.intercept_])
    sign = 2 * float(np.asarray(estimator.y_).ravel()[0]) - 1
    return np.concatenate([np.zeros(features), [sign]])


if __name__ == "__main__":
    contract.main(run, "scikit-learn")
