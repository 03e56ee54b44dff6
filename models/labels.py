"""The label set, and which labels entities have."""

import collections
import dataclasses
import fnmatch
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.errors import RequestError

TOGETHER = 1 << 20
"""Rows whose labels are looked up at a time."""


@dataclasses.dataclass(frozen=True)
class LabelSet:
    """All labels of a model in a fixed (alphabetical) order; a label's position is its id."""

    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @functools.cached_property
    def ids(self) -> Mapping[str, int]:
        """The id of each name."""
        return {name: i for i, name in enumerate(self.names)}

    @functools.cached_property
    def array(self) -> pa.StringArray:
        """The names as an Arrow array, so that ids become names by one `take`."""
        return pa.array(self.names, pa.string())

    @functools.cached_property
    def encoded(self) -> npt.NDArray[np.object_]:
        """The names as JSON strings, in bytes."""
        return np.array([orjson.dumps(name) for name in self.names], object)

    def matching(self, patterns: Iterable[str]) -> npt.NDArray[np.bool_]:
        """Which labels any of the patterns names (`*` and `?` as in file names, case counts).

        Raises RequestError for a pattern that names none.
        """
        mask = np.zeros(len(self), np.bool_)
        for pattern in patterns:
            matches = re.compile(fnmatch.translate(pattern.replace("[", "[[]"))).match
            found = [matches(name) is not None for name in self.names]
            if not any(found):
                raise RequestError("a pattern in 'only' matches no label of this model")
            mask |= np.array(found)
        return mask


@dataclasses.dataclass(frozen=True)
class LabelMatrix:
    """Which labels n entities have: present, absent or unknown.

    Row r has `ids[indptr[r]:indptr[r + 1]]`, ascending. Of a label of an open world,
    `open_ids[j]`, nothing is known in row r where `unknown[r, j]`. All other labels are absent,
    unless the row is `partial`: then `denied_ids[denied_indptr[r]:denied_indptr[r + 1]]`, which are
    empty in other rows, are absent, and nothing is known of the rest. `foreign` counts, for each
    row, labels that are not in the label set; nulls and empty text are no labels.
    """

    indptr: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]
    labels: int
    foreign: npt.NDArray[np.int64]
    open_ids: npt.NDArray[np.int32]
    unknown: npt.NDArray[np.bool_]
    partial: npt.NDArray[np.bool_]
    denied_indptr: npt.NDArray[np.int64]
    denied_ids: npt.NDArray[np.int32]

    @classmethod
    def closed(
        cls,
        indptr: npt.NDArray[np.int64],
        ids: npt.NDArray[np.int32],
        labels: int,
        foreign: npt.NDArray[np.int64],
    ) -> Self:
        """Rows of which everything is known."""
        rows, nothing = len(indptr) - 1, np.zeros(0, np.int32)
        unknown, partial = np.zeros((rows, 0), np.bool_), np.zeros(rows, np.bool_)
        denied = np.zeros(rows + 1, np.int64), nothing
        return cls(indptr, ids, labels, foreign, nothing, unknown, partial, *denied)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def take(self, rows: npt.NDArray[np.int64]) -> "LabelMatrix":
        """The given rows, in the given order."""
        return LabelMatrix(
            *_taken(self.indptr, self.ids, rows),
            self.labels,
            self.foreign[rows],
            self.open_ids,
            self.unknown[rows],
            self.partial[rows],
            *_taken(self.denied_indptr, self.denied_ids, rows),
        )

    def counts(self) -> npt.NDArray[np.int64]:
        """How many entities have each label."""
        return np.bincount(self.ids, minlength=self.labels)

    def contains(self, candidates: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """For label ids by row (n x k): whether the row has them."""
        pairs = self.owners() * self.labels + self.ids
        wanted = np.arange(len(self))[:, None] * self.labels + candidates
        return np.isin(wanted, pairs)

    def owners(self) -> npt.NDArray[np.int64]:
        """The row of each element of `ids`."""
        return np.repeat(np.arange(len(self)), np.diff(self.indptr))

    def known(
        self, rows: npt.NDArray[np.int64], ids: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.bool_]:
        """For pairs of a row and a label: whether it is known if the row has the label."""
        known = np.ones(np.broadcast_shapes(rows.shape, ids.shape), np.bool_)
        if len(self.open_ids):
            column = np.full(self.labels, -1)
            column[self.open_ids] = np.arange(len(self.open_ids))
            known &= (column[ids] < 0) | ~self.unknown[rows, column[ids]]
        if self.partial.any():
            owners, told = self.told()
            known &= ~self.partial[rows]
            known |= np.isin(rows * self.labels + ids, owners * self.labels + told)
        return known

    def told(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Rows and labels of all that is known of partial rows: what they have and do not have."""
        owners = self.owners()
        mine = self.partial[owners]
        denying = np.repeat(np.arange(len(self)), np.diff(self.denied_indptr))
        return (
            np.concatenate([owners[mine], denying]),
            np.concatenate([self.ids[mine], self.denied_ids]),
        )


def label_set(lists: pa.ListArray, min_count: int = 1) -> LabelSet:
    """The labels that at least `min_count` entities have."""
    counts: collections.Counter[str | None] = collections.Counter()
    for first in range(0, len(lists), TOGETHER):
        some = _without_nulls(lists.slice(first, TOGETHER))
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
    """Look up lists of label names in a label set; a null list counts as an empty one.

    `open_groups` names the groups (`group_of`) of an open world: a row knows such a group if it has
    a label of it, which makes the group's others absent; else only what `absent` lists is absent:
    labels, or a group for all labels of it. In a row that is `partial` (bool[n]) the same holds of
    every label.
    """
    if len(lists) > TOGETHER:
        return _stacked(
            [
                label_matrix(
                    lists.slice(first, TOGETHER),
                    labels,
                    open_groups,
                    None if absent is None else absent.slice(first, TOGETHER),
                    None if partial is None else partial[first : first + TOGETHER],
                )
                for first in range(0, len(lists), TOGETHER)
            ]
        )
    lists = _without_nulls(lists)
    rows, ids = _looked_up(lists, labels)
    native = ids >= 0
    indptr, present = _by_row(rows[native], ids[native], len(lists), len(labels))
    said = pc.fill_null(pc.greater(pc.binary_length(lists.flatten()), 0), False).to_numpy(False)
    foreign = np.bincount(rows[~native & said], minlength=len(lists))
    open_ids = np.flatnonzero([group_of(name) in open_groups for name in labels.names])
    unknown = np.zeros((len(lists), len(open_ids)), np.bool_)
    if len(open_ids):
        _mark_unknown(unknown, open_ids, lists, labels)
    nothing = np.zeros(0, np.int64)
    absent = None if absent is None else _without_nulls(absent)
    rows, ids = (nothing, nothing) if absent is None else _looked_up(absent, labels)
    if len(open_ids) and absent is not None:
        told = np.isin(ids, open_ids)
        unknown[rows[told], np.searchsorted(open_ids, ids[told])] = False
        _mark_absent(unknown, open_ids, absent, labels)
    matrix = dataclasses.replace(
        LabelMatrix.closed(indptr, present, len(labels), foreign),
        open_ids=open_ids.astype(np.int32),
        unknown=unknown,
    )
    return matrix if partial is None else _partly_known(matrix, partial, rows, ids)


def _partly_known(
    matrix: LabelMatrix,
    partial: npt.NDArray[np.bool_],
    rows: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
) -> LabelMatrix:
    """The same with partial rows, of which these pairs are absent and what open groups exclude."""
    mine = partial[rows] & (ids >= 0)
    excluded, columns = np.nonzero(~matrix.unknown & partial[:, None])
    rows = np.concatenate([rows[mine], excluded])
    ids = np.concatenate([ids[mine], matrix.open_ids[columns]])
    pairs = rows * matrix.labels + ids
    absent = ~np.isin(pairs, matrix.owners() * matrix.labels + matrix.ids)
    indptr, denied = _by_row(rows[absent], ids[absent], len(matrix), matrix.labels)
    return dataclasses.replace(
        matrix,
        unknown=matrix.unknown | partial[:, None],
        partial=partial,
        denied_indptr=indptr,
        denied_ids=denied,
    )


def _stacked(parts: Sequence[LabelMatrix]) -> LabelMatrix:
    """The rows of one part after another."""
    return LabelMatrix(
        _chained([part.indptr for part in parts]),
        np.concatenate([part.ids for part in parts]),
        parts[0].labels,
        np.concatenate([part.foreign for part in parts]),
        parts[0].open_ids,
        np.concatenate([part.unknown for part in parts]),
        np.concatenate([part.partial for part in parts]),
        _chained([part.denied_indptr for part in parts]),
        np.concatenate([part.denied_ids for part in parts]),
    )


def _chained(offsets: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """The offsets of one group of rows after another."""
    lengths = np.concatenate([np.diff(each) for each in offsets])
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def group_of(label: str) -> str:
    """The group of a label: what stands before the equals sign, or all of it."""
    return label.partition("=")[0]


def _mark_unknown(
    unknown: npt.NDArray[np.bool_],
    open_ids: npt.NDArray[np.int64],
    lists: pa.ListArray,
    labels: LabelSet,
) -> None:
    """Mark the labels of each open group in all rows that have no label of it, foreign or not."""
    rows = pc.list_parent_indices(lists).to_numpy()
    given = pc.list_element(pc.split_pattern(lists.flatten(), "=", max_splits=1), 0)
    groups = np.array([group_of(labels.names[i]) for i in open_ids])
    for group in np.unique(groups):
        mentioned = np.zeros(len(unknown), np.bool_)
        mentioned[rows[pc.fill_null(pc.equal(given, group), False).to_numpy(False)]] = True
        unknown[np.ix_(~mentioned, groups == group)] = True


def _mark_absent(
    unknown: npt.NDArray[np.bool_],
    open_ids: npt.NDArray[np.int64],
    lists: pa.ListArray,
    labels: LabelSet,
) -> None:
    """Mark the labels of each open group as known in all rows that list the group by its name."""
    groups = pa.array([group_of(labels.names[i]) for i in open_ids], pa.string())
    names = pc.unique(groups)
    found = pc.fill_null(pc.index_in(lists.flatten(), names), -1).to_numpy()
    rows = pc.list_parent_indices(lists).to_numpy()
    columns = pc.index_in(groups, names).to_numpy()
    for number in range(len(names)):
        unknown[np.ix_(np.unique(rows[found == number]), columns == number)] = False


def _by_row(
    rows: npt.NDArray[np.int64], ids: npt.NDArray[np.int64], count: int, labels: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Pairs of a row and a label as offsets and ascending ids of `count` rows, each pair once."""
    pairs = np.sort(rows * max(labels, 1) + ids)
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    owners, found = np.divmod(pairs, max(labels, 1))
    indptr = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(owners, minlength=count), out=indptr[1:])
    return indptr, found.astype(np.int32)


def _taken(
    indptr: npt.NDArray[np.int64], ids: npt.NDArray[np.int32], rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Offsets and ids of the given rows."""
    lengths = np.diff(indptr)[rows]
    taken = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    within = np.arange(taken[-1]) - np.repeat(taken[:-1], lengths)
    return taken, ids[np.repeat(indptr[rows], lengths) + within]


def _looked_up(
    lists: pa.ListArray, labels: LabelSet
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The row of each listed name and its id, -1 for a name that is not in the label set."""
    found = pc.fill_null(pc.index_in(lists.flatten(), labels.array), -1)
    return pc.list_parent_indices(lists).to_numpy(), found.to_numpy().astype(np.int64)


def _without_nulls(lists: pa.ListArray) -> pa.ListArray:
    """Null lists as empty ones: Arrow may keep values beneath a null."""
    if not lists.null_count:
        return lists
    return pc.if_else(lists.is_valid(), lists, pa.scalar([], lists.type))


def concatenated(parts: Sequence[pa.ListArray]) -> pa.ListArray:
    """Arrays of label lists one after another."""
    return pa.concat_arrays(parts) if parts else pa.array([], pa.list_(pa.string()))
