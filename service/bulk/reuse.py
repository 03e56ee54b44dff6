"""Reuse of the predictions of an earlier run for rows that have not changed."""

import contextlib
import functools
import threading
import zlib
from collections.abc import Iterator, Mapping
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

READ_COST = 1 / 16
"""Upper bound of the time to read a row's predictions, as a share of the time to label the row."""
CACHED_GROUPS = 4
"""Number of row groups that stay in memory after they were read."""
ROWS_LIMIT = 1 << 31
"""An earlier output must have fewer rows than this, because row numbers are stored as int32."""
Columns = Mapping[str, pa.Array]
"""The columns of predictions without the ids, by name."""
_EMPTY = PREDICTIONS.empty_table().select(PREDICTIONS.names[1:])
_UNREADABLE = (OSError, pa.ArrowException, ValueError)


def provenance_of(location: Location) -> Mapping[str, Any]:
    """The provenance of the predictions in an output; raises DataError if it has none."""
    with _reusable(location), location.open() as stream:
        return _provenance(pq.read_metadata(stream))


class PreviousOutput:
    """The predictions of an earlier run, found by the fingerprints of the entities.

    It needs 12 bytes of memory for each row, and 20 bytes while it is opened. Several threads can
    use it at the same time. Raises DataError for a file that is damaged, or is not Parquet with
    fingerprints.
    """

    def __init__(self, location: Location) -> None:
        with _reusable(location):
            self._stream = location.open()
            self._parquet = pq.ParquetFile(
                self._stream, pre_buffer=False, page_checksum_verification=True
            )
            if self._parquet.schema_arrow != PREDICTIONS:
                raise ValueError(f"its columns are not {', '.join(PREDICTIONS.names)}")
            groups = range(self._parquet.num_row_groups)
            rows = [self._parquet.metadata.row_group(group).num_rows for group in groups]
            self._ends = np.cumsum(rows, dtype=np.int64)
            fingerprints = self._fingerprints(rows)
        self.location = location
        self._rows = np.argsort(fingerprints, kind="stable").astype(np.int32)
        self._sorted = fingerprints[self._rows]
        self._lock = threading.Lock()
        self._group = functools.lru_cache(CACHED_GROUPS)(self._read_group)

    def find(self, wanted: Hashes) -> tuple[npt.NDArray[np.bool_], Columns]:
        """A mask of the fingerprints whose predictions are reused, and their columns in order.

        A row group is read only if this takes less time than labelling its wanted rows again.
        """
        if not len(self._sorted):
            return np.zeros(len(wanted), np.bool_), _arrays(_EMPTY)
        at = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        known = (self._sorted[at] == wanted) & (wanted != 0)
        rows = self._rows[at]
        groups = np.searchsorted(self._ends, rows, side="right")
        sizes = np.diff(self._ends, prepend=0)
        hits = np.bincount(groups[known], minlength=len(sizes))
        known &= (hits >= READ_COST * sizes)[groups]
        return known, _arrays(self._take(rows[known], groups[known]))

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _take(self, rows: npt.NDArray[np.int32], groups: npt.NDArray[np.int64]) -> pa.Table:
        """The predictions of rows, given the group of each row."""
        starts = np.concatenate([[0], self._ends])
        order = np.argsort(groups, kind="stable")
        parts = [_EMPTY]
        for group in np.unique(groups):
            inside = rows[order][groups[order] == group] - starts[group]
            with self._lock:
                parts.append(self._group(int(group)).take(pa.array(inside)))
        return pa.concat_tables(parts).take(pa.array(np.argsort(order)))

    def _read_group(self, group: int) -> pa.Table:
        try:
            table = self._parquet.read_row_group(group, columns=_EMPTY.column_names)
            if len(table) != self._parquet.metadata.row_group(group).num_rows:
                raise ValueError("its number of rows is not the stated one")
            table.validate(full=True)
            return table.select(_EMPTY.column_names).combine_chunks().cast(_EMPTY.schema)
        except _UNREADABLE as error:
            raise DataError(f"{self.location} cannot be read: {reason(error)}") from error

    def _fingerprints(self, rows: list[int]) -> Hashes:
        """The fingerprints of all rows, given the number of rows in each row group.

        The file has the fingerprints of a row group after the row group. Raises ValueError.
        """
        size, found = self._stream.size(), [np.zeros(0, np.uint64)]
        if min(rows, default=0) < 0 or 8 * sum(rows) > size or sum(rows) >= ROWS_LIMIT:
            raise ValueError("its size does not fit its number of rows")
        provenance = _provenance(self._parquet.metadata)
        offsets, checksums = provenance["fingerprints"], provenance["checksums"]
        for offset, count, checksum in zip(offsets, rows, checksums, strict=True):
            if not 0 <= offset <= size - 8 * count:
                raise ValueError("its fingerprints are outside the file")
            self._stream.seek(offset)
            content = self._stream.read(8 * count)
            if zlib.crc32(content) != checksum:
                raise ValueError("its fingerprints are damaged")
            found.append(np.frombuffer(content, np.uint64))
        return np.concatenate(found)


@contextlib.contextmanager
def _reusable(location: Location) -> Iterator[None]:
    """Raise DataError in place of the errors of a file that cannot be reused."""
    try:
        yield
    except (*_UNREADABLE, KeyError, TypeError) as error:
        raise DataError(
            f"the predictions in {location} cannot be reused: it must be Parquet as `label` writes "
            f"it ({reason(error)})"
        ) from error


def _arrays(table: pa.Table) -> Columns:
    return {name: table[name].combine_chunks() for name in table.column_names}


def _provenance(metadata: pq.FileMetaData) -> Mapping[str, Any]:
    provenance = orjson.loads((metadata.metadata or {})[METADATA_KEY])
    if not isinstance(provenance, dict):
        raise ValueError("its metadata are not an object")
    return provenance
