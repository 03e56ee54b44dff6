"""The label set, and which labels entities have."""

import dataclasses
import fnmatch
import functools
import re
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from entities.errors import RequestError


@dataclasses.dataclass(frozen=True)
class LabelSet:
    """All labels of a model in a fixed (alphabetical) order; a label's position is its id."""

    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @functools.cached_property
    def array(self) -> pa.StringArray:
        """The names as an Arrow array, so that ids become names by one `take`."""
        return pa.array(self.names, pa.string())

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
    """The labels of n entities: row r has `ids[indptr[r]:indptr[r + 1]]`, ascending.

    `unknown` counts, for each row, labels that are not in the label set.
    """

    indptr: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]
    labels: int
    unknown: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def take(self, rows: npt.NDArray[np.int64]) -> "LabelMatrix":
        """The given rows, in the given order."""
        lengths = np.diff(self.indptr)[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], lengths)
        ids = self.ids[np.repeat(self.indptr[rows], lengths) + within]
        return LabelMatrix(indptr, ids, self.labels, self.unknown[rows])

    def counts(self) -> npt.NDArray[np.int64]:
        """How many entities have each label."""
        return np.bincount(self.ids, minlength=self.labels)

    def contains(self, candidates: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """For label ids by row (n x k): whether the row has them."""
        rows = np.repeat(np.arange(len(self)), np.diff(self.indptr))
        pairs = rows * self.labels + self.ids
        wanted = np.arange(len(self))[:, None] * self.labels + candidates
        return np.isin(wanted, pairs)


def label_set(lists: pa.ListArray, min_count: int = 1) -> LabelSet:
    """The labels that at least `min_count` entities have."""
    lists = _without_nulls(lists)
    rows = pc.list_parent_indices(lists)
    given = (
        pa.table({"row": rows, "label": lists.flatten()}).group_by(["row", "label"]).aggregate([])
    )
    counts = given.group_by("label").aggregate([("row", "count")])
    frequent = counts.filter(pc.greater_equal(counts["row_count"], min_count))["label"]
    return LabelSet(tuple(sorted(n for n in frequent.to_pylist() if n)))


def label_matrix(lists: pa.ListArray, labels: LabelSet) -> LabelMatrix:
    """Look up lists of label names in a label set; a null list counts as an empty one."""
    lists = _without_nulls(lists)
    names = lists.flatten()
    found = pc.index_in(names, labels.array)
    rows = pc.list_parent_indices(lists).to_numpy()
    known = pc.is_valid(found).to_numpy(zero_copy_only=False)
    ids = pc.fill_null(found, -1).to_numpy().astype(np.int64)
    pairs = np.sort(rows[known] * max(len(labels), 1) + ids[known])
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    owners, ids = np.divmod(pairs, max(len(labels), 1))
    indptr = np.zeros(len(lists) + 1, np.int64)
    np.cumsum(np.bincount(owners, minlength=len(lists)), out=indptr[1:])
    unknown = np.bincount(rows[~known], minlength=len(lists))
    return LabelMatrix(indptr, ids.astype(np.int32), len(labels), unknown)


def _without_nulls(lists: pa.ListArray) -> pa.ListArray:
    """Null lists as empty ones: Arrow may keep values beneath a null."""
    if not lists.null_count:
        return lists
    return pc.if_else(lists.is_valid(), lists, pa.scalar([], lists.type))


def concatenated(parts: Sequence[pa.ListArray]) -> pa.ListArray:
    """Arrays of label lists one after another."""
    return pa.concat_arrays(parts) if parts else pa.array([], pa.list_(pa.string()))
