"""Ids that are made for rows without an id: no other row may have them."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.errors import DataError
from labelwright.entities.io.readers import Batch
from labelwright.entities.tables import ROW, row_ids

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_NONE = np.zeros(0, np.int64)
_NUMBER = "(0|[1-9][0-9]{0,17})$"
_SHOWN = 5


def complete_ids(ids: pa.StringArray, without_id: Mask, rows: Rows) -> pa.StringArray:
    """The ids of rows of several files, given a mask of the rows without an id, and row numbers.

    If some rows have an id, the other rows get `row-N`. Raises DataError if a row has such an id.
    """
    if not without_id.any() or without_id.all():
        return ids
    made = row_ids(rows[without_id])
    given = ids.filter(pa.array(~without_id))
    same = pc.is_in(given, value_set=made).to_numpy(zero_copy_only=False)
    _refuse(rows[~without_id][same])
    return pc.replace_with_mask(ids, pa.array(without_id), made)


def with_distinct_ids(batches: Iterable[Batch], first_row: int = 0) -> Iterator[Batch]:
    """The batches of a file, which begin with the row `first_row`.

    Raises DataError if a row has an id that was made for another row.
    """
    kinds = [_Ids(ROW), _Ids("")]
    for batch in batches:
        ids, without_id = batch.entities.ids, batch.entities.without_id
        rows = np.arange(first_row, first_row + len(ids))
        first_row += len(ids)
        for kind in kinds:
            kind.add(ids, rows, without_id)
        yield batch


class _Ids:
    """Ids that consist of a prefix and a number: those that rows have, and those made for rows.

    The ids that were made are kept as ranges of numbers. Ids without a prefix that rows have are
    kept only after such ids were made, because most data has ids of numbers.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._given = self._given_rows = _NONE

    def add(self, ids: pa.StringArray, rows: Rows, without_id: Mask) -> None:
        """Add the ids of some rows; raises DataError if two rows have the same id."""
        if not self._may_match(ids, without_id):
            return
        matching = pc.match_substring_regex(ids, f"^{self._prefix}{_NUMBER}")
        alike = matching.to_numpy(zero_copy_only=False)
        made = rows[alike & without_id]
        self._add_made(made)
        _refuse(self._given_rows[np.isin(self._given, made)])
        given = alike & ~without_id
        self._add_given(ids.filter(pa.array(given)), rows[given])

    def _may_match(self, ids: pa.StringArray, without_id: Mask) -> bool:
        """A quick check whether some ids are to be kept."""
        if self._prefix:
            return bool(pc.any(pc.starts_with(ids, self._prefix)).as_py())
        return bool(self._starts) or bool(without_id.all())

    def _add_made(self, numbers: Rows) -> None:
        for run in np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1):
            if not len(run):
                continue
            if self._stops and self._stops[-1] == run[0]:
                self._stops[-1] = int(run[-1]) + 1
            else:
                self._starts.append(int(run[0]))
                self._stops.append(int(run[-1]) + 1)

    def _add_given(self, ids: pa.StringArray, rows: Rows) -> None:
        if not len(ids):
            return
        texts = pc.utf8_slice_codeunits(ids, len(self._prefix))
        numbers = texts.cast(pa.int64()).to_numpy(zero_copy_only=False)
        before = np.searchsorted(self._starts, numbers, side="right") - 1  # -1: before the first
        _refuse(rows[numbers < np.array([*self._stops, 0])[before]])
        self._given = np.concatenate([self._given, numbers])
        self._given_rows = np.concatenate([self._given_rows, rows])


def _refuse(rows: Rows) -> None:
    """Raise DataError for rows with ids that were made for other rows, if there are any."""
    if len(rows):
        shown = ", ".join(f"{row:,}" for row in rows[:_SHOWN].tolist())
        more = f" and {len(rows) - _SHOWN:,} more" if len(rows) > _SHOWN else ""
        raise DataError(
            f"other rows, which have no id, get the ids that the rows {shown}{more} have; give an "
            f"id to all rows or to none, or ids that are no numbers and do not begin with {ROW!r}"
        )
