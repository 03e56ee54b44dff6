"""fastText with words and pairs of words, in the settings of its tutorial for many labels."""

from collections.abc import Iterable
from typing import Any

import fasttext

from benchmarks import contract

SETTINGS = {
    "loss": "ova",
    "lr": 0.5,
    "wordNgrams": 2,
    "bucket": 200_000,
    "dim": 50,
}
EPOCHS = 25
MANY, FEW_EPOCHS = 100_000, 5
"""Sets of at least MANY rows are trained in FEW_EPOCHS, the library's default, to save time."""
HALF = 0.5
PREFIX = "__label__"


def run(work: contract.Work) -> None:
    """Train and predict with train_supervised; labels with a probability of HALF are asserted."""
    file = work.scratch / "train.txt"
    with file.open("w", encoding="utf-8") as lines:
        for given, text in zip(work.labels().rows(), work.texts("train"), strict=True):
            lines.write(" ".join([*(f"{PREFIX}{label}" for label in given), text]) + "\n")
    rows = work.description["rows"]["train"]
    settings = {**SETTINGS, "epoch": EPOCHS if rows < MANY else FEW_EPOCHS}
    with work.training(settings):
        model = fasttext.train_supervised(
            input=str(file), thread=work.threads, seed=0, verbose=0, **settings
        )

    def predict(texts: list[str]) -> Any:
        return model.predict(texts, k=contract.DEPTH)

    for part in work.tests:
        texts = work.texts(part)
        best = work.predict(part, texts, predict)
        likely = model.predict(texts, k=-1, threshold=HALF)
        pairs = [
            list({**_pairs(*b), **_pairs(*p)}.items())
            for b, p in zip(zip(*best, strict=True), zip(*likely, strict=True), strict=True)
        ]
        work.save(part, contract.ranked_pairs(pairs, HALF))


def _pairs(names: Iterable[str], scores: Iterable[float]) -> dict[int, float]:
    return dict(
        zip((int(name.removeprefix(PREFIX)) for name in names), map(float, scores), strict=True)
    )


if __name__ == "__main__":
    contract.main(run, "fasttext-wheel")
