"""Store of corrections: the labels that reviewers confirmed, denied or added for entities.

The database is SQLite by default, or PostgreSQL at a URL. A correction is committed and flushed to
the disk before `add` returns, so it survives a crash of the process or the machine.
"""

import dataclasses
import datetime
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from labelwright.entities.errors import ConflictError, DataError
from labelwright.entities.tables import LABELS

if TYPE_CHECKING:
    from labelwright.entities.corrections_database import CorrectionsDatabase

STRINGS = pa.list_(pa.string())
CORRECTIONS = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("received", pa.timestamp("us", "UTC")),
        pa.field("reviewer", pa.string()),
        pa.field("entity_id", pa.string()),
        pa.field("entity", pa.string()),
        pa.field("confirmed", STRINGS),
        pa.field("denied", STRINGS),
        pa.field("added", STRINGS),
        pa.field(
            "model", pa.struct({name: pa.string() for name in ("name", "version", "content")})
        ),
        pa.field("said", LABELS),
    ]
)
"""The columns of a file of corrections.

`entity` is a JSON object. `said` has the predicted labels that were reviewed.
"""
BATCH_ROWS = 1_000
_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
_JSON = ("confirmed", "denied", "added", "model", "said")
"""The columns that the database stores as JSON text."""
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def parse_age(text: str) -> datetime.timedelta:
    """Parse a duration in days or hours, such as 365d or 12h; raises DataError."""
    if (given := re.fullmatch(r"(\d{1,6})([dh])", text.strip())) is None:
        raise DataError("a duration must be a number of days or hours, such as 365d or 12h")
    number = int(given[1])
    return datetime.timedelta(days=number) if given[2] == "d" else datetime.timedelta(hours=number)


@dataclasses.dataclass(frozen=True)
class Correction:
    """A correction of the labels of one entity by one reviewer.

    `entity` is the entity as a JSON object. `model` has the name, version and content hash of the
    model that predicted the labels. `said` has these predicted labels; each is a mapping with
    `label`, `probability` and `asserted`. `key` is the idempotency key of the request, and
    `request` is a hash of the request. `received` is the time of storage, which the store sets.
    """

    key: str
    request: str
    reviewer: str
    entity_id: str
    entity: str
    confirmed: Sequence[str]
    denied: Sequence[str]
    added: Sequence[str]
    model: Mapping[str, str | None]
    said: Sequence[Mapping[str, Any]]
    received: datetime.datetime | None = None


class CorrectionStore:
    """Corrections in a database, which several threads and processes may use at the same time.

    The database is opened at the first use. `retention` is a duration such as 365d. Older
    corrections are deleted when corrections are added, counted or read, about a day after they have
    expired; `on_expired` is called with their number. Raises DataError if the URL or the duration
    is not valid. All methods raise StorageError if the disk is full or read-only, and
    UnreachableError if the database does not respond.
    """

    def __init__(
        self,
        url: str,
        retention: str | None = None,
        on_expired: Callable[[int], object] = lambda number: None,
    ) -> None:
        scheme, colon, rest = url.partition(":")
        kind = scheme.partition("+")[0]
        if not colon or kind not in _DRIVERS:
            raise DataError(
                "the URL of the corrections must be sqlite:///PATH or postgresql://USER@HOST/NAME"
            )
        database = urlsplit(f"{kind}:{rest}").path.removeprefix("/")
        if not rest.startswith("//") or database in ("", ":memory:"):
            raise DataError(
                "the URL of the corrections names no database: give sqlite:///PATH or "
                "postgresql://USER@HOST/NAME"
            )
        self._url = f"{_DRIVERS[kind]}:{rest}"
        self._retention = None if retention is None else parse_age(retention)
        self._on_expired = on_expired
        self._opening = threading.Lock()
        self._opened: CorrectionsDatabase | None = None

    @property
    def _database(self) -> "CorrectionsDatabase":
        with self._opening:
            if self._opened is None:
                from labelwright.entities.corrections_database import CorrectionsDatabase

                self._opened = CorrectionsDatabase(self._url)
            return self._opened

    def add(
        self, correction: Correction, may_commit: Callable[[], bool] = lambda: True
    ) -> Correction:
        """Store a correction, and return it with its time of storage.

        If a correction with the same key and request is stored already, that correction is
        returned. Raises ConflictError if the stored request is another one. `may_commit` is called
        directly before the commit; if it returns false, UnconfirmedError is raised and nothing is
        stored.
        """
        self._expire()
        stored = dataclasses.replace(correction, received=_now())
        if self._database.insert(_to_row(stored), may_commit):
            return stored
        row = self._database.find(correction.key)
        if row is None or row["request"] != correction.request:
            raise ConflictError(
                "the idempotency key was used before, for another correction; send a new key"
            )
        return Correction(**_from_row(row), request=row["request"])

    def batches(self) -> Iterator[pa.Table]:
        """All corrections in the order they were stored, as tables with the schema CORRECTIONS."""
        self._expire()
        last = 0
        while rows := self._database.rows_after(last, BATCH_ROWS):
            last = rows[-1]["number"]
            yield pa.Table.from_pylist([_from_row(row) for row in rows], CORRECTIONS)

    def export(self, stream: Any) -> Iterator[int]:
        """Write all corrections to a binary stream as Parquet.

        Yields the number of rows after each batch, and 0 when the stream is complete.
        """
        with pq.ParquetWriter(stream, CORRECTIONS, compression="zstd") as writer:
            for table in self.batches():
                writer.write_table(table)
                yield len(table)
        yield 0

    def count(self) -> int:
        """The number of corrections."""
        self._expire()
        return self._database.count()

    def delete(self, entity_id: str) -> int:
        """Delete all corrections of an entity, and return their number."""
        return self._database.delete(entity_id)

    def purge(self, older_than: datetime.timedelta) -> int:
        """Delete all corrections that are older than a duration, and return their number."""
        return self._database.delete_older(_microseconds(_now() - older_than))

    def close(self) -> None:
        """Close all connections; the next call of a method opens the database again."""
        with self._opening:
            if self._opened is not None:
                self._opened.close()
            self._opened = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _expire(self) -> None:
        if self._retention is None:
            return
        kept = self._retention // datetime.timedelta(microseconds=1)
        if deleted := self._database.expire(_microseconds(_now()), kept):
            self._on_expired(deleted)


def _to_row(correction: Correction) -> dict[str, Any]:
    """Convert a correction to a row of the database."""
    row = vars(correction) | {"received": _microseconds(correction.received or _now())}
    return row | {name: json.dumps(row[name], ensure_ascii=False) for name in _JSON}


def _from_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a row of the database to a row of CORRECTIONS."""
    plain = {name: row[name] for name in ("key", "reviewer", "entity_id", "entity")}
    received = _EPOCH + datetime.timedelta(microseconds=row["received"])
    return plain | {"received": received} | {name: json.loads(row[name]) for name in _JSON}


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _microseconds(moment: datetime.datetime) -> int:
    return (moment - _EPOCH) // datetime.timedelta(microseconds=1)
