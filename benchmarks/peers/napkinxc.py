"""napkinXC: a probabilistic label tree."""

from typing import Any

import numpy as np
from napkinxc.models import PLT

from benchmarks import contract

SETTINGS = {"tree_type": "hierarchicalKmeans", "loss": "log", "liblinear_c": 10, "seed": 0}
HALF = 0.5


def run(work: contract.Work) -> None:
    """Train and predict with PLT; labels with a probability of HALF are asserted."""
    features, labels = work.features("train"), work.labels().rows()
    model = PLT(str(work.scratch / "model"), threads=work.threads, **SETTINGS)
    with work.training(SETTINGS):
        model.fit(features, labels)
    model.load()

    def predict(rows: Any) -> list[list[tuple[int, float]]]:
        return model.predict_proba(rows, top_k=contract.DEPTH)

    for part in work.tests:
        rows = work.features(part)
        best = work.predict(part, rows, predict)
        likely = model.predict_proba(rows, threshold=HALF)
        pairs = [list({**dict(b), **dict(p)}.items()) for b, p in zip(best, likely, strict=True)]
        work.save(part, contract.ranked_pairs(pairs, np.nextafter(np.float32(HALF), 0)))


if __name__ == "__main__":
    contract.main(run, "napkinxc")
