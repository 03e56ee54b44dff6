"""What a model learns from: entities with their labels, split for training and test."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.errors import DataError
from labelwright.entities.io.column_map import ColumnNames
from labelwright.entities.io.locations import Where
from labelwright.entities.io.readers import ALIKE, read_batches
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities
from labelwright.entities.text import normalise
from labelwright.models.labels import LabelMatrix, LabelSet, label_matrix

TEST_SHARE = 0.1
"""The share of names whose entities are held out for test."""
HASH_BATCH = 1 << 16
"""Rows whose texts are Python's at a time, where they take several times the memory."""


@dataclasses.dataclass(frozen=True)
class LabelledEntities:
    """Entities and, row by row, the list of labels they have.

    `absent` lists labels of an open world that are known not to hold, where the source tells. Of
    rows that are `partial` (bool[n]) nothing is known but what these two lists tell. `warnings` say
    what was left out on the way.
    """

    entities: Entities
    labels: pa.ListArray
    warnings: Sequence[str] = ()
    absent: pa.ListArray | None = None
    partial: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.entities)

    def take(self, rows: npt.NDArray[np.int64]) -> "LabelledEntities":
        """The given rows, in the given order."""
        positions = pa.array(rows)
        absent = None if self.absent is None else self.absent.take(positions)
        partial = None if self.partial is None else self.partial[rows]
        return LabelledEntities(
            self.entities.take(rows), self.labels.take(positions), (), absent, partial
        )

    def matrix(self, labels: LabelSet) -> LabelMatrix:
        """The labels as ids of a label set: present, absent, or unknown as the schema says."""
        open_world = self.entities.schema.open_world
        return label_matrix(self.labels, labels, open_world, self.absent, self.partial)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over ids, fields and labels, independent of the files they came in."""
        digest = hashlib.sha256()
        table = self.entities.table.append_column("labels", self.labels)
        if self.absent is not None:
            table = table.append_column("absent", self.absent)
        if self.partial is not None:
            table = table.append_column("partial", pa.array(self.partial))
        sink = _DigestSink(digest)
        with pa.ipc.new_stream(pa.PythonFile(sink, "w"), table.schema) as writer:
            writer.write_table(table.combine_chunks())
        return digest.hexdigest()


def read_labelled(
    paths: Iterable[Where], schema: EntitySchema, columns: ColumnNames = ALIKE
) -> LabelledEntities:
    """Read all rows of some files that can be learned from; raises DataError.

    Rows that the schema rejects, or whose labels are null, are left out and counted in `warnings`.
    Labels are those in use, as the schema redirects them; `columns` says what the files call the
    columns of the schema.
    """
    tables, labels, absent, warnings = [], [], [], set[str]()
    rejected = unlabelled = 0
    reasons: list[str] = []
    read, anonymous = 0, False
    for path in paths:
        labelled, before = False, read
        for batch in read_batches(path, schema, read, columns=columns):
            read += len(batch.entities)
            if batch.labels is None:  # in JSON Lines they may begin late
                unlabelled += len(batch.entities)
                continue
            labelled = True
            anonymous |= batch.entities.anonymous
            keep = pc.is_valid(batch.labels).to_numpy(zero_copy_only=False)
            unlabelled += int((~keep).sum())
            keep[list(batch.entities.rejected)] = False
            rejected += len(batch.entities.rejected)
            reasons += list(batch.entities.rejected.values())[:3]
            warnings |= set(batch.entities.warnings)
            rows = pa.array(np.flatnonzero(keep))
            tables.append(batch.entities.table.take(rows))
            labels.append(batch.labels.take(rows))
            absent.append(
                _none_absent(len(rows)) if batch.absent is None else batch.absent.take(rows)
            )
        if read > before and not labelled:
            raise DataError(f"{path} has no 'labels' column to learn from")
    if not sum(len(part) for part in labels):
        raise DataError("there is no row to learn from")
    table = pa.concat_tables(tables, promote_options="default")
    if rejected:
        warnings.add(f"{rejected:,} rows left out: {'; '.join(sorted(set(reasons))[:3])}")
    if unlabelled:
        warnings.add(f"{unlabelled:,} rows left out: their labels are null")
    if duplicates := len(table) - len(pc.unique(table["id"])):
        warnings.add(f"{duplicates:,} rows repeat the id of another row")
    told = pa.concat_arrays(absent)
    return LabelledEntities(
        Entities(schema, table.combine_chunks(), anonymous=anonymous),
        schema.redirects.rewrite(pa.concat_arrays(labels)),
        sorted(warnings),
        schema.redirects.rewrite(told) if told.null_count < len(told) else None,
    )


def _none_absent(rows: int) -> pa.ListArray:
    return pa.nulls(rows, pa.list_(pa.string()))


def split(data: LabelledEntities) -> tuple[LabelledEntities, LabelledEntities]:
    """Training and test rows; the same rows are held out for every model.

    What decides is a hash of the normalised name, so that a chain never straddles the split; at
    least one name is held out.
    """
    test = held_out(data.entities, held_out_share(data.entities))
    if test.all():
        raise DataError("all rows have the same name: give test rows of their own with --test")
    return data.take(np.flatnonzero(~test)), data.take(np.flatnonzero(test))


def held_out(entities: Entities, share: float = TEST_SHARE) -> npt.NDArray[np.bool_]:
    """Which rows are held out for test, if that share of the names is."""
    return name_hashes(entities) / 2.0**64 < share


def held_out_share(entities: Entities) -> float:
    """The share of names to hold out: more than usual where that would be none."""
    least = float((name_hashes(entities) / 2.0**64).min())
    return max(TEST_SHARE, least * (1 + 1e-9) + 1e-18)


def name_hashes(entities: Entities) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of each entity's normalised name, of its id where it has none."""
    identity = entities.schema.identity
    names = entities.column(identity) if identity else None
    given = entities.ids if names is None else pc.coalesce(normalise(names), entities.ids)
    return _hashes(given)


def _hashes(texts: pa.StringArray | pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    hashes = np.empty(len(texts), np.uint64)
    for first in range(0, len(texts), HASH_BATCH):
        some = texts.slice(first, HASH_BATCH).to_pylist()
        digests = (hashlib.blake2b(t.encode(), digest_size=8).digest() for t in some)
        hashes[first : first + len(some)] = np.frombuffer(b"".join(digests), np.uint64)
    return hashes


class _DigestSink:
    """A file-like object that hashes what is written to it."""

    closed = False

    def __init__(self, digest: "hashlib._Hash") -> None:
        self._digest = digest

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return len(data)

    def writable(self) -> bool:
        return True

    def flush(self) -> None: ...

    def close(self) -> None: ...
