"""Input and output of the runners of peers.

A prepared folder has set.json and, for `train` and each test part, NAME.features.npz (rows of unit
norm), NAME.labels.npz (label ids by row) and NAME.txt (a line of text for each row). A runner
writes PART.predictions.npz for each test part, and outcome.json. This module needs only NumPy.
Therefore it can be imported in the environment of every peer.
"""

import argparse
import contextlib
import dataclasses
import importlib.metadata
import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

DEPTH = 5
"""Number of most probable labels that are listed for each row, even if they are not asserted."""
TRAIN = "train"
WARM_UP_ROWS = 10
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Label ids by row: row r has `ids[indptr[r]:indptr[r + 1]]`."""

    indptr: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]

    def rows(self) -> list[list[int]]:
        """The ids of each row as a list."""
        parts = np.split(self.ids, self.indptr[1:-1])
        return [[int(label) for label in part] for part in parts]


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The DEPTH best labels and all asserted labels of each row, in descending order of score.

    Row r has `ids[indptr[r]:indptr[r + 1]]`; `scores` and `asserted` are in the same order.
    """

    indptr: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    asserted: npt.NDArray[np.bool_]

    def save(self, file: Path) -> None:
        """Write the arrays to an .npz file."""
        np.savez(file, **dataclasses.asdict(self))

    @classmethod
    def load(cls, file: Path) -> "Predictions":
        """Read a file that `save` has written."""
        with np.load(file) as arrays:
            return cls(*(arrays[field.name] for field in dataclasses.fields(cls)))


@dataclasses.dataclass
class Work:
    """Task of a runner: the prepared set in `folder`, the `output` folder, and the outcome."""

    folder: Path
    output: Path
    variant: str
    threads: int
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def description(self) -> dict[str, Any]:
        """Content of set.json."""
        content: dict[str, Any] = json.loads((self.folder / "set.json").read_text("utf-8"))
        return content

    @property
    def tests(self) -> list[str]:
        """The names of the test parts."""
        return list(self.description["tests"])

    @property
    def scratch(self) -> Path:
        """A folder for temporary files of the peer."""
        folder = self.output / "scratch"
        folder.mkdir(exist_ok=True)
        return folder

    def features(self, part: str) -> Any:
        """CSR rows (float32) of unit norm."""
        import scipy.sparse  # some environments do not have it

        return scipy.sparse.load_npz(self.folder / f"{part}.features.npz")

    def labels(self) -> Ragged:
        """The labels of the training rows."""
        with np.load(self.folder / "train.labels.npz") as arrays:
            return Ragged(arrays["indptr"], arrays["ids"])

    def label_matrix(self) -> Any:
        """The labels of the training rows as a CSR matrix of ones (float32)."""
        import scipy.sparse

        labels = self.labels()
        shape = (len(labels.indptr) - 1, self.description["labels"])
        ones = np.ones(len(labels.ids), np.float32)
        return scipy.sparse.csr_matrix((ones, labels.ids, labels.indptr), shape)

    def texts(self, part: str) -> list[str]:
        """A line of text for each row."""
        return (self.folder / f"{part}.txt").read_text("utf-8").split("\n")[:-1]

    @contextlib.contextmanager
    def training(self, settings: Mapping[str, Any]) -> Iterator[None]:
        """Time the training in the body of `with`; the page prints `settings` below the table."""
        self.settings = dict(settings)
        with self._timed(TRAIN):
            yield

    def predict(self, part: str, rows: Any, predict: Callable[[Any], T]) -> T:
        """Time `predict` on all rows of a test part, after a call with WARM_UP_ROWS rows."""
        predict(rows[:WARM_UP_ROWS])
        with self.predicting(part):
            return predict(rows)

    @contextlib.contextmanager
    def predicting(self, part: str) -> Iterator[None]:
        """Time a prediction in the body of `with`; times of the same test part are added."""
        with self._timed(part):
            yield

    def save(self, part: str, predictions: Predictions) -> None:
        """Write the predictions for a test part."""
        predictions.save(self.output / f"{part}.predictions.npz")

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def ranked(
    indptr: npt.ArrayLike,
    ids: npt.ArrayLike,
    scores: npt.ArrayLike,
    threshold: float | None = None,
) -> Predictions:
    """Order the labels of each row by score; keep the DEPTH best labels and all asserted labels.

    Labels with a score above `threshold` are asserted. Without a threshold, no label is asserted.
    """
    bounds = np.asarray(indptr, np.int64)
    labels, values = np.asarray(ids, np.int32), np.asarray(scores, np.float32)
    rows = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    order = np.lexsort((-values, rows))
    position = np.arange(len(rows)) - bounds[rows]
    labels, values = labels[order], values[order]
    asserted = np.zeros(len(rows), np.bool_) if threshold is None else values > threshold
    kept = (position < DEPTH) | asserted
    counts = np.bincount(rows[kept], minlength=len(bounds) - 1)
    return Predictions(
        np.concatenate([[0], np.cumsum(counts)]), labels[kept], values[kept], asserted[kept]
    )


def ranked_dense(scores: npt.NDArray[Any], threshold: float | None = None) -> Predictions:
    """`ranked` for the scores of all labels (rows x labels)."""
    depth = min(DEPTH, scores.shape[1])
    best = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
    listed = np.zeros(scores.shape, np.bool_) if threshold is None else scores > threshold
    listed[np.arange(len(scores))[:, None], best] = True
    rows, ids = np.nonzero(listed)
    counts = np.bincount(rows, minlength=len(scores))
    return ranked(np.concatenate([[0], np.cumsum(counts)]), ids, scores[rows, ids], threshold)


def ranked_pairs(
    rows: Sequence[Sequence[tuple[int, float]]], threshold: float | None = None
) -> Predictions:
    """`ranked` for a list of (label id, score) for each row."""
    flat = [pair for row in rows for pair in row]
    ids, scores = [pair[0] for pair in flat], [pair[1] for pair in flat]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return ranked(indptr, ids, scores, threshold)


def concatenated(parts: Sequence[Predictions]) -> Predictions:
    """The predictions of several groups of rows, one group after another."""
    counts = np.concatenate([np.diff(part.indptr) for part in parts])
    return Predictions(
        np.concatenate([[0], np.cumsum(counts)]),
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.asserted for part in parts]),
    )


def main(run: Callable[[Work], None], *distributions: str) -> None:
    """Run a runner from the command line.

    The outcome contains the installed versions of the packages `distributions`.
    """
    parser = argparse.ArgumentParser(description=run.__doc__)
    parser.add_argument("folder", type=Path, help="folder of a prepared set")
    parser.add_argument("output", type=Path, help="folder for predictions and outcome.json")
    parser.add_argument("--variant", default="")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    work = Work(given.folder, given.output, given.variant, given.threads)
    run(work)
    outcome = {
        "seconds": work.seconds,
        "settings": work.settings,
        "notes": work.notes,
        "versions": {name: importlib.metadata.version(name) for name in distributions},
        "python": platform.python_version(),
    }
    (given.output / "outcome.json").write_text(json.dumps(outcome), "utf-8")
