"""Fitting a model: features, the linear stage, the reranker on held-out entities, the decisions."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from labelwright.entities.errors import DataError
from labelwright.entities.tables import Entities
from labelwright.models.decisions import BALANCED, BROAD, Decisions, Probabilities
from labelwright.models.features.space import FeatureRows, FeatureSpace, filled
from labelwright.models.kernels.simd import LEAVES
from labelwright.models.labeler import Labeler, proposed
from labelwright.models.labels import LabelMatrix, LabelSet, label_set
from labelwright.models.stages.implications import Implications
from labelwright.models.stages.linear import LabelIds, LinearStage
from labelwright.models.stages.namesakes import Namesakes
from labelwright.models.stages.reranker import (
    Pairs,
    Relations,
    Reranker,
    calibrated,
    pair_features,
)
from labelwright.training.data import LabelledEntities, name_hashes
from labelwright.training.fitting.features import fit_features
from labelwright.training.fitting.implications import learn_implications
from labelwright.training.fitting.linear import RowOrder, fit_linear
from labelwright.training.fitting.namesakes import learn_namesakes
from labelwright.training.fitting.reranker import (
    BoostingParameters,
    calibration_knots,
    co_occurrence,
    cross_fitted_scores,
    fit_trees,
    label_rates,
    shares_as_bytes,
)
from labelwright.training.fitting.spill import SpillingAllocator
from labelwright.training.fitting.thresholds import best_threshold, logistic, precise_thresholds

CHUNK = 4_096
CHUNKS_IN_MEMORY = 32
"""Chunks that are made features of before any is put in its place."""
MIN_ROWS = 10
MIN_VISITS = 30_000
"""Rows that a fit of the linear stage visits at least: few rows need more passes to settle."""


@dataclasses.dataclass(frozen=True)
class Configuration:
    """Everything that decides what is learned from given rows, but for `threads`.

    The linear stage is fitted with liblinear's C `cost` in `passes` passes or more. For the
    reranker it is also fitted without each of `folds` parts of the rows in turn, or of more where
    there are many rows, until `enough` have been scored by a stage that has not seen them.
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
        if not 2 <= content.get("leaves", cls.leaves) <= LEAVES:
            raise DataError(f"leaves of a configuration must lie between 2 and {LEAVES}")
        return cls(**content)

    @property
    def boosting(self) -> BoostingParameters:
        """The part that concerns the reranker."""
        return BoostingParameters(self.trees, self.leaves, self.rate, self.seed, self.threads)


class Progress(Protocol):
    """Is told how far the work has come."""

    def __call__(self, stage: str, share: float) -> None:
        """`share` (0 to 1) of `stage` has been done since the last call."""


def no_progress(stage: str, share: float) -> None:
    """A Progress that tells nobody."""


@dataclasses.dataclass(frozen=True)
class _HeldOutPairs:
    """Pairs of entities whose stage-one scores come from a stage that has not seen them.

    `chosen` (n x candidates) are the candidates of each entity, whether they are `present`, and
    whether that is `known`; `names` (n) are hashes of what the entities are called; `pairs` is what
    the trees look at. `positives` counts all true labels of these entities, candidates or not; the
    two histograms count known pairs that are no candidates by score (bin edges in `_BINS`).
    """

    pairs: Pairs
    chosen: LabelIds
    present: npt.NDArray[np.bool_]
    known: npt.NDArray[np.bool_]
    names: npt.NDArray[np.uint64]
    positives: int
    other_present: npt.NDArray[np.int64]
    other_absent: npt.NDArray[np.int64]


def fit_labeler(
    data: LabelledEntities,
    configuration: Configuration,
    progress: Progress = no_progress,
    memory: int | None = None,
) -> Labeler:
    """Fit a model on all rows; raises DataError where there is nothing to learn.

    For `memory`, in bytes, see `SpillingAllocator`; it does not change the model.
    """
    labels = label_set(data.labels, configuration.min_count)
    if not len(labels):
        raise DataError(f"no label has at least {configuration.min_count} rows")
    if len(data) < MIN_ROWS:
        raise DataError(f"{len(data)} rows are too few to learn from; it takes {MIN_ROWS}")
    matrix = data.matrix(labels)
    shares, evidence = co_occurrence(matrix)
    implications = learn_implications(
        labels, matrix.counts(), shares, evidence, data.entities.schema.implies
    )
    relations = Relations.of(label_rates(matrix), shares_as_bytes(shares))
    with ThreadPoolExecutor(configuration.threads) as pool:
        return _Fit(
            data.entities,
            labels,
            matrix,
            relations,
            implications,
            configuration,
            progress,
            pool,
            SpillingAllocator(memory),
        ).run()


@dataclasses.dataclass(frozen=True)
class _Fit:
    """The state of one fit."""

    entities: Entities
    labels: LabelSet
    matrix: LabelMatrix
    relations: Relations
    implications: Implications
    configuration: Configuration
    progress: Progress
    pool: ThreadPoolExecutor
    allocator: SpillingAllocator

    def run(self) -> Labeler:
        features, rows = self._features()
        held_out, linear = self._linear(rows, len(features.keys))
        reranker, decisions = self._rerank(held_out)
        namesakes = learn_namesakes(rows.names, self.matrix)
        return Labeler(
            self.labels, features, linear, self.implications, namesakes, reranker, decisions
        )

    def _features(self) -> tuple[FeatureSpace, FeatureRows]:
        starts = range(0, len(self.entities), CHUNK)
        chunks = [self.entities.slice(start, CHUNK) for start in starts]
        features, size = fit_features(chunks, self.entities, self.allocator)
        self.progress("features", 0.5)
        rows = filled(self._empty_rows(size), self._transformed(features, chunks))
        self.progress("features", 0.5)
        return features, rows

    def _transformed(
        self, features: FeatureSpace, chunks: Sequence[Entities]
    ) -> Iterator[FeatureRows]:
        """The feature rows of some chunks after another, few of them at a time."""
        for first in range(0, len(chunks), CHUNKS_IN_MEMORY):
            yield from self.pool.map(features.transform, chunks[first : first + CHUNKS_IN_MEMORY])

    def _empty_rows(self, size: int) -> FeatureRows:
        """Room for the feature rows of all entities, which have so many features together."""
        rows = len(self.entities)
        return FeatureRows(
            np.zeros(rows + 1, np.int64),
            self.allocator.zeros((size,), np.int32),
            self.allocator.zeros((size,), np.float32),
            np.zeros(rows, np.uint64),
        )

    def _linear(self, rows: FeatureRows, features: int) -> tuple["_HeldOutPairs", LinearStage]:
        """The linear stage fitted on all rows, and what stages without some of them say of those.

        Folds are left out in turn until enough rows have been scored.
        """
        configuration = self.configuration
        random = np.random.default_rng(configuration.seed)
        names = name_hashes(self.entities)
        everything = np.arange(len(self.matrix))
        count = self._folds(len(everything))
        folds = random.permutation(everything) % count
        parts: list[_HeldOutPairs] = []
        scored = 0
        passes = max(configuration.passes, -(-MIN_VISITS // len(everything)))
        for fold in range(count):
            inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            if not len(outside):
                continue
            stage = self._stage(rows, features, _pass_orders(random, inside, passes))
            namesakes = learn_namesakes(rows.names[inside], self.matrix.take(inside))
            parts.append(self._score_held_out(stage, namesakes, rows, outside, names))
            scored += len(outside)
            if scored >= configuration.enough:
                break
        return _concatenated(parts), self._stage(
            rows, features, _pass_orders(random, everything, passes)
        )

    def _stage(self, rows: FeatureRows, features: int, passes: Sequence[RowOrder]) -> LinearStage:
        share = 1 / self._fits(len(rows.indptr) - 1)
        return fit_linear(
            rows,
            self.matrix,
            features,
            passes,
            self.configuration.cost,
            self.configuration.threads,
            lambda part: self.progress("linear stage", part * share),
            self.allocator,
        )

    def _folds(self, rows: int) -> int:
        """Of how many folds each is left out in turn: of many rows, a smaller part is enough."""
        return max(self.configuration.folds, rows // self.configuration.enough)

    def _fits(self, rows: int) -> int:
        """How often the linear stage is fitted: for some folds, and on everything."""
        folds = self._folds(rows)
        return 1 + min(folds, -(-self.configuration.enough * folds // rows))

    def _score_held_out(
        self,
        stage: LinearStage,
        namesakes: Namesakes,
        rows: FeatureRows,
        outside: RowOrder,
        names: npt.NDArray[np.uint64],
    ) -> _HeldOutPairs:
        def score(start: int) -> _HeldOutPairs:
            span = outside[start : start + CHUNK]
            part, labels = rows.take(span), self.matrix.take(span)
            scores, chosen = proposed(stage, self.implications, part, self.configuration.candidates)
            recalled = namesakes.recall(part.names, chosen)
            pairs = pair_features(part, scores, chosen, recalled, self.relations)
            known = labels.known(np.arange(len(span))[:, None], chosen)
            others = _histograms_of_others(scores, chosen, labels)
            return _HeldOutPairs(
                pairs, chosen, labels.contains(chosen), known, names[span], len(labels.ids), *others
            )

        return _concatenated(list(self.pool.map(score, range(0, len(outside), CHUNK))))

    def _rerank(self, held_out: _HeldOutPairs) -> tuple[Reranker, Decisions]:
        rate, company = label_rates(self.matrix), self.relations.company
        boosting = self.configuration.boosting
        present, known = held_out.present.ravel(), held_out.known.ravel()
        names = np.repeat(held_out.names, held_out.chosen.shape[1])
        raw = cross_fitted_scores(held_out.pairs, present, known, names, boosting)
        self.progress("reranker", 0.5)
        knots = calibration_knots(raw[known], present[known])
        booster = fit_trees(held_out.pairs[known], present[known], boosting)
        self.progress("reranker", 0.5)
        probabilities = calibrated(raw, knots).reshape(held_out.chosen.shape)
        self.implications.raise_probabilities(held_out.chosen, probabilities)
        decisions = self._decisions(held_out, probabilities)
        return Reranker(rate, company, knots, booster.model_to_string()), decisions

    def _decisions(self, held_out: _HeldOutPairs, probabilities: Probabilities) -> Decisions:
        known = held_out.known
        present, probabilities = held_out.present[known], probabilities[known]
        ids = held_out.chosen[known].astype(np.int64)
        names = np.broadcast_to(held_out.names[:, None], known.shape)[known]
        count = len(self.labels)

        def everywhere(beta: float) -> Probabilities:
            threshold = best_threshold(probabilities, present, held_out.positives, beta)
            return np.full(count, threshold, np.float32)

        centres = (_BINS[1:] + _BINS[:-1]) / 2
        slope, intercept = logistic(centres, held_out.other_present, held_out.other_absent)
        return Decisions(
            held_out.chosen.shape[1],
            slope,
            intercept,
            {BALANCED: everywhere(1.0), BROAD: everywhere(2.0)},
            precise_thresholds(ids, names, probabilities, present, count),
        )


_BINS = np.linspace(-4, 2, 121)


def _histograms_of_others(
    scores: npt.NDArray[np.float32], chosen: LabelIds, truth: LabelMatrix
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Histograms of the scores of known pairs that are no candidates: present ones, absent ones."""
    others = scores.copy()
    others[np.arange(len(scores))[:, None], chosen] = np.nan
    rows, columns = np.nonzero(truth.unknown & ~truth.partial[:, None])
    others[rows, truth.open_ids[columns]] = np.nan
    partial = np.flatnonzero(truth.partial)
    everything = np.arange(truth.labels, dtype=np.int32)
    others[partial] = np.where(truth.known(partial[:, None], everything), others[partial], np.nan)
    true = others[truth.owners(), truth.ids]
    present, _ = np.histogram(np.clip(true[~np.isnan(true)], _BINS[0], _BINS[-1]), _BINS)
    known = others[~np.isnan(others)]
    all_known, _ = np.histogram(np.clip(known, _BINS[0], _BINS[-1]), _BINS)
    return present, all_known - present


def _concatenated(parts: Sequence[_HeldOutPairs]) -> _HeldOutPairs:
    return _HeldOutPairs(
        np.concatenate([part.pairs for part in parts]),
        np.concatenate([part.chosen for part in parts]),
        np.concatenate([part.present for part in parts]),
        np.concatenate([part.known for part in parts]),
        np.concatenate([part.names for part in parts]),
        sum(part.positives for part in parts),
        np.sum([part.other_present for part in parts], axis=0),
        np.sum([part.other_absent for part in parts], axis=0),
    )


def _pass_orders(random: np.random.Generator, rows: RowOrder, passes: int) -> list[RowOrder]:
    return [random.permutation(rows) for _ in range(passes)]
