"""Label sets, and matrices of the labels of entities."""

import collections
import dataclasses
import fnmatch
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.errors import RequestError
from labelwright.entities.label_book import group_of
from labelwright.models.kernels.csr import SparseRows

ROWS_AT_A_TIME = 1 << 20
"""The number of rows whose labels are looked up at a time. It limits the memory needed."""


@dataclasses.dataclass(frozen=True)
class LabelSet:
    """All labels of a model, sorted by code points. A label's id is its position in `names`."""

    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @functools.cached_property
    def ids(self) -> Mapping[str, int]:
        """The id of each label, by name."""
        return {name: i for i, name in enumerate(self.names)}

    @functools.cached_property
    def array(self) -> pa.StringArray:
        """The names as an Arrow array; its method `take` turns ids into names."""
        return pa.array(self.names, pa.string())

    @functools.cached_property
    def encoded(self) -> npt.NDArray[np.object_]:
        """The names as JSON strings (bytes)."""
        return np.array([orjson.dumps(name) for name in self.names], object)

    def matching(self, patterns: Iterable[str]) -> npt.NDArray[np.bool_]:
        """Whether each label (bool[labels]) matches at least one pattern.

        Patterns are case-sensitive; `*` and `?` are wildcards, as in file names.
        Raises RequestError for a pattern that matches no label.
        """
        mask = np.zeros(len(self), np.bool_)
        for pattern in patterns:
            matches = re.compile(fnmatch.translate(pattern.replace("[", "[[]"))).match
            found = [matches(name) is not None for name in self.names]
            if not any(found):
                raise RequestError(
                    "a pattern in 'only' matches no label of this model: names are case-sensitive, "
                    "* and ? are wildcards"
                )
            mask |= np.array(found)
        return mask


class LabelStates(NamedTuple):
    """The arrays of a `LabelMatrix` that kernels read; its docstring describes them."""

    present: SparseRows
    absent: SparseRows
    groups: npt.NDArray[np.int32]
    complete: npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class LabelMatrix:
    """The labels of n entities: each is present, absent or unknown.

    `present` and `absent` (n x labels) list labels by row. `groups` (int32[labels]) is the group
    number of each label. All labels of the closed world have group 0; each group of the open world
    has its own number. If `complete[r, g]` (bool[n, groups]) is true, every label of group g that
    is not in row r of `present` is absent. If it is false, the labels of group g that neither
    `present` nor `absent` lists are unknown. `foreign` (int64[n]) is the number of names of each
    row that are not in the label set, without null and empty names.
    """

    present: SparseRows
    absent: SparseRows
    groups: npt.NDArray[np.int32]
    complete: npt.NDArray[np.bool_]
    foreign: npt.NDArray[np.int64]

    @classmethod
    def closed(cls, present: SparseRows, labels: int, foreign: npt.NDArray[np.int64]) -> Self:
        """A matrix in which every label that is not present is absent."""
        rows = len(foreign)
        groups, complete = np.zeros(labels, np.int32), np.ones((rows, 1), np.bool_)
        return cls(present, SparseRows.empty(rows), groups, complete, foreign)

    @classmethod
    def joined(cls, parts: Sequence["LabelMatrix"]) -> Self:
        """Concatenate matrices with the same labels."""
        return cls(
            SparseRows.joined([part.present for part in parts]),
            SparseRows.joined([part.absent for part in parts]),
            parts[0].groups,
            np.concatenate([part.complete for part in parts]),
            np.concatenate([part.foreign for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.foreign)

    @property
    def labels(self) -> int:
        """The number of labels."""
        return len(self.groups)

    @property
    def open_labels(self) -> int:
        """The number of labels in groups of the open world."""
        return int(np.count_nonzero(self.groups))

    @property
    def partial(self) -> npt.NDArray[np.bool_]:
        """Whether only the listed labels of each row are known, bool[n]."""
        return ~self.complete[:, 0]

    @property
    def states(self) -> LabelStates:
        """The arrays that kernels read."""
        return LabelStates(self.present, self.absent, self.groups, self.complete)

    def take(self, rows: npt.NDArray[np.int64]) -> "LabelMatrix":
        """The given rows, in the given order."""
        return LabelMatrix(
            self.present.take(rows),
            self.absent.take(rows),
            self.groups,
            self.complete[rows],
            self.foreign[rows],
        )

    def counts(self) -> npt.NDArray[np.int64]:
        """The number of entities with each label, int64[labels]."""
        return np.bincount(self.present.ids, minlength=self.labels)

    def contains(self, candidates: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Whether each row has each of its candidates (label ids, n x k); returns bool[n, k]."""
        return np.isin(self._keys(np.arange(len(self))[:, None], candidates), self.keys())

    def has_any(self, labels: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Whether each row (bool[n]) has at least one of the labels (bool[labels])."""
        found = np.zeros(len(self), np.bool_)
        found[self.present.rows()[labels[self.present.ids]]] = True
        return found

    def keys(self) -> npt.NDArray[np.int64]:
        """For each present label, the key of its pair: row * number of labels + label id."""
        return self._keys(self.present.rows(), self.present.ids)

    def known(
        self, rows: npt.NDArray[np.int64], ids: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.bool_]:
        """For pairs of a row and a label id: whether the label is present or absent."""
        known = self.complete[rows, self.groups[ids]]
        if not self.complete.all():
            known |= np.isin(self._keys(rows, ids), self._keys(*self.listed_where_incomplete()))
        return known

    def all_known(self) -> npt.NDArray[np.bool_]:
        """For each row and label (n x labels): whether the label is present or absent."""
        known = self.complete[:, self.groups]
        known[self.listed_where_incomplete()] = True
        return known

    def listed_where_incomplete(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Rows and label ids of the listed labels whose group is not complete in the row."""
        rows = np.concatenate([self.present.rows(), self.absent.rows()])
        ids = np.concatenate([self.present.ids, self.absent.ids])
        incomplete = ~self.complete[rows, self.groups[ids]]
        return rows[incomplete], ids[incomplete]

    def _keys(
        self, rows: npt.NDArray[np.int64], ids: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.int64]:
        return rows * self.labels + ids


def label_set(lists: pa.ListArray, min_count: int = 1) -> LabelSet:
    """The set of the labels of at least `min_count` entities. A null list counts as empty."""
    counts: collections.Counter[str | None] = collections.Counter()
    for first in range(0, len(lists), ROWS_AT_A_TIME):
        some = _without_nulls(lists.slice(first, ROWS_AT_A_TIME))
        given = pa.table({"row": pc.list_parent_indices(some), "label": some.flatten()})
        once = given.group_by(["row", "label"]).aggregate([])["label"].combine_chunks()
        counts.update({one["values"]: one["counts"] for one in once.value_counts().to_pylist()})
    return LabelSet(tuple(sorted(name for name in counts if name and counts[name] >= min_count)))


def label_matrix(
    lists: pa.ListArray,
    labels: LabelSet,
    open_groups: Sequence[str] = (),
    absent: pa.ListArray | None = None,
    partial: npt.NDArray[np.bool_] | None = None,
) -> LabelMatrix:
    """Look up lists of label names in a label set. A null list counts as empty.

    `open_groups` are the names of the groups (see `group_of`) of the open world. Such a group is
    complete in a row if the row has a label of the group, or if `absent` lists the group's name for
    the row. `absent` may also list single labels. If `partial` (bool[n]) is true for a row, only
    its listed labels and the labels of its complete open groups are known.
    """
    if len(lists) > ROWS_AT_A_TIME:
        parts = (
            slice(first, first + ROWS_AT_A_TIME) for first in range(0, len(lists), ROWS_AT_A_TIME)
        )
        return LabelMatrix.joined(
            [
                label_matrix(
                    lists[part],
                    labels,
                    open_groups,
                    None if absent is None else absent[part],
                    None if partial is None else partial[part],
                )
                for part in parts
            ]
        )
    lists = _without_nulls(lists)
    absent = _without_nulls(pa.nulls(len(lists), lists.type) if absent is None else absent)
    shape = len(lists), len(labels)
    rows, ids = _look_up(lists, labels)
    native = ids >= 0
    present = SparseRows.from_pairs(rows[native], ids[native], shape)
    named = pc.fill_null(pc.greater(pc.binary_length(lists.flatten()), 0), False).to_numpy(False)
    foreign = np.bincount(rows[~native & named], minlength=len(lists))
    names, groups = _number_groups(labels, open_groups)
    complete = _complete_groups(lists, absent, names)
    rows, ids = _look_up(absent, labels)
    native = ids >= 0
    denied = SparseRows.from_pairs(rows[native], ids[native], shape)
    matrix = LabelMatrix(present, denied, groups, complete, foreign)
    return matrix if partial is None else _with_partial_rows(matrix, partial)


def _number_groups(
    labels: LabelSet, open_groups: Sequence[str]
) -> tuple[pa.StringArray, npt.NDArray[np.int32]]:
    """The names of the open groups with labels, and the group number of each label."""
    of_labels = pa.array([group_of(name) for name in labels.names], pa.string())
    is_open = pc.is_in(of_labels, pa.array(open_groups, pa.string()))
    names = pc.unique(of_labels.filter(is_open))
    numbers = pc.fill_null(pc.index_in(of_labels, names), -1).to_numpy()
    return names, (numbers + 1).astype(np.int32)


def _complete_groups(
    lists: pa.ListArray, absent: pa.ListArray, names: pa.StringArray
) -> npt.NDArray[np.bool_]:
    """Whether each group is complete in each row, n x (1 + open groups).

    Group 0, the closed world, is complete everywhere. A label that is not in the label set also
    makes its open group complete.
    """
    complete = np.zeros((len(lists), 1 + len(names)), np.bool_)
    complete[:, 0] = True
    if not len(names):
        return complete
    given = pc.list_element(pc.split_pattern(lists.flatten(), "=", max_splits=1), 0)
    for listed, groups in ((lists, given), (absent, absent.flatten())):
        numbers = pc.fill_null(pc.index_in(groups, names), -1).to_numpy()
        rows = pc.list_parent_indices(listed).to_numpy()
        complete[rows[numbers >= 0], numbers[numbers >= 0] + 1] = True
    return complete


def _with_partial_rows(matrix: LabelMatrix, partial: npt.NDArray[np.bool_]) -> LabelMatrix:
    """Make all groups of partial rows incomplete.

    The absent labels of open groups that were complete are listed in `absent` instead.
    """
    open_ids = np.flatnonzero(matrix.groups)
    excluded, columns = np.nonzero(matrix.complete[:, matrix.groups[open_ids]] & partial[:, None])
    rows = np.concatenate([matrix.absent.rows(), excluded])
    ids = np.concatenate([matrix.absent.ids, open_ids[columns]])
    lacking = ~np.isin(rows * matrix.labels + ids, matrix.keys())
    shape = len(matrix), matrix.labels
    return dataclasses.replace(
        matrix,
        absent=SparseRows.from_pairs(rows[lacking], ids[lacking], shape),
        complete=matrix.complete & ~partial[:, None],
    )


def _look_up(
    lists: pa.ListArray, labels: LabelSet
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The row and the label id of each listed name; the id of a foreign name is -1."""
    found = pc.fill_null(pc.index_in(lists.flatten(), labels.array), -1)
    return pc.list_parent_indices(lists).to_numpy(), found.to_numpy().astype(np.int64)


def _without_nulls(lists: pa.ListArray) -> pa.ListArray:
    """Replace null lists by empty lists. Arrow may store values even where a list is null."""
    if not lists.null_count:
        return lists
    return pc.if_else(lists.is_valid(), lists, pa.scalar([], lists.type))
