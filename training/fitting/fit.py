"""Fitting of a model: features, linear stage, reranker and decisions.

The reranker and the decisions are fitted on held-out entities. A linear stage that was fitted on
other entities scores them.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from labelwright.entities.errors import DataError
from labelwright.entities.label_book import LabelBook
from labelwright.entities.tables import Entities
from labelwright.models.decisions import BALANCED, BROAD, Decisions, Probabilities
from labelwright.models.features.space import FeatureRows, FeatureSpace, fill_rows
from labelwright.models.kernels.simd import LEAVES
from labelwright.models.labeler import Labeler, propose_candidates
from labelwright.models.labels import LabelMatrix, LabelSet, label_set
from labelwright.models.stages.groups import Groups, Memberships
from labelwright.models.stages.implications import Implications
from labelwright.models.stages.linear import LinearStage
from labelwright.models.stages.namesakes import Namesakes
from labelwright.models.stages.reranker import (
    LABEL_FEATURE,
    Relations,
    Reranker,
    calibrated,
    pair_features,
)
from labelwright.training.data import LabelledEntities, name_hashes
from labelwright.training.fitting.base import Base
from labelwright.training.fitting.book_rows import BookRows
from labelwright.training.fitting.distillation import Unlabelled
from labelwright.training.fitting.features import fit_features
from labelwright.training.fitting.groups import fit_groups
from labelwright.training.fitting.held_out import (
    SCORE_BINS,
    HeldOutPairs,
    concatenated,
    histograms_of_others,
)
from labelwright.training.fitting.implications import learn_implications
from labelwright.training.fitting.linear import (
    Floats,
    RowOrder,
    SoftLabels,
    fit_linear,
    no_start,
)
from labelwright.training.fitting.namesakes import learn_namesakes
from labelwright.training.fitting.reranker import (
    BoostingParameters,
    calibration_knots,
    co_occurrence,
    cross_fitted_scores,
    fit_trees,
    known_rows,
    label_rates,
    shares_as_bytes,
)
from labelwright.training.fitting.spill import SpillingAllocator
from labelwright.training.fitting.thresholds import best_threshold, logistic, precise_thresholds

CHUNK = 4_096
"""Number of entities that a thread processes at a time."""
CHUNKS_IN_MEMORY = 32
"""Maximum number of chunks of feature rows in memory that are not yet copied into the arrays of all
rows."""
MIN_ROWS = 10
"""Minimum number of training rows."""
MIN_STEPS = 30_000
"""Minimum number of steps (rows x passes) of the linear stage: with few rows, it converges only
after more passes."""


@dataclasses.dataclass(frozen=True)
class Configuration:
    """Settings of a fit. All but `threads` change the model.

    Labels with fewer than `min_count` rows are left out. `cost` is liblinear's C for the linear
    stage. The linear stage is fitted in `passes` passes over the rows, or in more if there are few
    rows.

    The reranker is fitted on held-out rows. The rows are divided into `folds` folds. A linear stage
    that is fitted on the other folds scores the rows of one fold. This is repeated with the next
    fold until at least `enough` rows have been scored. With many rows, there are more than `folds`
    folds: rows // `enough`. One fold then has at least `enough` rows.

    The reranker scores `candidates` labels of each entity. It has `trees` trees, each with up to
    `leaves` leaves, and the learning rate `rate`.
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
        """A configuration with the given fields, and default values for the other fields.

        Raises DataError for an unknown field or an invalid value.
        """
        kinds = {field.name: type(field.default) for field in dataclasses.fields(cls)}
        for name, value in content.items():
            if name not in kinds:
                raise DataError(
                    f"the configuration has an unknown field {name!r}; the fields are "
                    f"{', '.join(kinds)}"
                )
            numeric = isinstance(value, (kinds[name], int)) and not isinstance(value, bool)
            least = 1 if name == "folds" else 0
            if not numeric or not value > least:
                kind = "a whole number" if kinds[name] is int else "a number"
                raise DataError(f"{name!r} in the configuration must be {kind} above {least}")
        if not 2 <= content.get("leaves", cls.leaves) <= LEAVES:
            raise DataError(f"'leaves' in the configuration must be between 2 and {LEAVES}")
        return cls(**content)

    @property
    def boosting(self) -> BoostingParameters:
        """The settings of the reranker's trees."""
        return BoostingParameters(self.trees, self.leaves, self.rate, self.seed, self.threads)


class Progress(Protocol):
    """Callback that reports the progress of a job."""

    def __call__(self, stage: str, share: float) -> None:
        """Report that a further `share` (0 to 1) of the work of `stage` is done."""


def no_progress(stage: str, share: float) -> None:
    """A Progress that reports nothing."""


def fit_labeler(
    data: LabelledEntities,
    configuration: Configuration,
    progress: Progress = no_progress,
    memory: int | None = None,
    unlabelled: Unlabelled | None = None,
    book: LabelBook | None = None,
    base: Labeler | None = None,
) -> Labeler:
    """Fit a model on all rows; raises DataError if there are too few rows or labels.

    The linear stage also learns from a teacher's scores of the rows in `unlabelled`, and from the
    texts of a label book; all labels with such texts become labels of the model. The knowledge of
    the model `base` is the start of the fit (`training.fitting.base`). The reranker, the
    calibration and the decisions are fitted on rows of `data` alone. `memory` is the maximum
    size of the large arrays in memory, in bytes; None is no limit. Arrays beyond it are in spill
    files (`SpillingAllocator`). The limit does not change the model.
    """
    labels = label_set(data.labels, configuration.min_count)
    if not len(labels):
        raise DataError(
            f"no label has at least {configuration.min_count} rows: give more rows, or lower "
            "--min-count"
        )
    if len(data) < MIN_ROWS:
        raise DataError(
            f"{len(data)} rows are too few to train on: give at least {MIN_ROWS} rows with labels"
        )
    if book:
        book = book.relevant(labels.names)
        labels = LabelSet(tuple(sorted({*labels.names, *book.taught})))
    start = None if base is None else Base.of(base, labels, data.entities.schema)
    labels = labels if start is None else start.labels
    matrix = data.matrix(labels)
    schema = data.entities.schema.with_groups_of(labels.names)
    memberships = Memberships.of_labels(schema, labels)
    shares, evidence = co_occurrence(matrix)
    implications = learn_implications(
        labels,
        matrix.counts(),
        shares,
        evidence,
        schema.implies,
        memberships.same_exclusive() | memberships.open,
        () if start is None else start.implications,
    )
    rates = label_rates(matrix)
    if start is not None:
        rates = start.blended_rates(rates, known_rows(matrix))
        shares = start.blended_co_occurrence(shares, evidence)
    with ThreadPoolExecutor(configuration.threads) as pool:
        labeler = _Fit(
            dataclasses.replace(data.entities, schema=schema),
            labels,
            memberships,
            matrix,
            rates,
            Relations.of(rates, shares_as_bytes(shares)),
            implications,
            configuration,
            progress,
            pool,
            SpillingAllocator(memory),
            unlabelled,
            BookRows.of(book, data.entities.schema, labels, matrix.counts()) if book else None,
            start,
        ).run()
    if book and not book.of_any_data:
        labeler = dataclasses.replace(labeler, book=book)
    return labeler


@dataclasses.dataclass(frozen=True)
class _Fit:
    """One fit: its input, settings and resources."""

    entities: Entities
    labels: LabelSet
    memberships: Memberships
    matrix: LabelMatrix
    rates: Floats
    relations: Relations
    implications: Implications
    configuration: Configuration
    progress: Progress
    pool: ThreadPoolExecutor
    allocator: SpillingAllocator
    unlabelled: Unlabelled | None = None
    book: BookRows | None = None
    base: Base | None = None

    def run(self) -> Labeler:
        features, rows = self._features()
        random = np.random.default_rng(self.configuration.seed)
        held_out = self._held_out_pairs(*self._used(rows, features), random)
        all_rows = np.arange(len(self.matrix))
        linear = self._linear_stage(rows, features, all_rows, random)
        reranker, groups, decisions = self._reranker(held_out)
        namesakes = self._namesakes(rows, all_rows)
        return Labeler(
            self.labels,
            features,
            linear,
            self.implications,
            namesakes,
            reranker,
            groups,
            decisions,
        )

    def _features(self) -> tuple[FeatureSpace, FeatureRows]:
        others = (self.unlabelled, self.book)
        parts = [self.entities, *(other.entities for other in others if other)]
        chunks = _chunks(parts)
        # counted twice, so that every word of the book is a feature: new entities have it
        counted = chunks + (_chunks([self.book.entities]) if self.book else [])
        known = None if self.base is None else self.base.labeler.features
        features, size = fit_features(counted, self.entities, self.allocator, known)
        self.progress("features", 0.5)
        empty = self._empty_rows(sum(map(len, parts)), size)
        rows = fill_rows(empty, self._transformed(features, chunks))
        self.progress("features", 0.5)
        return features, rows

    def _used(self, rows: FeatureRows, features: FeatureSpace) -> tuple[FeatureRows, FeatureSpace]:
        """The rows, and only the features that they have. Most features of a base are in no row."""
        if self.base is None:
            return rows, features
        used, indices = np.unique(rows.indices, return_inverse=True)
        return rows._replace(indices=indices.astype(np.int32)), features.take(used)

    def _transformed(
        self, features: FeatureSpace, chunks: Sequence[Entities]
    ) -> Iterator[FeatureRows]:
        """The feature rows of the chunks, in order; at most CHUNKS_IN_MEMORY are in memory."""
        for first in range(0, len(chunks), CHUNKS_IN_MEMORY):
            yield from self.pool.map(features.transform, chunks[first : first + CHUNKS_IN_MEMORY])

    def _empty_rows(self, rows: int, size: int) -> FeatureRows:
        """Feature rows of zeros; `size` is the number of features of all rows together."""
        return FeatureRows(
            np.zeros(rows + 1, np.int64),
            self.allocator.zeros((size,), np.int32),
            self.allocator.zeros((size,), np.float32),
            np.zeros(rows, np.uint64),
        )

    def _held_out_pairs(
        self, rows: FeatureRows, features: FeatureSpace, random: np.random.Generator
    ) -> HeldOutPairs:
        """Pairs of a held-out entity and a candidate label.

        Each fold is scored by a linear stage that is fitted on the other folds. No further fold is
        scored when at least `enough` rows have been scored.
        """
        count = self._fold_count(len(self.matrix))
        folds = random.permutation(np.arange(len(self.matrix))) % count
        names = name_hashes(self.entities)
        parts: list[HeldOutPairs] = []
        scored = 0
        for fold in range(count):
            fitted_rows = np.flatnonzero(folds != fold)
            held_out_rows = np.flatnonzero(folds == fold)
            if not len(held_out_rows):
                continue
            hidden = self._hidden_labels(random)
            fitted_rows = fitted_rows[~self.matrix.take(fitted_rows).has_any(hidden)]
            stage = self._linear_stage(rows, features, fitted_rows, random)
            namesakes = self._namesakes(rows, fitted_rows)
            parts.append(self._score(stage, namesakes, rows, held_out_rows, names, hidden))
            scored += len(held_out_rows)
            if scored >= self.configuration.enough:
                break
        return concatenated(parts)

    def _hidden_labels(self, random: np.random.Generator) -> npt.NDArray[np.bool_]:
        """Labels of the book that the fit of one fold hides, bool[labels]; none without a book."""
        if self.book is None:
            return np.zeros(len(self.labels), np.bool_)
        return self.book.hidden_labels(self.matrix, random)

    def _linear_stage(
        self,
        rows: FeatureRows,
        features: FeatureSpace,
        fitted_rows: RowOrder,
        random: np.random.Generator,
    ) -> LinearStage:
        """A linear stage that is fitted on `fitted_rows` and on the rows without labels.

        Each pass has a new random order. The teacher of the rows without labels is fitted on
        `fitted_rows`, too, so it never knows a held-out row.
        """
        share = 1 / self._fit_count(len(self.matrix))
        matrix, mixture = self.matrix, None
        counts = matrix.take(fitted_rows).counts()
        parts = []
        if self.unlabelled:
            passes = self._passes(fitted_rows, len(self.matrix), random)
            threads, run = self.configuration.threads, self.pool.map
            parts.append(
                self.unlabelled.soft_labels(rows, matrix, len(features.keys), passes, threads, run)
            )
        if self.book:
            parts.append(self.book.soft_labels(len(rows.names) - len(self.book.entities), counts))
            matrix, mixture = self.book.with_words(matrix), self.book.mixture(counts)
        soft = SoftLabels.joined(parts) if parts else SoftLabels.none(len(matrix))
        if self.book:
            soft = self.book.soft_with_words(soft)
        fitted_rows = np.concatenate([fitted_rows, soft.rows])
        return fit_linear(
            rows,
            matrix,
            len(features.keys),
            self._passes(fitted_rows, len(rows.names), random),
            self.configuration.cost,
            self.configuration.threads,
            lambda part: self.progress("linear stage", part * share),
            self.allocator,
            soft=soft,
            mixture=mixture,
            start=no_start if self.base is None else self.base.start(features),
        )

    def _namesakes(self, rows: FeatureRows, fitted_rows: RowOrder) -> Namesakes:
        """The namesakes among `fitted_rows`, and those of the base."""
        own = learn_namesakes(rows.names[fitted_rows], self.matrix.take(fitted_rows))
        return own if self.base is None else self.base.with_namesakes(own)

    def _passes(
        self, fitted_rows: RowOrder, rows: int, random: np.random.Generator
    ) -> list[RowOrder]:
        """Random orders of the rows to fit; `rows` is the number of all rows."""
        count = max(self.configuration.passes, -(-MIN_STEPS // rows))
        return [random.permutation(fitted_rows) for _ in range(count)]

    def _fold_count(self, rows: int) -> int:
        """Number of folds: `folds`, or rows // `enough` if this is more.

        With at least `folds` x `enough` rows, one fold has at least `enough` rows.
        """
        return max(self.configuration.folds, rows // self.configuration.enough)

    def _fit_count(self, rows: int) -> int:
        """Number of fits of the linear stage: one for each scored fold, and one on all rows."""
        folds = self._fold_count(rows)
        return 1 + min(folds, -(-self.configuration.enough * folds // rows))

    def _score(
        self,
        stage: LinearStage,
        namesakes: Namesakes,
        rows: FeatureRows,
        held_out_rows: RowOrder,
        names: npt.NDArray[np.uint64],
        hidden: npt.NDArray[np.bool_],
    ) -> HeldOutPairs:
        """Pairs of the held-out rows; `stage` and `namesakes` were learned from other rows.

        None of these rows has one of the `hidden` labels (bool[labels]).
        """
        relations = self.relations.without(hidden)
        rowless = self.matrix.counts() == 0
        unseen = hidden | rowless
        missing = rowless & (self.book is not None and not self.book.of_any_data)

        def score(start: int) -> HeldOutPairs:
            chunk = held_out_rows[start : start + CHUNK]
            part, labels = rows.take(chunk), self.matrix.take(chunk)
            scores, chosen = propose_candidates(
                stage, self.implications, part, self.configuration.candidates
            )
            recalled = namesakes.recall(part.names, chosen)
            pairs = pair_features(part, scores, chosen, recalled, relations)
            pairs[unseen[chosen].ravel(), LABEL_FEATURE] = np.nan
            known = labels.known(np.arange(len(chunk))[:, None], chosen)
            known &= ~missing[chosen]
            decided = known | (self.memberships.open[chosen] & ~labels.partial[:, None])
            decided &= ~unseen[chosen]
            others = histograms_of_others(scores, chosen, labels)
            present = labels.contains(chosen)
            positives = int(np.count_nonzero(~unseen[labels.present.ids]))
            return HeldOutPairs(
                pairs, chosen, present, known, decided, names[chunk], positives, *others
            )

        return concatenated(list(self.pool.map(score, range(0, len(held_out_rows), CHUNK))))

    def _reranker(self, held_out: HeldOutPairs) -> tuple[Reranker, Groups, Decisions]:
        boosting = self.configuration.boosting
        present, known = held_out.present.ravel(), held_out.known.ravel()
        names = np.repeat(held_out.names, held_out.chosen.shape[1])
        start, prior = (None, None) if self.base is None else (self.base.trees, self.base.knots)
        raw, boosting = cross_fitted_scores(held_out.pairs, present, known, names, boosting, start)
        self.progress("reranker", 0.5)
        knots = calibration_knots(raw[known], present[known], prior)
        booster = fit_trees(held_out.pairs[known], present[known], boosting, start)
        self.progress("reranker", 0.5)
        probabilities = calibrated(raw, knots).reshape(held_out.chosen.shape)
        self.implications.raise_probabilities(held_out.chosen, probabilities)
        groups = fit_groups(self.memberships, self.matrix, held_out, probabilities)
        groups.apply(self.implications, held_out.chosen, probabilities)
        blocked = groups.blocked(self.implications, held_out.chosen, probabilities)
        decisions = self._decisions(held_out, probabilities, held_out.decided & ~blocked)
        trees = booster.model_to_string()
        reranker = Reranker(self.rates, self.relations.co_occurrence, knots, trees)
        return reranker, groups, decisions

    def _decisions(
        self, held_out: HeldOutPairs, probabilities: Probabilities, used: npt.NDArray[np.bool_]
    ) -> Decisions:
        """The decisions; `used` (n x candidates) marks the pairs that can be asserted."""
        present, probabilities = held_out.present[used], probabilities[used]
        ids = held_out.chosen[used].astype(np.int64)
        names = np.broadcast_to(held_out.names[:, None], used.shape)[used]
        count = len(self.labels)

        def uniform(beta: float) -> Probabilities:
            threshold = best_threshold(probabilities, present, held_out.positives, beta)
            return np.full(count, threshold, np.float32)

        centres = (SCORE_BINS[1:] + SCORE_BINS[:-1]) / 2
        slope, intercept = logistic(centres, held_out.other_present, held_out.other_absent)
        return Decisions(
            held_out.chosen.shape[1],
            slope,
            intercept,
            {BALANCED: uniform(1.0), BROAD: uniform(2.0)},
            precise_thresholds(ids, names, probabilities, present, count),
        )


def _chunks(parts: Sequence[Entities]) -> list[Entities]:
    return [part.slice(start, CHUNK) for part in parts for start in range(0, len(part), CHUNK)]
