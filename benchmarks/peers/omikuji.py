"""omikuji: Parabel with the default settings, and Bonsai with the settings of omikuji's README."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import omikuji

from benchmarks import contract

Pairs = list[tuple[int, float]]
BATCH = 1_024
SETTINGS: dict[str, dict[str, Any]] = {
    "parabel": {"n_trees": 3},
    "bonsai": {"n_trees": 3, "cluster_balanced": False, "cluster_k": 100, "max_depth": 3},
}


def run(work: contract.Work) -> None:
    """Train on a file in the format of the Extreme Classification Repository; predict by row."""
    file = work.scratch / "train.txt"
    _write(file, work)
    settings = SETTINGS[work.variant]
    parameters = omikuji.Model.default_hyper_param()
    for name, value in settings.items():
        setattr(parameters, name, value)
    with work.training(settings):
        model = omikuji.Model.train_on_data(str(file), parameters, work.threads)
    model.init_prediction_thread_pool(work.threads)
    model.densify_weights(0.05)

    def predict(pairs: Iterable[Pairs]) -> list[Pairs]:
        return [model.predict(row, top_k=contract.DEPTH) for row in pairs]

    predict([[(0, 1.0)]])
    for part in work.tests:
        rows, best = _pairs(work.features(part)), []
        while batch := list(itertools.islice(rows, BATCH)):  # all pairs would fill the memory
            with work.predicting(part):
                best += predict(batch)
        work.save(part, contract.ranked_pairs(best))


def _pairs(features: Any) -> Iterator[Pairs]:
    for start, end in itertools.pairwise(features.indptr):
        span = slice(start, end)
        indices, values = features.indices[span].tolist(), features.data[span].tolist()
        yield list(zip(indices, values, strict=True))


def _write(file: Path, work: contract.Work) -> None:
    features, labels = work.features("train"), work.labels().rows()
    with file.open("w", encoding="ascii") as lines:
        lines.write(f"{features.shape[0]} {features.shape[1]} {work.description['labels']}\n")
        for given, pairs in zip(labels, _pairs(features), strict=True):
            values = " ".join(f"{feature}:{value:.6g}" for feature, value in pairs)
            lines.write(f"{','.join(map(str, given))} {values}\n")


if __name__ == "__main__":
    contract.main(run, "omikuji")
