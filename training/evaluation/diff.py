"""Differences between two models: labels, schemas, thresholds, metrics and predictions."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from labelwright.entities.errors import RequestError
from labelwright.entities.io.column_map import ColumnMap
from labelwright.entities.io.locations import LocationLike, locate
from labelwright.entities.io.readers import SAME_NAMES, read_batches
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities
from labelwright.models.bundle.format import Bundle
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.kernels.csr import find_keys
from labelwright.models.labeler import Labeler
from labelwright.training.evaluation.evaluate import label_all

MIN_CHANGE = 0.1
"""Only differences between two probabilities that are larger than this are reported."""
ADDED, REMOVED, CHANGED = KINDS = ("added", "removed", "changed")
"""Kinds of change: only the new model asserts the label (ADDED); only the old model asserts it
(REMOVED); the assertion does not differ, but the probability differs by more than MIN_CHANGE
(CHANGED)."""
LISTED = 100
"""Maximum number of labels that each model lists for an entity."""

Rows = npt.NDArray[np.int64]
Figures = Mapping[str, tuple[float | None, float | None]]


@dataclasses.dataclass(frozen=True)
class LabelChanges:
    """The number of labels that both models know, and the labels that only one model knows.

    `only_old` and `only_new` are the sorted names of the labels that only this model knows.
    """

    shared: int
    only_old: Sequence[str]
    only_new: Sequence[str]


@dataclasses.dataclass(frozen=True)
class ThresholdChange:
    """The thresholds of a policy in two models, over the labels that both models know.

    `old` and `new` are the lowest and the highest threshold of the model. `labels` is the number of
    labels whose thresholds differ.
    """

    old: tuple[float, float]
    new: tuple[float, float]
    labels: int


@dataclasses.dataclass(frozen=True)
class ModelChanges:
    """Differences between two bundles that can be found without labelling data.

    `schema` has one sentence for each difference between the schemas. `thresholds` has one entry
    for each policy. `metrics` has the old and the new value of each metric; a value is None if the
    manifest does not have it.
    `same_test` is True if both models were measured on the same test rows.
    """

    labels: LabelChanges
    schema: Sequence[str]
    thresholds: Mapping[str, ThresholdChange]
    metrics: Figures
    same_test: bool


@dataclasses.dataclass(frozen=True)
class Example:
    """A pair of an entity and a label for which the predictions differ.

    A probability is None if the model does not know the label. `name` is the value of the entity's
    identifying column, or None if the entity has no such value.
    """

    id: str
    name: str | None
    label: str
    old: float | None
    new: float | None


@dataclasses.dataclass(frozen=True)
class PredictionChanges:
    """Differences between the predictions of two models for the same rows.

    `rejected` is the number of rows that at least one of the two schemas rejects; `rows` does not
    include them.
    `differing` is the number of rows whose asserted labels differ. `per_label` has a column for
    each of KINDS and a row for each label with a change, most changes first. `examples` holds the
    pairs of each kind whose probabilities differ most.
    """

    rows: int
    rejected: int
    differing: int
    per_label: pa.Table
    examples: Mapping[str, Sequence[Example]]

    def total(self, kind: str) -> int:
        """Number of pairs of an entity and a label with this kind of change."""
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
    """Compare the label sets of two models."""
    before, after = set(old.labels.names), set(new.labels.names)
    return LabelChanges(len(before & after), sorted(before - after), sorted(after - before))


def schema_changes(old: EntitySchema, new: EntitySchema) -> list[str]:
    """One sentence for each difference between the columns of two schemas."""
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
    paths: Sequence[LocationLike],
    examples: int,
    threads: int,
    advance: Callable[[int], object] = lambda rows: None,
    columns: ColumnMap = SAME_NAMES,
) -> PredictionChanges:
    """Label the same rows with both models and compare the predictions.

    Each model reads the rows by its own schema. `examples` is the maximum number of examples of
    each kind. `advance` is called with the number of rows of each batch. Each model lists the
    LISTED most probable labels of an entity. The comparison gives each other label the lowest
    listed probability. Raises DataError; raises RequestError if the schemas differ and the input is
    a stream, which cannot be read twice.
    """
    names = sorted({*old.labels.names, *new.labels.names})
    query = LabelQuery(top_k=LISTED)
    counter = _ChangeCounter(names, examples)
    for path in paths:
        for before, after in _read_both(path, old.schema, new.schema, columns):
            counter.add(
                before,
                _NumberedPairs.of(label_all(old, before, query, threads), names),
                _NumberedPairs.of(label_all(new, after, query, threads), names),
                {*before.rejected, *after.rejected},
            )
            advance(len(before))
    return counter.result()


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
    path: LocationLike, old: EntitySchema, new: EntitySchema, columns: ColumnMap
) -> Iterator[tuple[Entities, Entities]]:
    """The same rows, read by each schema."""
    if not schema_changes(old, new):
        for batch in read_batches(path, old, labelled=False, columns=columns):
            yield batch.entities, dataclasses.replace(batch.entities, schema=new)
        return
    if locate(path).filesystem is None:
        raise RequestError(
            "the models have different schemas, so the data must be read twice, which a stream "
            "does not allow: give the path of a file"
        )
    for before, after in zip(
        read_batches(path, old, labelled=False, columns=columns),
        read_batches(path, new, labelled=False, columns=columns),
        strict=True,
    ):
        yield before.entities, after.entities


@dataclasses.dataclass(frozen=True)
class _NumberedPairs:
    """Predictions of one model, with label numbers that are common to both models.

    The number of a label is its position in the sorted names of the labels of both models. `keys`
    are row * labels + label. `least` (float32[rows]) is the lowest listed probability of each row.
    `known` (bool[labels]) marks the labels of the model.
    """

    keys: Rows
    probabilities: npt.NDArray[np.float32]
    asserted: npt.NDArray[np.bool_]
    least: npt.NDArray[np.float32]
    known: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, predictions: Predictions, labels: Sequence[str]) -> "_NumberedPairs":
        numbers = np.searchsorted(np.array(labels), np.array(predictions.labels.names))
        keys = predictions.rows() * len(labels) + numbers[predictions.ids]
        known = np.zeros(len(labels), np.bool_)
        known[numbers] = True
        return cls(
            keys,
            predictions.probabilities,
            predictions.asserted,
            predictions.probabilities[predictions.indptr[1:] - 1],
            known,
        )

    @property
    def relevant_keys(self) -> Rows:
        """The keys of the pairs that can differ between two models by a kind of change."""
        return self.keys[self.asserted | (self.probabilities > MIN_CHANGE)]

    def at(self, keys: Rows) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Probabilities and assertions of some pairs; NaN if the model does not know the label."""
        rows, labels = np.divmod(keys, len(self.known))
        place = find_keys(self.keys, keys)
        listed = place >= 0
        found = np.where(listed, self.probabilities[place], self.least[rows])
        known = self.known[labels]
        return np.where(known, found, np.float32(np.nan)), listed & self.asserted[place]


class _ChangeCounter:
    """Counts the changes in all batches, and collects the largest changes as examples."""

    def __init__(self, labels: Sequence[str], examples: int) -> None:
        self._labels = labels
        self._max_examples = examples
        self._rows = self._rejected = self._differing = 0
        self._counts = {kind: np.zeros(len(labels), np.int64) for kind in KINDS}
        self._examples: dict[str, list[tuple[float, Example]]] = {kind: [] for kind in KINDS}

    def add(
        self, entities: Entities, old: _NumberedPairs, new: _NumberedPairs, rejected: set[int]
    ) -> None:
        self._rows += len(entities) - len(rejected)
        self._rejected += len(rejected)
        if not len(entities):
            return
        keys = np.union1d(old.relevant_keys, new.relevant_keys)
        keys = keys[~np.isin(keys // len(self._labels), list(rejected))]
        before, was_asserted = old.at(keys)
        after, asserted = new.at(keys)
        rows, labels = np.divmod(keys, len(self._labels))
        self._differing += len(np.unique(rows[was_asserted != asserted]))
        difference = np.abs(np.nan_to_num(after) - np.nan_to_num(before))
        changed = (was_asserted == asserted) & (np.abs(after - before) > MIN_CHANGE)
        kinds = {
            ADDED: asserted & ~was_asserted,
            REMOVED: was_asserted & ~asserted,
            CHANGED: changed,
        }
        for kind, mask in kinds.items():
            self._counts[kind] += np.bincount(labels[mask], minlength=len(self._labels))
            places = np.flatnonzero(mask)
            largest_first = places[np.argsort(-difference[places], kind="stable")]
            for place in largest_first[: self._max_examples]:
                example = Example(
                    entities.ids[rows[place]].as_py(),
                    _name(entities, int(rows[place])),
                    self._labels[labels[place]],
                    _rounded(before[place]),
                    _rounded(after[place]),
                )
                self._examples[kind].append((float(difference[place]), example))

    def result(self) -> PredictionChanges:
        flips = self._counts[ADDED] + self._counts[REMOVED]
        order = np.lexsort((-self._counts[CHANGED], -flips))
        order = order[(flips + self._counts[CHANGED])[order] > 0]
        columns = {"label": pa.array(self._labels, pa.string()).take(pa.array(order))}
        columns |= {kind: pa.array(counts[order]) for kind, counts in self._counts.items()}
        examples = {
            kind: [example for _, example in sorted(found, key=lambda pair: -pair[0])]
            for kind, found in self._examples.items()
        }
        examples = {kind: found[: self._max_examples] for kind, found in examples.items()}
        return PredictionChanges(
            self._rows, self._rejected, self._differing, pa.table(columns), examples
        )


def _name(entities: Entities, row: int) -> str | None:
    identity = entities.schema.identity
    if identity is None or identity not in entities.table.column_names:
        return None
    name: str | None = entities.table[identity][row].as_py()
    return name


def _rounded(probability: np.float32) -> float | None:
    return None if np.isnan(probability) else round(float(probability), 4)
