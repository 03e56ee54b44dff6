"""Corrections: what people say about the labels of entities, kept in a database.

SQLite by default, PostgreSQL by its URL. A correction that was taken outlives the process and the
machine: it is committed, and flushed to the disk, before `add` returns.
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
"""What a file of corrections holds; `entity` is JSON."""
BATCH_ROWS = 10_000
TABLE = "labelwright_corrections"
PATIENCE = 30
"""Seconds to wait for a database: for a connection, and for others who write."""
_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
_JSON = ("confirmed", "denied", "added", "model", "said")
"""The columns that the database keeps as JSON text."""
_FULL = re.compile("full|readonly|read-only|disk I/O|no space", re.IGNORECASE)


def parse_age(text: str) -> datetime.timedelta:
    """A length of time like 365d or 12h; raises DataError."""
    if (given := re.fullmatch(r"(\d{1,6})([dh])", text.strip())) is None:
        raise DataError("a length of time is a number of days or hours, like 365d or 12h")
    number = int(given[1])
    return datetime.timedelta(days=number) if given[2] == "d" else datetime.timedelta(hours=number)


@dataclasses.dataclass(frozen=True)
class Correction:
    """What one reviewer says about labels of one entity.

    `entity` is the JSON object that describes it; `model` has the name, version and content of the
    model whose labels were reviewed, and `said` these labels, as a file of answers has them.
    `request` is a hash of what was sent under `key`. `received` is set by the store.
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
    """The corrections in the database at a URL; safe to use from many threads and processes.

    It is opened when it is first used. Corrections that were received longer ago than `keep`, which
    is like 365d, are deleted whenever the store is written to or read. Raises DataError for a URL
    or a length of time that is none. All methods raise StorageError for a disk that
    is full or read-only, and UnreachableError for a database that does not answer.
    """

    def __init__(self, url: str, keep: str | None = None) -> None:
        scheme, colon, rest = url.partition(":")
        kind = scheme.partition("+")[0]
        if not colon or kind not in _DRIVERS:
            raise DataError("corrections lie at sqlite:///PATH or postgresql://USER@HOST/NAME")
        self._url = f"{_DRIVERS[kind]}:{rest}"
        self._keep = None if keep is None else parse_age(keep)
        self._opening = threading.Lock()
        self._opened: Engine | None = None

    @property
    def _engine(self) -> "Engine":
        with self._opening:
            if self._opened is None:
                self._opened = _open(self._url)
            return self._opened

    def add(self, correction: Correction) -> Correction:
        """Keep a correction; returns what is kept under its key, which an earlier try may have.

        Raises ConflictError where the key was used for something else.
        """
        from sqlalchemy.exc import IntegrityError

        with self._asked():
            try:
                with self._engine.begin() as connection:
                    self._expire(connection)
                    kept = dataclasses.replace(correction, received=_now())
                    connection.execute(_table().insert(), [_packed(kept)])
                    return kept
            except IntegrityError:
                return self._kept(correction)

    def batches(self) -> Iterator[pa.Table]:
        """All corrections in the order in which they were taken, as tables of CORRECTIONS."""
        last = 0
        while True:
            with self._asked(), self._engine.begin() as connection:
                if not last:
                    self._expire(connection)
                table = _table()
                wanted = table.select().where(table.c.number > last).order_by(table.c.number)
                rows = connection.execute(wanted.limit(BATCH_ROWS)).all()
            if not rows:
                return
            last = rows[-1].number
            yield pa.Table.from_pylist([_unpacked(row) for row in rows], CORRECTIONS)

    def export(self, stream: Any) -> int:
        """Write all corrections to a binary stream as Parquet, and return how many these are."""
        rows = 0
        with pq.ParquetWriter(stream, CORRECTIONS, compression="zstd") as writer:
            for table in self.batches():
                writer.write_table(table)
                rows += len(table)
        return rows

    def count(self) -> int:
        """How many corrections there are."""
        import sqlalchemy

        with self._asked(), self._engine.begin() as connection:
            self._expire(connection)
            counted = sqlalchemy.select(sqlalchemy.func.count()).select_from(_table())
            return int(connection.execute(counted).scalar_one())

    def delete(self, entity_id: str) -> int:
        """Delete all corrections of an entity, and return how many these were."""
        with self._asked():
            with self._engine.begin() as connection:
                table = _table()
                gone = connection.execute(table.delete().where(table.c.entity_id == entity_id))
            self._forget()
            return gone.rowcount

    def purge(self, older_than: datetime.timedelta) -> int:
        """Delete all corrections received longer ago, and return how many these were."""
        with self._asked():
            with self._engine.begin() as connection:
                gone = _delete_older(connection, older_than)
            self._forget()
            return gone

    def close(self) -> None:
        """Close all connections; the store can be used again all the same."""
        with self._opening:
            if self._opened is not None:
                self._opened.dispose()
            self._opened = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _kept(self, correction: Correction) -> Correction:
        """What is kept under the key of a correction, if it is the same."""
        with self._engine.begin() as connection:
            table = _table()
            wanted = table.select().where(table.c.key == correction.key)
            row = connection.execute(wanted).one_or_none()
        if row is None or row.request != correction.request:
            raise ConflictError("the key was used before, for another correction")
        return Correction(**_unpacked(row), request=row.request)

    def _expire(self, connection: "Connection") -> None:
        if self._keep is not None:
            _delete_older(connection, self._keep)

    def _forget(self) -> None:
        """Let what was deleted not linger in SQLite's log beside the database."""
        if self._engine.dialect.name == "sqlite":
            with self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextlib.contextmanager
    def _asked(self) -> Iterator[None]:
        """Let what a database refuses be a StorageError, without a caller's data or a password."""
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            words = without_credentials(reason(getattr(error, "orig", None) or error))
            kind = StorageError if _FULL.search(words) else UnreachableError
            url = make_url(self._url)
            where = f"{url.host}:{url.port or 5432}/{url.database}" if url.host else url.database
            raise kind(f"the corrections in {where} cannot be reached: {words}") from error


def _delete_older(connection: "Connection", age: datetime.timedelta) -> int:
    table = _table()
    first = _microseconds(_now() - age)
    return connection.execute(table.delete().where(table.c.received < first)).rowcount


@functools.cache
def _table() -> "Table":
    """The table, as SQLAlchemy has it; `number` is the order in which corrections were taken."""
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
    """A database with its table; SQLite in WAL mode, flushed at every commit."""
    import sqlalchemy
    from sqlalchemy.exc import ArgumentError, DatabaseError

    try:
        address = sqlalchemy.make_url(url)
    except ArgumentError as error:
        raise DataError("the URL of the corrections is not valid") from error
    local = address.get_backend_name() == "sqlite"
    if not address.database or address.database == ":memory:":
        raise DataError("the URL of the corrections names no database")
    if local:
        _make_room(Path(address.database))
    engine = sqlalchemy.create_engine(
        address,
        hide_parameters=True,
        pool_pre_ping=not local,
        connect_args={"timeout": PATIENCE} if local else {"connect_timeout": PATIENCE},
    )
    if local:
        sqlalchemy.event.listen(engine, "connect", _prepare_sqlite)
    try:
        _table().metadata.create_all(engine)
    except DatabaseError:  # another process makes it at the same time, or cannot be reached
        _table().metadata.create_all(engine)
    return engine


def _make_room(database: Path) -> None:
    """A file that only its owner may read, and the folder it lies in."""
    database.parent.mkdir(parents=True, exist_ok=True)
    database.touch(mode=0o600)


def _prepare_sqlite(connection: Any, record: object) -> None:
    for setting in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {setting}").close()


def _packed(correction: Correction) -> dict[str, Any]:
    """A correction as the database keeps it."""
    row = vars(correction) | {"received": _microseconds(correction.received or _now())}
    return row | {name: json.dumps(row[name], ensure_ascii=False) for name in _JSON}


def _unpacked(row: "Row[Any]") -> dict[str, Any]:
    """The same as a row of CORRECTIONS."""
    given = row._mapping
    plain = {name: given[name] for name in ("key", "reviewer", "entity_id", "entity")}
    received = _EPOCH + datetime.timedelta(microseconds=given["received"])
    return plain | {"received": received} | {name: json.loads(given[name]) for name in _JSON}


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def _microseconds(moment: datetime.datetime) -> int:
    return (moment - _EPOCH) // datetime.timedelta(microseconds=1)
