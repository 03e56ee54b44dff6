"""A base: another model whose knowledge is the start of a fit.

The knowledge of the base becomes a part of the new model: its features, its labels, the start of
the linear stage, its trees and namesakes. Labelling needs the new model only.
"""

import dataclasses
import functools
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt

from labelwright.entities.errors import DataError
from labelwright.entities.schema import EntitySchema, Kind
from labelwright.models.features.space import FeatureSpace
from labelwright.models.kernels.csr import SparseRows, find_keys, row_numbers
from labelwright.models.labeler import Labeler
from labelwright.models.labels import LabelSet
from labelwright.models.stages.linear import unpack_weights
from labelwright.models.stages.namesakes import Namesakes
from labelwright.models.stages.reranker import Knots
from labelwright.training.fitting.base_trees import renumbered
from labelwright.training.fitting.linear import CONSTANT, START, Fitted, Halves

TRUST = np.float32(0.5)
"""The factor of the weights of the base at the start of the linear stage."""
PRIOR_ROWS = 100
"""The number of rows that the base is worth in shares of labels."""
_ROWS_AT_A_TIME = 1 << 14
"""The number of dense rows of weights that are copied at a time."""

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Base:
    """The model `labeler` as the start of a fit with other labels.

    `labels` are the labels of the new model. `ids` (int64[labels]) has the id of each of them in
    the base, or -1 for a label that the base does not have. `numbers` (int64[labels of the base])
    has the id of each label of the base in the new model, or -1 for a retired label.
    """

    labeler: Labeler
    labels: LabelSet
    ids: Places
    numbers: Places

    @classmethod
    def of(cls, labeler: Labeler, own: LabelSet, schema: EntitySchema) -> "Base":
        """Join the labels `own` of the new rows and the labels of the base.

        The redirects of `schema` replace labels of the base that were renamed. Raises DataError if
        the base reads other columns.
        """
        check_columns(labeler.schema, schema)
        current = [schema.redirects.current(name) for name in labeler.labels.names]
        labels = LabelSet(tuple(sorted({*own.names, *(name for name in current if name)})))
        numbers = np.array([labels.ids[name] if name else -1 for name in current], np.int64)
        ids = np.full(len(labels), -1, np.int64)
        by_rate = np.argsort(labeler.reranker.rate, kind="stable")  # the most frequent label wins
        kept = by_rate[numbers[by_rate] >= 0]
        ids[numbers[kept]] = kept
        return cls(labeler, labels, ids, numbers)

    def start(self, features: FeatureSpace) -> Fitted:
        """The start of the linear stage: writes the weights of a block of labels."""
        places = find_keys(features.keys, self.labeler.features.keys)
        return functools.partial(self._write_weights, places)

    def _write_weights(self, places: Places, first: int, weights: Halves, constant: Floats) -> None:
        """Write TRUST times the weights of the base, for the labels from `first` on.

        `places` (int64[features of the base]) has the position of each feature of the base in the
        new model, or -1.
        """
        stage = self.labeler.linear
        ids = self.ids[first : first + len(constant)]
        known = np.flatnonzero(ids >= 0)
        constant[known] = TRUST * (stage.bias[ids[known]] - START) / CONSTANT
        halves, dense = weights.view(np.float16), len(stage.dense)
        for begin in range(0, dense, _ROWS_AT_A_TIME):
            rows = begin + np.flatnonzero(places[begin : min(begin + _ROWS_AT_A_TIME, dense)] >= 0)
            scales = TRUST * stage.scales[rows, None]
            halves[places[rows][:, None], known] = scales * stage.dense[rows[:, None], ids[known]]
        columns = np.full(len(stage.bias), -1)
        columns[ids[known]] = known
        rows = dense + row_numbers(stage.sparse_indptr)
        labels, values = unpack_weights(stage.sparse)
        kept = (columns[labels] >= 0) & (places[rows] >= 0)
        rows, values = rows[kept], values[kept]
        halves[places[rows], columns[labels[kept]]] = TRUST * stage.scales[rows] * values

    def blended_rates(self, own: Floats, rows: npt.NDArray[np.int64]) -> Floats:
        """Shares of the rows with each label, of the own rows and of PRIOR_ROWS rows of the base.

        `own` are the shares in the own rows, of which `rows` (int64[labels]) are known.
        """
        return _blended(own, rows, self.labeler.reranker.rate[self.ids], self.ids >= 0)

    def blended_co_occurrence(self, own: Floats, rows: Floats) -> Floats:
        """Co-occurrence of labels, of the own rows and of PRIOR_ROWS rows of the base.

        `own[a, b]` is the share of label b in the own rows with label a, of which `rows[a, b]` are
        known.
        """
        co_occurrence = self.labeler.reranker.co_occurrence[np.ix_(self.ids, self.ids)]
        base: Floats = co_occurrence.astype(np.float32) / np.float32(255)
        known = self.ids >= 0
        return _blended(own, rows, base, known[:, None] & known)

    @functools.cached_property
    def implications(self) -> list[tuple[int, int]]:
        """The implications of the base: pairs of a label and a label that it implies."""
        implications = self.labeler.implications
        labels = self.numbers[row_numbers(implications.indptr)]
        ancestors = self.numbers[implications.ancestors]
        kept = (labels >= 0) & (ancestors >= 0) & (labels != ancestors)
        return list(zip(labels[kept].tolist(), ancestors[kept].tolist(), strict=True))

    def with_namesakes(self, own: Namesakes) -> Namesakes:
        """The namesakes of the own rows, and those of the base that have other names."""
        base = self.labeler.namesakes
        rows = np.flatnonzero(find_keys(own.keys, base.keys) < 0)
        taken = SparseRows(base.indptr, np.arange(len(base.ids), dtype=np.int32)).take(rows)
        ids = self.numbers[base.ids[taken.ids]]
        owners = taken.rows()[ids >= 0]
        lengths = np.concatenate([np.diff(own.indptr), np.bincount(owners, minlength=len(rows))])
        return Namesakes(
            np.concatenate([own.keys, base.keys[rows]]),
            np.concatenate([own.counts, base.counts[rows]]),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([own.ids, ids[ids >= 0].astype(own.ids.dtype)]),
            np.concatenate([own.shares, base.shares[taken.ids[ids >= 0]]]),
        )

    @functools.cached_property
    def trees(self) -> lightgbm.Booster:
        """The trees of the base, with the ids of the new labels."""
        return lightgbm.Booster(model_str=renumbered(self.labeler.reranker.trees, self.numbers))

    @property
    def knots(self) -> Knots:
        """The calibration of the base."""
        return self.labeler.reranker.knots


def check_columns(base: EntitySchema, schema: EntitySchema) -> None:
    """Raise DataError if the base reads other columns, or reads a column in another way."""

    def read(given: EntitySchema) -> dict[str, tuple[Kind, bool]]:
        return {column.name: (column.kind, column.grams) for column in given.columns}

    if differing := sorted({name for name, _ in read(base).items() ^ read(schema).items()}):
        names = ", ".join(map(repr, differing))
        raise DataError(
            f"--base reads other columns than schema {schema.name!r}; they differ in {names}: name "
            "a model that was trained with this schema, or name the base's schema with --schema"
        )


def _blended(
    own: Floats, rows: npt.NDArray[Any], base: Floats, known: npt.NDArray[np.bool_]
) -> Floats:
    """The shares `own` of `rows` rows, and where they are known, the shares of PRIOR_ROWS rows."""
    shares = (own * rows + PRIOR_ROWS * base) / (rows + PRIOR_ROWS)
    blended: Floats = np.where(known, shares, own).astype(np.float32)
    return blended
