"""Labelled entities, and their split into training and test rows."""

import collections
import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.errors import DataError
from labelwright.entities.io.column_map import ColumnMap, listed_columns
from labelwright.entities.io.label_columns import EmptyLabels
from labelwright.entities.io.locations import LocationLike
from labelwright.entities.io.readers import SAME_NAMES, Batch, read_batches
from labelwright.entities.io.row_ids import complete_ids
from labelwright.entities.label_groups import group_numbers
from labelwright.entities.schema import NAME_SHOWN, EntitySchema
from labelwright.entities.tables import Entities
from labelwright.entities.text import normalise
from labelwright.models.kernels.hashes import text_hash
from labelwright.models.labels import LabelMatrix, LabelSet, label_matrix

TEST_SHARE = 0.1
"""Share of the names that are held out: the entities with these names are the test rows."""
TEXT_LIMIT = 2**31 - 1
"""The largest number of bytes of the texts of one column: Arrow counts them with 32 bits."""
HASH_BATCH = 1 << 16
"""Number of texts that are converted to Python strings at a time: these need more memory than Arrow
texts."""


@dataclasses.dataclass(frozen=True)
class LabelledEntities:
    """Entities, and the list of labels of each entity.

    `absent` lists the labels that an entity is known not to have; it is None if the input has no
    such column. `partial` (bool[n]) marks the rows in which all labels that are in neither list are
    unknown. In other rows, these labels are absent, or unknown if the schema declares their group
    as open world. `warnings` say which rows were left out. `unlabelled` are the rows of the same
    files whose labels are null, if they were asked for.
    """

    entities: Entities
    labels: pa.ListArray
    warnings: Sequence[str] = ()
    absent: pa.ListArray | None = None
    partial: npt.NDArray[np.bool_] | None = None
    unlabelled: Entities | None = None

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
        """The labels as ids of the label set `labels`; the schema's open world is applied."""
        open_world = self.entities.schema.open_world
        return label_matrix(self.labels, labels, open_world, self.absent, self.partial)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of ids, fields and labels; the format of the files does not change it."""
        table = self.entities.table.append_column("labels", self.labels)
        if self.absent is not None:
            table = table.append_column("absent", self.absent)
        if self.partial is not None:
            table = table.append_column("partial", pa.array(self.partial))
        return table_hash(table)


def read_labelled(
    paths: Iterable[LocationLike],
    schema: EntitySchema,
    columns: ColumnMap = SAME_NAMES,
    keep_unlabelled: bool = False,
    empty_labels: EmptyLabels = EmptyLabels.UNKNOWN,
) -> LabelledEntities:
    """Read the labelled rows of some files; raises DataError.

    Rows that the schema rejects are left out and counted in `warnings`. Rows whose labels are null
    are left out, too, or they are in `unlabelled` if `keep_unlabelled` is true. The schema's
    redirects replace labels that were renamed. `columns` maps the names of the schema's columns to
    column names of the files. `empty_labels` is the meaning of the empty cells of CSV; `warnings`
    have their number.
    """
    tables, labels, absent = [], [], []
    without_id, numbers = [], []
    left_out, sizes = _LeftOut(), _TextSizes()
    empty_cells = _EmptyCells(empty_labels, columns.name_in_data("labels"))
    unlabelled: list[pa.Table] = []
    read, anonymous = 0, True
    for path in paths:
        labelled, before, empty_before = False, read, empty_cells.rows
        names: dict[str, None] = {}
        for given in read_batches(path, schema, read, columns=columns):
            batch, first = empty_cells.resolve(given), read
            read += len(batch.entities)
            names |= dict.fromkeys(batch.names)
            rows = left_out.usable_rows(batch)
            if keep_unlabelled:
                unlabelled.append(batch.entities.table.take(_unlabelled_rows(batch)))
            if batch.labels is None:  # in JSON Lines, the labels may begin in a later batch
                continue
            labelled = True
            anonymous &= batch.entities.anonymous or not len(batch.entities)
            without_id.append(batch.entities.without_id[rows.to_numpy()])
            numbers.append(rows.to_numpy() + first)
            tables.append(batch.entities.table.take(rows))
            labels.append(batch.labels.take(rows))
            sizes.add({**_columns(tables[-1]), "labels": labels[-1].flatten()})
            absent.append(
                _null_lists(len(rows)) if batch.absent is None else batch.absent.take(rows)
            )
        if read > before and not labelled:
            raise DataError(_no_labels(path, columns, names))
        if read > before and empty_cells.rows - empty_before == read - before:
            empty_cells.files.append(path)
    if not sum(len(part) for part in labels):
        empty_cells.check_files()
        raise DataError("there is no row to learn from: no row has labels and fits the schema")
    table = pa.concat_tables(tables, promote_options="default").combine_chunks()
    ids = table["id"].combine_chunks()
    ids = complete_ids(ids, np.concatenate(without_id), np.concatenate(numbers))
    table = table.set_column(table.column_names.index("id"), "id", ids)
    absent_lists = pa.concat_arrays(absent)
    any_absent = absent_lists.null_count < len(absent_lists)
    lists = schema.redirects.rewrite(pa.concat_arrays(labels))
    warnings = [
        *left_out.warnings(table, keep_unlabelled),
        *empty_cells.warnings(keep_unlabelled),
        *_broken_groups(schema, lists, np.concatenate(numbers)),
    ]
    return LabelledEntities(
        Entities(schema, table, anonymous=anonymous),
        lists,
        warnings,
        schema.redirects.rewrite(absent_lists) if any_absent else None,
        unlabelled=_entities(schema, unlabelled) if keep_unlabelled else None,
    )


def read_unlabelled(
    paths: Iterable[LocationLike], schema: EntitySchema, columns: ColumnMap = SAME_NAMES
) -> tuple[Entities, Sequence[str]]:
    """Read the rows of some files without their labels; raises DataError.

    Rows that the schema rejects are left out. Also returns warnings about these rows.
    """
    tables: list[pa.Table] = []
    left_out, sizes = _LeftOut(), _TextSizes()
    for path in paths:
        for batch in read_batches(path, schema, labelled=False, columns=columns):
            left_out.count_rejected(batch)
            kept = np.ones(len(batch.entities), np.bool_)
            kept[list(batch.entities.rejected)] = False
            tables.append(batch.entities.table.filter(pa.array(kept)))
            sizes.add(_columns(tables[-1]))
    return _entities(schema, tables), left_out.warnings()


def _broken_groups(
    schema: EntitySchema, labels: pa.ListArray, numbers: npt.NDArray[np.int64]
) -> list[str]:
    """A warning for each exclusive group of which some rows have several labels.

    `numbers` are the numbers of the rows in the files.
    """
    exclusive = [*(group.exclusive for group in schema.groups.values())]
    if not any(exclusive):
        return []
    given = labels.flatten().dictionary_encode()
    groups = group_numbers(schema.groups, given.dictionary.to_pylist())
    ids = given.indices.to_numpy()
    pairs = np.unique(np.stack([pc.list_parent_indices(labels).to_numpy(), ids]), axis=1)
    warnings = []
    for group, name in enumerate(schema.groups):
        rows = pairs[0][groups[pairs[1]] == group]
        several = np.unique(rows[1:][rows[1:] == rows[:-1]])
        if exclusive[group] and several.size:
            warnings.append(
                f"{several.size:,} rows have several labels of the exclusive group {name!r}, for "
                f"example row {numbers[several[0]]:,}; they are kept as they are"
            )
    return warnings


def _no_labels(path: LocationLike, columns: ColumnMap, names: Iterable[str]) -> str:
    """The message for a file without the column of labels; `names` are its columns."""
    name = columns.name_in_data("labels")
    found = listed_columns(columns.name_in_data(name) for name in names)
    if name != "labels":
        option = "--label-column" if columns.whole_labels else "--map"
        return f"{option}: {path} has no column {name[:NAME_SHOWN]!r} of labels{found}"
    return (
        f"{path} has no 'labels' column to learn from{found}; name a column of one label a row "
        "with --label-column NAME, or a column of lists with --map labels=NAME"
    )


def _entities(schema: EntitySchema, tables: Sequence[pa.Table]) -> Entities:
    """Entities of checked tables, whose ids have no meaning."""
    if not sum(map(len, tables)):
        return Entities.empty(schema, 0)
    return Entities(schema, pa.concat_tables(tables, promote_options="default").combine_chunks())


def _unlabelled_rows(batch: Batch) -> pa.Array:
    """The positions of the rows that fit the schema and whose labels are null."""
    found = np.ones(len(batch.entities), np.bool_)
    if batch.labels is not None:
        found = ~pc.is_valid(batch.labels).to_numpy(zero_copy_only=False)
    found[list(batch.entities.rejected)] = False
    return pa.array(np.flatnonzero(found))


def _columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return dict(zip(table.column_names, table.columns, strict=True))


class _TextSizes:
    """The bytes of the texts of each column, which must not exceed TEXT_LIMIT."""

    def __init__(self) -> None:
        self._bytes: collections.Counter[str] = collections.Counter()

    def add(self, columns: Mapping[str, pa.ChunkedArray | pa.Array]) -> None:
        """Count the texts of some rows; raises DataError."""
        for name, texts in columns.items():
            if not pa.types.is_string(texts.type):
                continue
            self._bytes[name] += pc.sum(pc.binary_length(texts)).as_py() or 0
            if self._bytes[name] > TEXT_LIMIT:
                raise DataError(
                    f"column {name!r} has more than {TEXT_LIMIT:,} bytes of text in all rows; "
                    "train on fewer rows, or on shorter texts"
                )


@dataclasses.dataclass
class _EmptyCells:
    """Empty cells of labels in CSV: their meaning, the column's name in the files, and counts.

    `rows` is the number of empty cells. `files` have no other cell in this column.
    """

    meaning: EmptyLabels
    column: str
    rows: int = 0
    files: list[LocationLike] = dataclasses.field(default_factory=list)

    def resolve(self, batch: Batch) -> Batch:
        """Count the empty cells of a batch, and replace their null lists if they have no labels."""
        if not batch.cells or batch.labels is None or not batch.labels.null_count:
            return batch
        self.rows += batch.labels.null_count
        if self.meaning is EmptyLabels.UNKNOWN:
            return batch
        filled = pc.coalesce(batch.labels, pa.scalar([], batch.labels.type))
        return dataclasses.replace(batch, labels=filled)

    def check_files(self) -> None:
        """Raise DataError if there is a file in which all cells are empty, and not labelled."""
        if self.files and self.meaning is EmptyLabels.UNKNOWN:
            raise DataError(
                f"there is no row to learn from: all cells of column {self.column!r} of "
                f"{self.files[0]} are empty, which means not labelled; name the column of labels "
                "with --label-column NAME, or with --map labels=NAME if its cells are lists"
            )

    def warnings(self, keep_unlabelled: bool) -> list[str]:
        """One sentence with the number of empty cells and their meaning, if there are any."""
        if not self.rows:
            return []
        found = f"{self.rows:,} rows have an empty cell in column {self.column!r}, read as "
        if self.meaning is EmptyLabels.NONE:
            return [f"{found}none of the labels; --empty-labels unknown reads it as not labelled"]
        left_out = "" if keep_unlabelled else ", and are left out"
        return [
            f"{found}not labelled{left_out}; --empty-labels none reads it as none of the labels"
        ]


@dataclasses.dataclass
class _LeftOut:
    """Counts of the rows that are left out, and the warnings of the readers.

    Empty cells of labels are not counted here, see `_EmptyCells`.
    """

    rejected: int = 0
    unlabelled: int = 0
    reasons: set[str] = dataclasses.field(default_factory=set)
    reader_warnings: set[str] = dataclasses.field(default_factory=set)

    def usable_rows(self, batch: Batch) -> pa.Array:
        """The positions of the rows that have labels and fit the schema; counts the other rows."""
        if batch.labels is None:
            self.unlabelled += len(batch.entities)
            return pa.array([], pa.int64())
        usable = pc.is_valid(batch.labels).to_numpy(zero_copy_only=False)
        self.unlabelled += 0 if batch.cells else int((~usable).sum())
        usable[list(batch.entities.rejected)] = False
        self.count_rejected(batch)
        return pa.array(np.flatnonzero(usable))

    def count_rejected(self, batch: Batch) -> None:
        """Count the rows that the schema rejects."""
        rejected = batch.entities.rejected
        self.rejected += len(rejected)
        self.reasons |= set(list(rejected.values())[:3])
        self.reader_warnings |= set(batch.entities.warnings)

    def warnings(self, kept: pa.Table | None = None, keep_unlabelled: bool = False) -> list[str]:
        """One sentence for each reason why rows were left out, and for repeated ids of `kept`."""
        found = set(self.reader_warnings)
        if self.rejected:
            reasons = "; ".join(sorted(self.reasons)[:3])
            found.add(f"{self.rejected:,} rows left out: {reasons}")
        if self.unlabelled and not keep_unlabelled:
            found.add(f"{self.unlabelled:,} rows left out: their labels are null")
        if kept is not None and (duplicates := len(kept) - len(pc.unique(kept["id"]))):
            found.add(f"{duplicates:,} rows repeat the id of another row")
        return sorted(found)


def _null_lists(rows: int) -> pa.ListArray:
    return pa.nulls(rows, pa.list_(pa.string()))


def table_hash(table: pa.Table) -> str:
    """SHA-256 of the content of a table."""
    digest = hashlib.sha256()
    sink = _DigestSink(digest)
    with pa.ipc.new_stream(pa.PythonFile(sink, "w"), table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return digest.hexdigest()


def split(data: LabelledEntities) -> tuple[LabelledEntities, LabelledEntities]:
    """Split rows by name into training and test rows.

    A hash of the normalised name decides. Therefore all branches of a chain are in the same part,
    and the same rows are held out for every model. At least one name is held out. Raises DataError
    if all rows have the same name.
    """
    test = held_out(data.entities, held_out_share(data.entities))
    if test.all():
        raise DataError(
            "all rows have the same name, so they cannot be split: give test rows with --test"
        )
    return data.take(np.flatnonzero(~test)), data.take(np.flatnonzero(test))


def held_out(entities: Entities, share: float = TEST_SHARE) -> npt.NDArray[np.bool_]:
    """Mask (bool[n]) of the rows whose name is held out; `share` is the share of these names."""
    return name_hashes(entities) / 2.0**64 < share


def held_out_share(entities: Entities) -> float:
    """TEST_SHARE, or if no name would be held out, the smallest share that holds out one name."""
    smallest = float((name_hashes(entities) / 2.0**64).min())
    return max(TEST_SHARE, smallest * (1 + 1e-9) + 1e-18)


def name_hashes(entities: Entities) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of each entity's normalised name, or of its id if it has no name."""
    identity = entities.schema.identity
    names = entities.column(identity) if identity else None
    texts = entities.ids if names is None else pc.coalesce(normalise(names), entities.ids)
    return _hashes(texts)


def _hashes(texts: pa.StringArray | pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    hashes = np.empty(len(texts), np.uint64)
    for first in range(0, len(texts), HASH_BATCH):
        batch = texts.slice(first, HASH_BATCH).to_pylist()
        digests = b"".join(map(text_hash, batch))
        hashes[first : first + len(batch)] = np.frombuffer(digests, np.uint64)
    return hashes


class _DigestSink:
    """A writable file object that updates a hash with the written bytes."""

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
