"""Store of corrections: the labels that reviewers confirmed, denied or added for entities.

The database is SQLite by default, or PostgreSQL at a URL. A correction is committed and flushed to
the disk before `add` returns, so it survives a crash of the process or the machine.
"""

import contextlib
import dataclasses
import datetime
import functools
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from labelwright.entities.errors import (
    ConflictError,
    DataError,
    StorageError,
    UnreachableError,
    reason,
    without_credentials,
)
from labelwright.entities.tables import LABELS

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Row, Table

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
BATCH_ROWS = 10_000
TABLE = "labelwright_corrections"
TIMEOUT = 30
"""Seconds to wait for a connection to PostgreSQL, or for another writer of the SQLite file."""
_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
_JSON = ("confirmed", "denied", "added", "model", "said")
"""The columns that the database stores as JSON text."""
_STORAGE_FAILURES = re.compile("full|readonly|read-only|disk I/O|no space", re.IGNORECASE)


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

    The database is opened at the first use. `retention` is a duration such as 365d. Corrections
    older than this are deleted whenever corrections are added, counted or read. Raises DataError if
    the URL or the duration is not valid. All methods raise StorageError if the disk is full or
    read-only, and UnreachableError if the database does not respond.
    """

    def __init__(self, url: str, retention: str | None = None) -> None:
        scheme, colon, rest = url.partition(":")
        kind = scheme.partition("+")[0]
        if not colon or kind not in _DRIVERS:
            raise DataError(
                "the URL of the corrections must be sqlite:///PATH or postgresql://USER@HOST/NAME"
            )
        self._url = f"{_DRIVERS[kind]}:{rest}"
        self._retention = None if retention is None else parse_age(retention)
        self._opening = threading.Lock()
        self._opened: Engine | None = None

    @property
    def _engine(self) -> "Engine":
        with self._opening:
            if self._opened is None:
                self._opened = _open(self._url)
            return self._opened

    def add(self, correction: Correction) -> Correction:
        """Store a correction, and return it with its time of storage.

        If a correction with the same key and request is stored already, that correction is
        returned. Raises ConflictError if the stored request is another one.
        """
        from sqlalchemy.exc import IntegrityError

        with self._convert_errors():
            try:
                with self._engine.begin() as connection:
                    self._expire(connection)
                    stored = dataclasses.replace(correction, received=_now())
                    connection.execute(_table().insert(), [_to_row(stored)])
                    return stored
            except IntegrityError:
                return self._stored(correction)

    def batches(self) -> Iterator[pa.Table]:
        """All corrections in the order they were stored, as tables with the schema CORRECTIONS."""
        last = 0
        while True:
            with self._convert_errors(), self._engine.begin() as connection:
                if not last:
                    self._expire(connection)
                table = _table()
                wanted = table.select().where(table.c.number > last).order_by(table.c.number)
                rows = connection.execute(wanted.limit(BATCH_ROWS)).all()
            if not rows:
                return
            last = rows[-1].number
            yield pa.Table.from_pylist([_from_row(row) for row in rows], CORRECTIONS)

    def export(self, stream: Any) -> int:
        """Write all corrections to a binary stream as Parquet, and return their number."""
        rows = 0
        with pq.ParquetWriter(stream, CORRECTIONS, compression="zstd") as writer:
            for table in self.batches():
                writer.write_table(table)
                rows += len(table)
        return rows

    def count(self) -> int:
        """The number of corrections."""
        import sqlalchemy

        with self._convert_errors(), self._engine.begin() as connection:
            self._expire(connection)
            counted = sqlalchemy.select(sqlalchemy.func.count()).select_from(_table())
            return int(connection.execute(counted).scalar_one())

    def delete(self, entity_id: str) -> int:
        """Delete all corrections of an entity, and return their number."""
        with self._convert_errors():
            with self._engine.begin() as connection:
                table = _table()
                deleted = connection.execute(table.delete().where(table.c.entity_id == entity_id))
            self._truncate_log()
            return deleted.rowcount

    def purge(self, older_than: datetime.timedelta) -> int:
        """Delete all corrections that are older than a duration, and return their number."""
        with self._convert_errors():
            with self._engine.begin() as connection:
                deleted = _delete_older(connection, older_than)
            self._truncate_log()
            return deleted

    def close(self) -> None:
        """Close all connections; the next call of a method opens the database again."""
        with self._opening:
            if self._opened is not None:
                self._opened.dispose()
            self._opened = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _stored(self, correction: Correction) -> Correction:
        """The stored correction with the same key; raises ConflictError if its request differs."""
        with self._engine.begin() as connection:
            table = _table()
            wanted = table.select().where(table.c.key == correction.key)
            row = connection.execute(wanted).one_or_none()
        if row is None or row.request != correction.request:
            raise ConflictError(
                "the idempotency key was used before, for another correction; send a new key"
            )
        return Correction(**_from_row(row), request=row.request)

    def _expire(self, connection: "Connection") -> None:
        if self._retention is not None:
            _delete_older(connection, self._retention)

    def _truncate_log(self) -> None:
        """Remove deleted corrections from SQLite's write-ahead log."""
        if self._engine.dialect.name == "sqlite":
            with self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextlib.contextmanager
    def _convert_errors(self) -> Iterator[None]:
        """Convert errors of the database to StorageError or UnreachableError.

        The messages contain neither passwords nor data of callers.
        """
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            cause = without_credentials(reason(getattr(error, "orig", None) or error))
            kind = StorageError if _STORAGE_FAILURES.search(cause) else UnreachableError
            url = make_url(self._url)
            place = f"{url.host}:{url.port or 5432}/{url.database}" if url.host else url.database
            raise kind(f"the corrections in {place} cannot be reached: {cause}") from error


def _delete_older(connection: "Connection", age: datetime.timedelta) -> int:
    table = _table()
    first = _microseconds(_now() - age)
    return connection.execute(table.delete().where(table.c.received < first)).rowcount


@functools.cache
def _table() -> "Table":
    """The table of corrections; `number` is the order in which they were stored."""
    from sqlalchemy import BigInteger, Column, Identity, Integer, MetaData, String, Table, Text

    number = BigInteger().with_variant(Integer(), "sqlite")
    return Table(
        TABLE,
        MetaData(),
        Column("number", number, Identity(), primary_key=True),
        Column("key", String(200), nullable=False, unique=True),
        Column("request", String(64), nullable=False),
        Column("received", BigInteger, nullable=False, index=True),
        Column("reviewer", String(200), nullable=False),
        Column("entity_id", Text, nullable=False, index=True),
        Column("entity", Text, nullable=False),
        *(Column(name, Text, nullable=False) for name in _JSON),
    )


def _open(url: str) -> "Engine":
    """Open a database and create its table if it does not exist; raises DataError."""
    import sqlalchemy
    from sqlalchemy.exc import ArgumentError, DatabaseError

    try:
        address = sqlalchemy.make_url(url)
    except ArgumentError as error:
        raise DataError("the URL of the corrections is not valid") from error
    local = address.get_backend_name() == "sqlite"
    if not address.database or address.database == ":memory:":
        raise DataError(
            "the URL of the corrections names no database: give sqlite:///PATH or "
            "postgresql://USER@HOST/NAME"
        )
    if local:
        _create_file(Path(address.database))
    engine = sqlalchemy.create_engine(
        address,
        hide_parameters=True,
        pool_pre_ping=not local,
        connect_args={"timeout": TIMEOUT} if local else {"connect_timeout": TIMEOUT},
    )
    if local:
        sqlalchemy.event.listen(engine, "connect", _prepare_sqlite)
    try:
        _table().metadata.create_all(engine)
    except DatabaseError:  # another process may have created the table; other errors recur
        _table().metadata.create_all(engine)
    return engine


def _create_file(database: Path) -> None:
    """Create the folder of the database, and a file that only its owner may read."""
    database.parent.mkdir(parents=True, exist_ok=True)
    database.touch(mode=0o600)


def _prepare_sqlite(connection: Any, record: object) -> None:
    """Flush every commit to the disk, and overwrite deleted rows with zeros."""
    for setting in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {setting}").close()


def _to_row(correction: Correction) -> dict[str, Any]:
    """Convert a correction to a row of the database."""
    row = vars(correction) | {"received": _microseconds(correction.received or _now())}
    return row | {name: json.dumps(row[name], ensure_ascii=False) for name in _JSON}


def _from_row(row: "Row[Any]") -> dict[str, Any]:
    """Convert a row of the database to a row of CORRECTIONS."""
    given = row._mapping
    plain = {name: given[name] for name in ("key", "reviewer", "entity_id", "entity")}
    received = _EPOCH + datetime.timedelta(microseconds=given["received"])
    return plain | {"received": received} | {name: json.loads(given[name]) for name in _JSON}


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def _microseconds(moment: datetime.datetime) -> int:
    return (moment - _EPOCH) // datetime.timedelta(microseconds=1)
