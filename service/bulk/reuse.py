"""Answers of an earlier run, for rows that have not changed since."""

import functools
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from labelwright.entities.errors import DataError, reason
from labelwright.entities.io.locations import Location
from labelwright.entities.io.writers import METADATA_KEY, PREDICTIONS
from labelwright.models.kernels.hashes import Hashes

READING = 1 / 16
"""What reading an answer takes of the time that labelling takes, at most."""
GROUPS_KEPT = 4
ROWS_LIMIT = 1 << 31
_UNREADABLE = (OSError, pa.ArrowException, ValueError)


class Previous:
    """The rows of a file of answers, found by the fingerprint of what was labelled.

    It takes 12 bytes of memory a row, and 20 while it is read; many threads may ask at once. Raises
    DataError for a file that is not Parquet with fingerprints.
    """

    def __init__(self, location: Location) -> None:
        try:
            self._stream = location.open()
            self._parquet = pq.ParquetFile(self._stream, pre_buffer=False)
            told = (self._parquet.metadata.metadata or {}).get(METADATA_KEY)
            self.provenance: Mapping[str, Any] = orjson.loads(told) if told else {}
            groups = range(self._parquet.num_row_groups)
            rows = [self._parquet.metadata.row_group(group).num_rows for group in groups]
            self._ends = np.cumsum(rows, dtype=np.int64)
            fingerprints = self._fingerprints(rows)
        except (*_UNREADABLE, KeyError, TypeError) as error:
            raise DataError(
                f"{location} cannot be gone on from: it must be Parquet as `label` writes it "
                f"({reason(error)})"
            ) from error
        self.location = location
        self._rows = np.argsort(fingerprints, kind="stable").astype(np.int32)
        self._sorted = fingerprints[self._rows]
        self._lock = threading.Lock()
        self._group = functools.lru_cache(GROUPS_KEPT)(self._read_group)

    def find(self, wanted: Hashes) -> tuple[npt.NDArray[np.bool_], pa.ListArray]:
        """Which fingerprints are known, where that saves time, and their labels in order."""
        if not len(self._sorted):
            return np.zeros(len(wanted), np.bool_), pa.array([], PREDICTIONS.field("labels").type)
        at = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        known = (self._sorted[at] == wanted) & (wanted != 0)
        rows = self._rows[at]
        groups = np.searchsorted(self._ends, rows, side="right")
        sizes = np.diff(self._ends, prepend=0)
        hits = np.bincount(groups[known], minlength=len(sizes))
        known &= (hits >= READING * sizes)[groups]
        return known, self._labels(rows[known], groups[known])

    def close(self) -> None:
        """Read no more."""
        self._stream.close()

    def _labels(self, rows: npt.NDArray[np.int32], groups: npt.NDArray[np.int64]) -> pa.ListArray:
        """The labels of rows, each in its group of rows."""
        starts = np.concatenate([[0], self._ends])
        order = np.argsort(groups, kind="stable")
        parts = [pa.array([], PREDICTIONS.field("labels").type)]
        for group in np.unique(groups):
            inside = rows[order][groups[order] == group] - starts[group]
            with self._lock:
                parts.append(self._group(int(group)).take(pa.array(inside)))
        return pa.concat_arrays(parts).take(pa.array(np.argsort(order)))

    def _read_group(self, group: int) -> pa.ListArray:
        try:
            column = self._parquet.read_row_group(group, columns=["labels"])["labels"]
            return column.cast(PREDICTIONS.field("labels").type).combine_chunks()
        except _UNREADABLE as error:
            raise DataError(f"{self.location} cannot be read: {reason(error)}") from error

    def _fingerprints(self, rows: list[int]) -> Hashes:
        """What was kept beside each group of rows."""
        size, found = self._stream.size(), [np.zeros(0, np.uint64)]
        if min(rows, default=0) < 0 or 8 * sum(rows) > size or sum(rows) >= ROWS_LIMIT:
            raise ValueError("it cannot have so many rows")
        for offset, count in zip(self.provenance["fingerprints"], rows, strict=True):
            if not 0 <= offset <= size - 8 * count:
                raise ValueError("its fingerprints are not where they should be")
            self._stream.seek(offset)
            found.append(np.frombuffer(self._stream.read(8 * count), np.uint64))
        return np.concatenate(found)
