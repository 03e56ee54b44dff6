"""Fitting a model: features, the linear stage, the reranker on held-out entities, the decisions."""

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from entities.errors import DataError
from entities.tables import Entities
from models.decisions import Decisions, Probabilities
from models.features import FeatureRows, FeatureSpace, stacked
from models.labeler import Labeler
from models.labels import LabelMatrix, LabelSet, label_matrix, label_set
from models.linear import LabelIds, LinearStage, candidates
from models.reranker import Pairs, Reranker, calibrated, pair_features
from training.data import LabelledEntities, name_hashes
from training.features import fit_features
from training.linear import RowOrder, fit_linear
from training.reranker import (
    Boosting,
    calibration_knots,
    company,
    cross_fitted,
    fit_trees,
    label_rates,
)

CHUNK = 4_096
LEAST_ROWS = 10


@dataclasses.dataclass(frozen=True)
class Configuration:
    """Everything that decides what is learned from given rows, but for `threads`.

    The linear stage is fitted with liblinear's C `cost` in `passes` passes. For the reranker it is
    also fitted without each of `folds` parts of the rows in turn, until `enough` rows have been
    scored by a stage that has not seen them.
    """

    min_count: int = 1
    seed: int = 0
    threads: int = 2
    cost: float = 0.3
    passes: int = 3
    folds: int = 5
    enough: int = 100_000
    candidates: int = 15
    trees: int = 100
    leaves: int = 15
    rate: float = 0.1

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> Self:
        """A configuration of which only some fields are given; raises DataError."""
        kinds = {field.name: type(field.default) for field in dataclasses.fields(cls)}
        for name, value in content.items():
            if name not in kinds:
                raise DataError(f"a configuration has no {name!r}; it has {', '.join(kinds)}")
            numeric = isinstance(value, (kinds[name], int)) and not isinstance(value, bool)
            if not numeric or not value > (1 if name == "folds" else 0):
                raise DataError(f"{name} of a configuration must be a larger number, or whole")
        return cls(**content)

    @property
    def boosting(self) -> Boosting:
        """The part that concerns the reranker."""
        return Boosting(self.trees, self.leaves, self.rate, self.seed, self.threads)


class Progress(Protocol):
    """Is told how far the work has come."""

    def __call__(self, stage: str, share: float) -> None:
        """`share` (0 to 1) of `stage` has been done since the last call."""


def silent(stage: str, share: float) -> None:
    """A Progress that tells nobody."""


@dataclasses.dataclass(frozen=True)
class _HeldOut:
    """Pairs of entities whose stage-one scores come from a stage that has not seen them.

    `positives` counts all true labels of these entities, candidates or not; the two histograms
    count scores of labels that are no candidates (bin centres in `_BINS`).
    """

    pairs: Pairs
    present: npt.NDArray[np.bool_]
    positives: int
    other_present: npt.NDArray[np.int64]
    other_absent: npt.NDArray[np.int64]


def fit_labeler(
    data: LabelledEntities, configuration: Configuration, progress: Progress = silent
) -> Labeler:
    """Fit a model on all rows; raises DataError where there is nothing to learn."""
    labels = label_set(data.labels, configuration.min_count)
    if not len(labels):
        raise DataError(f"no label has at least {configuration.min_count} rows")
    if len(data) < LEAST_ROWS:
        raise DataError(f"{len(data)} rows are too few to learn from; it takes {LEAST_ROWS}")
    matrix = label_matrix(data.labels, labels)
    with ThreadPoolExecutor(configuration.threads) as pool:
        return _Fit(data.entities, labels, matrix, configuration, progress, pool).run()


@dataclasses.dataclass(frozen=True)
class _Fit:
    """The state of one fit."""

    entities: Entities
    labels: LabelSet
    matrix: LabelMatrix
    configuration: Configuration
    progress: Progress
    pool: ThreadPoolExecutor

    def run(self) -> Labeler:
        features, rows = self._features()
        held_out, linear = self._linear(rows, len(features.keys))
        reranker, decisions = self._rerank(held_out)
        return Labeler(self.labels, features, linear, reranker, decisions)

    def _features(self) -> tuple[FeatureSpace, FeatureRows]:
        starts = range(0, len(self.entities), CHUNK)
        chunks = [self.entities.slice(start, CHUNK) for start in starts]
        features = fit_features(chunks, self.entities)
        self.progress("features", 0.5)
        rows = stacked(list(self.pool.map(features.transform, chunks)))
        self.progress("features", 0.5)
        return features, rows

    def _linear(self, rows: FeatureRows, features: int) -> tuple["_HeldOut", LinearStage]:
        """The linear stage fitted on all rows, and what stages without some of them say of those.

        Folds are left out in turn until enough rows have been scored.
        """
        configuration = self.configuration
        random = np.random.default_rng(configuration.seed)
        folds = self._folds()
        everything = np.arange(len(self.matrix))
        parts: list[_HeldOut] = []
        scored = 0
        passes = configuration.passes
        for fold in range(configuration.folds):
            inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            if not len(inside) or not len(outside):
                continue
            (stage,) = self._stages(rows, features, [_orders(random, inside, passes)])
            parts.append(self._score_held_out(stage, rows.take(outside), self.matrix.take(outside)))
            scored += len(outside)
            if scored >= configuration.enough:
                break
        (final,) = self._stages(rows, features, [_orders(random, everything, passes)])
        return _merged(parts), final

    def _folds(self) -> npt.NDArray[np.int64]:
        """The fold of each row: by name, so that chains are not split, unless names are few."""
        hashes = name_hashes(self.entities) >> np.uint64(8)
        folds = (hashes % np.uint64(self.configuration.folds)).astype(np.int64)
        if len(np.unique(folds)) == 1:
            return np.arange(len(folds)) % self.configuration.folds
        return folds

    def _stages(
        self, rows: FeatureRows, features: int, acts: Sequence[Sequence[RowOrder]]
    ) -> list[LinearStage]:
        share = 1 / (self._fits(len(rows.indptr) - 1) * len(acts))
        return fit_linear(
            rows,
            self.matrix,
            features,
            acts,
            self.configuration.cost,
            self.configuration.threads,
            lambda part: self.progress("linear stage", part * share),
        )

    def _fits(self, rows: int) -> int:
        """How often the linear stage is fitted: for some folds, and on everything."""
        folds = self.configuration.folds
        return 1 + min(folds, -(-self.configuration.enough * folds // rows))

    def _score_held_out(
        self, stage: LinearStage, rows: FeatureRows, truth: LabelMatrix
    ) -> _HeldOut:
        rate, company_ = label_rates(self.matrix), company(self.matrix)

        def score(start: int) -> _HeldOut:
            span = np.arange(start, min(start + CHUNK, len(truth)))
            part, labels = rows.take(span), truth.take(span)
            scores = stage.scores(part)
            chosen = candidates(scores, self.configuration.candidates)
            pairs = pair_features(part, scores, chosen, rate, company_)
            present, absent = _others(scores, chosen, labels)
            return _HeldOut(pairs, labels.contains(chosen), len(labels.ids), present, absent)

        return _merged(list(self.pool.map(score, range(0, len(truth), CHUNK))))

    def _rerank(self, held_out: _HeldOut) -> tuple[Reranker, Decisions]:
        present = held_out.present.ravel()
        boosting = self.configuration.boosting
        count = held_out.present.shape[1]
        raw = cross_fitted(held_out.pairs, present, count, boosting)
        self.progress("reranker", 0.5)
        knots = calibration_knots(raw, present)
        booster = fit_trees(held_out.pairs, present, boosting)
        self.progress("reranker", 0.5)
        reranker = Reranker(
            label_rates(self.matrix), company(self.matrix), knots, booster.model_to_string()
        )
        threshold = best_threshold(calibrated(raw, knots), present, held_out.positives)
        slope, intercept = _logistic(held_out.other_present, held_out.other_absent)
        thresholds = np.full(len(self.labels), threshold, np.float32)
        return reranker, Decisions(count, slope, intercept, {"balanced": thresholds})


def best_threshold(
    probabilities: Probabilities, present: npt.NDArray[np.bool_], positives: int
) -> float:
    """The threshold with the largest micro-F1, where `positives` pairs hold in all.

    It lies halfway between the last probability asserted and the first that is not.
    """
    order = np.argsort(-probabilities, kind="stable")
    f1 = 2 * np.cumsum(present[order]) / (np.arange(1, len(order) + 1) + positives)
    last = int(np.argmax(f1))
    following = probabilities[order[min(last + 1, len(order) - 1)]]
    return float((probabilities[order[last]] + following) / 2)


_BINS = np.linspace(-4, 2, 121)


def _others(
    scores: npt.NDArray[np.float32], chosen: LabelIds, truth: LabelMatrix
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Histograms of the scores of labels that are no candidates: present ones, absent ones."""
    owners = np.repeat(np.arange(len(truth)), np.diff(truth.indptr))
    others = scores.copy()
    others[np.arange(len(scores))[:, None], chosen] = np.nan
    true = others[owners, truth.ids]
    present, _ = np.histogram(np.clip(true[~np.isnan(true)], _BINS[0], _BINS[-1]), _BINS)
    known = others[~np.isnan(others)]
    everything, _ = np.histogram(np.clip(known, _BINS[0], _BINS[-1]), _BINS)
    return present, everything - present


def _logistic(present: npt.NDArray[np.int64], absent: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Slope and intercept from score to log-odds (Platt 1999), from two histograms of scores."""
    if not present.any() or not absent.any():
        return 1.0, float(np.log((present.sum() + 0.5) / (absent.sum() + 0.5)))
    centres = (_BINS[1:] + _BINS[:-1]) / 2
    x = np.concatenate([centres, centres])[:, None]
    y = np.repeat([1, 0], len(centres))
    weights = np.concatenate([present, absent])
    model = LogisticRegression(C=1e6).fit(x[weights > 0], y[weights > 0], weights[weights > 0])
    return max(float(model.coef_[0, 0]), 0.0), float(model.intercept_[0])


def _merged(parts: Sequence[_HeldOut]) -> _HeldOut:
    return _HeldOut(
        np.concatenate([part.pairs for part in parts]),
        np.concatenate([part.present for part in parts]),
        sum(part.positives for part in parts),
        np.sum([part.other_present for part in parts], axis=0),
        np.sum([part.other_absent for part in parts], axis=0),
    )


def _orders(random: np.random.Generator, rows: RowOrder, passes: int) -> list[RowOrder]:
    return [random.permutation(rows) for _ in range(passes)]
