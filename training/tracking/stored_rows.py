"""Training rows as a run stores them: their fingerprints and labels, without their fields."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from labelwright.entities.io.files import temporary_folder
from labelwright.models.features.fingerprints import content_fingerprints
from labelwright.models.kernels.csr import find_keys
from labelwright.training.data import LabelledEntities
from labelwright.training.tracking import record

Hashes = npt.NDArray[np.uint64]


@dataclasses.dataclass(frozen=True)
class StoredRows:
    """The training rows of a version.

    `rows` (uint64[n]) are their content fingerprints. `labels` is a table with the columns labels,
    absent and partial of `LabelledEntities`; it is None if the run has no such file.
    """

    rows: Hashes
    labels: pa.Table | None

    def restore(self, data: LabelledEntities) -> LabelledEntities | None:
        """The training rows with their labels; None if `data` does not have all their fields."""
        if self.labels is None:
            return None
        keys, first = np.unique(content_fingerprints(data.entities), return_index=True)
        found = find_keys(keys, self.rows)
        if not len(found) or (found < 0).any():
            return None
        lists = (self.labels[name].combine_chunks() for name in ("labels", "absent"))
        labels, absent = lists
        partial = self.labels["partial"].to_numpy()
        return LabelledEntities(
            data.entities.take(first[found]),
            labels,
            (),
            absent if absent.null_count < len(absent) else None,
            partial if partial.any() else None,
        )

    def lost(self, data: LabelledEntities, corrected: Hashes) -> int | None:
        """The number of rows that `data` lacks, or has with other labels; None if unknown.

        Labels of rows whose fingerprint is in `corrected` may differ.
        """
        if self.labels is None:
            return None
        rows = content_fingerprints(data.entities)
        free = set(rows[np.isin(rows, corrected)].tolist())
        present = set(zip(rows.tolist(), _keys(_label_table(data)), strict=True))
        stored = zip(self.rows.tolist(), _keys(self.labels), strict=True)
        return sum(row not in free and (row, key) not in present for row, key in stored)


def write_training_rows(folder: Path, data: LabelledEntities) -> None:
    """Write the files of `StoredRows`; raises OSError."""
    rows = content_fingerprints(data.entities)
    np.save(folder / record.TRAINING_ROWS, rows, allow_pickle=False)
    pq.write_table(_label_table(data), folder / record.TRAINING_LABELS, compression="zstd")


def read_training_rows(name: str, version: str) -> StoredRows | None:
    """The training rows of a version; None if its run does not have them, or if they are damaged.

    Raises RegistryError.
    """
    with temporary_folder() as folder:
        files = [
            record.download(name, version, file, folder)
            for file in (record.TRAINING_ROWS, record.TRAINING_LABELS)
        ]
        try:
            rows = None if files[0] is None else np.load(files[0], allow_pickle=False)
            labels = None if files[1] is None else pq.read_table(files[1])
        except (ValueError, EOFError, OSError, pa.ArrowException):
            return None
    if rows is None or (labels is not None and len(labels) != len(rows)):
        return None
    return StoredRows(rows, labels)


def _label_table(data: LabelledEntities) -> pa.Table:
    absent, partial = data.absent, data.partial
    return pa.table(
        {
            "labels": data.labels,
            "absent": pa.nulls(len(data), data.labels.type) if absent is None else absent,
            "partial": np.zeros(len(data), np.bool_) if partial is None else partial,
        }
    )


def _keys(labels: pa.Table) -> Iterator[Any]:
    """For each row, a value that is equal for rows with equal labels in any order."""
    lists = (labels[name].to_pylist() for name in ("labels", "absent", "partial"))
    for present, absent, partial in zip(*lists, strict=True):
        yield frozenset(present or ()), frozenset(absent or ()), partial
