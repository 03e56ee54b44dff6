"""What changes when one model takes the place of another: labels, thresholds, metrics, answers."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from labelwright.entities.errors import RequestError
from labelwright.entities.io.column_map import ColumnNames
from labelwright.entities.io.locations import Where, locate
from labelwright.entities.io.readers import ALIKE, read_batches
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities
from labelwright.models.bundle.format import Bundle
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.labeler import Labeler
from labelwright.training.evaluation.evaluate import label_all

MIN_CHANGE = 0.1
"""A probability that moves by no more than this has not changed."""
ADDED, REMOVED, CHANGED = KINDS = ("added", "removed", "changed")
"""Kinds of change: only the new model asserts the label; only the old model does; the assertion is
the same, but the probability differs by more than MIN_CHANGE."""
_QUERY = LabelQuery(top_k=100)

Rows = npt.NDArray[np.int64]
Figures = Mapping[str, tuple[float | None, float | None]]


@dataclasses.dataclass(frozen=True)
class LabelChanges:
    """How many labels both models know, and those that only one of them does, in order."""

    shared: int
    only_old: Sequence[str]
    only_new: Sequence[str]


@dataclasses.dataclass(frozen=True)
class ThresholdChange:
    """The lowest and highest threshold of a policy in each model, over the labels both know.

    `labels` counts those whose threshold differs.
    """

    old: tuple[float, float]
    new: tuple[float, float]
    labels: int


@dataclasses.dataclass(frozen=True)
class ModelChanges:
    """What two bundles say of themselves, without labelling anything.

    `schema` holds one sentence for each difference between the schemas; `thresholds` is by policy;
    `metrics` is by name, None where a manifest lacks it. `same_test` says whether both were
    measured on the same rows.
    """

    labels: LabelChanges
    schema: Sequence[str]
    thresholds: Mapping[str, ThresholdChange]
    metrics: Figures
    same_test: bool


@dataclasses.dataclass(frozen=True)
class Example:
    """A pair whose answer differs; a probability is None where the model does not know the label.

    `name` is the column that tells entities apart, None where there is none.
    """

    id: str
    name: str | None
    label: str
    old: float | None
    new: float | None


@dataclasses.dataclass(frozen=True)
class PredictionChanges:
    """How two models' answers to the same rows differ.

    `rejected` rows, which a schema does not accept, are left out of `rows`; `differing` rows have
    other labels asserted than before. `per_label` has a column for each of KINDS and a row for each
    label with any change, the most changed first; `examples` holds the largest moves of each kind.
    """

    rows: int
    rejected: int
    differing: int
    per_label: pa.Table
    examples: Mapping[str, Sequence[Example]]

    def total(self, kind: str) -> int:
        """How many pairs of an entity and a label are of this kind."""
        return int(self.per_label[kind].to_numpy().sum())


def model_changes(old: Bundle, new: Bundle) -> ModelChanges:
    """Compare label sets, schemas, thresholds and the metrics in the manifests."""
    before, after = old.manifest.details, new.manifest.details
    measured = (before.get("metrics") or {}, after.get("metrics") or {})
    names = dict.fromkeys([*measured[0], *measured[1]])
    test = before.get("test_data")
    return ModelChanges(
        labels=label_changes(old.labeler, new.labeler),
        schema=schema_changes(old.labeler.schema, new.labeler.schema),
        thresholds=_thresholds(old.labeler, new.labeler),
        metrics={name: (measured[0].get(name), measured[1].get(name)) for name in names},
        same_test=test is not None and test == after.get("test_data"),
    )


def label_changes(old: Labeler, new: Labeler) -> LabelChanges:
    """The labels that only one of two models knows."""
    before, after = set(old.labels.names), set(new.labels.names)
    return LabelChanges(len(before & after), sorted(before - after), sorted(after - before))


def schema_changes(old: EntitySchema, new: EntitySchema) -> list[str]:
    """One sentence for each difference that bears on how entities are read."""
    before = {column.name: column for column in old.columns}
    after = {column.name: column for column in new.columns}
    found = [f"only OLD reads column {name!r}" for name in before if name not in after]
    found += [f"only NEW reads column {name!r}" for name in after if name not in before]
    for name in before.keys() & after.keys():
        one, other = before[name], after[name]
        if (one.kind, one.grams, one.fields) != (other.kind, other.grams, other.fields):
            found.append(f"column {name!r} is read in another way")
    return sorted(found)


def prediction_changes(
    old: Labeler,
    new: Labeler,
    paths: Sequence[Where],
    examples: int,
    threads: int,
    advance: Callable[[int], object] = lambda rows: None,
    columns: ColumnNames = ALIKE,
) -> PredictionChanges:
    """Let both models label the same rows; each reads them by its own schema.

    Examples are the largest moves of each kind. A probability outside the most probable hundred
    counts as that of the last among them. Raises DataError, and RequestError for a stream that
    would have to be read twice.
    """
    names = sorted({*old.labels.names, *new.labels.names})
    tally = _ChangeCounter(names, examples)
    for path in paths:
        for before, after in _read_both(path, old.schema, new.schema, columns):
            tally.add(
                before,
                _Pairs.of(label_all(old, before, _QUERY, threads), names),
                _Pairs.of(label_all(new, after, _QUERY, threads), names),
                {*before.rejected, *after.rejected},
            )
            advance(len(before))
    return tally.result()


def _thresholds(old: Labeler, new: Labeler) -> dict[str, ThresholdChange]:
    shared = sorted(set(old.labels.names) & set(new.labels.names))
    found = {}
    for policy in old.decisions.policies:
        if policy in new.decisions.policies and shared:
            before = old.decisions.policies[policy][np.isin(old.labels.names, shared)]
            after = new.decisions.policies[policy][np.isin(new.labels.names, shared)]
            found[policy] = ThresholdChange(
                (float(before.min()), float(before.max())),
                (float(after.min()), float(after.max())),
                int((before != after).sum()),
            )
    return found


def _read_both(
    path: Where, old: EntitySchema, new: EntitySchema, columns: ColumnNames
) -> Iterator[tuple[Entities, Entities]]:
    """The same rows twice, read by each schema."""
    if not schema_changes(old, new):
        for batch in read_batches(path, old, labelled=False, columns=columns):
            yield batch.entities, dataclasses.replace(batch.entities, schema=new)
        return
    if locate(path).filesystem is None:
        raise RequestError("the schemas differ, so the data is read twice: it must be a file")
    for before, after in zip(
        read_batches(path, old, labelled=False, columns=columns),
        read_batches(path, new, labelled=False, columns=columns),
        strict=True,
    ):
        yield before.entities, after.entities


@dataclasses.dataclass(frozen=True)
class _Pairs:
    """Answers with labels numbered as in `labels`; `keys` (row * labels + label) ascend.

    `least` is the lowest probability listed for each row, `known` which labels the model has.
    """

    keys: Rows
    probabilities: npt.NDArray[np.float32]
    asserted: npt.NDArray[np.bool_]
    least: npt.NDArray[np.float32]
    known: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, predictions: Predictions, labels: Sequence[str]) -> "_Pairs":
        numbers = np.searchsorted(np.array(labels), np.array(predictions.labels.names))
        rows = np.repeat(np.arange(len(predictions.indptr) - 1), np.diff(predictions.indptr))
        keys = rows * len(labels) + numbers[predictions.ids]
        order = np.argsort(keys)
        known = np.zeros(len(labels), np.bool_)
        known[numbers] = True
        return cls(
            keys[order],
            predictions.probabilities[order],
            predictions.asserted[order],
            predictions.probabilities[predictions.indptr[1:] - 1],
            known,
        )

    @property
    def notable(self) -> Rows:
        """The keys of pairs that can differ notably from those of another model."""
        return self.keys[self.asserted | (self.probabilities > MIN_CHANGE)]

    def at(self, keys: Rows) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Probabilities (NaN for unknown labels) and assertions of any pairs."""
        rows, labels = np.divmod(keys, len(self.known))
        place = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        listed = self.keys[place] == keys
        found = np.where(listed, self.probabilities[place], self.least[rows])
        known = self.known[labels]
        return np.where(known, found, np.float32(np.nan)), listed & self.asserted[place]


class _ChangeCounter:
    """Counts and examples over all batches."""

    def __init__(self, labels: Sequence[str], examples: int) -> None:
        self._labels = labels
        self._most = examples
        self._rows = self._rejected = self._differing = 0
        self._counts = {kind: np.zeros(len(labels), np.int64) for kind in KINDS}
        self._examples: dict[str, list[tuple[float, Example]]] = {kind: [] for kind in KINDS}

    def add(self, entities: Entities, old: _Pairs, new: _Pairs, rejected: set[int]) -> None:
        self._rows += len(entities) - len(rejected)
        self._rejected += len(rejected)
        if not len(entities):
            return
        keys = np.union1d(old.notable, new.notable)
        keys = keys[~np.isin(keys // len(self._labels), list(rejected))]
        before, was = old.at(keys)
        after, is_ = new.at(keys)
        rows, labels = np.divmod(keys, len(self._labels))
        self._differing += len(np.unique(rows[was != is_]))
        move = np.abs(np.nan_to_num(after) - np.nan_to_num(before))
        changed = (was == is_) & (np.abs(after - before) > MIN_CHANGE)
        kinds = {ADDED: is_ & ~was, REMOVED: was & ~is_, CHANGED: changed}
        for kind, mask in kinds.items():
            self._counts[kind] += np.bincount(labels[mask], minlength=len(self._labels))
            places = np.flatnonzero(mask)
            for place in places[np.argsort(-move[places], kind="stable")][: self._most]:
                example = Example(
                    entities.ids[rows[place]].as_py(),
                    _name(entities, int(rows[place])),
                    self._labels[labels[place]],
                    _known(before[place]),
                    _known(after[place]),
                )
                self._examples[kind].append((float(move[place]), example))

    def result(self) -> PredictionChanges:
        flips = self._counts[ADDED] + self._counts[REMOVED]
        order = np.lexsort((-self._counts[CHANGED], -flips))
        order = order[(flips + self._counts[CHANGED])[order] > 0]
        columns = {"label": pa.array(self._labels, pa.string()).take(pa.array(order))}
        columns |= {kind: pa.array(counts[order]) for kind, counts in self._counts.items()}
        examples = {
            kind: [example for _, example in sorted(found, key=lambda e: -e[0])[: self._most]]
            for kind, found in self._examples.items()
        }
        return PredictionChanges(
            self._rows, self._rejected, self._differing, pa.table(columns), examples
        )


def _name(entities: Entities, row: int) -> str | None:
    identity = entities.schema.identity
    if identity is None or identity not in entities.table.column_names:
        return None
    name: str | None = entities.table[identity][row].as_py()
    return name


def _known(probability: np.float32) -> float | None:
    return None if np.isnan(probability) else round(float(probability), 4)
