"""Database of corrections: SQLite or PostgreSQL, by SQLAlchemy.

`entities.corrections` imports this module at the first use of a store, because most processes use
no corrections. This is the only import of SQLAlchemy there. If several threads import different
parts of SQLAlchemy at the same time, the imports fail.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    Connection,
    Engine,
    Identity,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError, SQLAlchemyError

from labelwright.entities.errors import (
    DataError,
    StorageError,
    UnconfirmedError,
    UnreachableError,
    reason,
    without_credentials,
)

TIMEOUT = 30
"""Seconds to wait for a connection to PostgreSQL, or for another writer of the SQLite file."""
DAY = 86_400_000_000
"""Microseconds of a day."""
PREPARE_THRESHOLD = "prepare_threshold"
"""Parameter of the URL: the number of executions after which psycopg prepares a statement."""
Row = Mapping[str, Any]
_STORAGE_FAILURES = re.compile("full|readonly|read-only|disk I/O|no space", re.IGNORECASE)
_METADATA = MetaData()
_CORRECTIONS = Table(
    "labelwright_corrections",
    _METADATA,
    Column(  # the order in which the corrections were stored
        "number", BigInteger().with_variant(Integer(), "sqlite"), Identity(), primary_key=True
    ),
    Column("key", String(200), nullable=False, unique=True),
    Column("request", String(64), nullable=False),
    Column("received", BigInteger, nullable=False, index=True),
    Column("reviewer", String(200), nullable=False),
    Column("entity_id", Text, nullable=False, index=True),
    Column("entity", Text, nullable=False),
    *(
        Column(name, Text, nullable=False)
        for name in ("confirmed", "denied", "added", "model", "said")
    ),
)
_EXPIRY = Table("labelwright_expiry", _METADATA, Column("noticed", BigInteger, nullable=False))
"""The last time at which `expire` noticed the expired corrections, in at most a few equal rows."""


class CorrectionsDatabase:
    """The table of corrections at a URL of SQLAlchemy.

    Times are in microseconds since 1970. Raises DataError if the URL is not valid. All methods
    raise StorageError if the disk is full or read-only, and UnreachableError if the database does
    not respond.
    """

    def __init__(self, url: str) -> None:
        self._url = _parsed(url)
        with self._converted_errors():
            self._engine = _sqlite(self._url) if self._is_sqlite else _postgresql(self._url)
            _create(_CORRECTIONS, self._engine)
        self._notices_expiry = False

    def insert(self, row: Row, may_commit: Callable[[], bool]) -> bool:
        """Store a correction; returns False if a correction with the same key is stored already.

        Raises UnconfirmedError and stores nothing if `may_commit`, which is called directly before
        the commit, returns false.
        """
        with self._converted_errors():
            try:
                with self._engine.begin() as connection:
                    connection.execute(_CORRECTIONS.insert(), [row])
                    if not may_commit():
                        raise UnconfirmedError("the correction was not stored in time")
            except IntegrityError:
                return False
            return True

    def find(self, key: str) -> Row | None:
        """The correction with a key, or None."""
        with self._transaction() as connection:
            wanted = _CORRECTIONS.select().where(_CORRECTIONS.c.key == key)
            row = connection.execute(wanted).one_or_none()
        return None if row is None else row._asdict()

    def rows_after(self, number: int, limit: int) -> list[Row]:
        """Up to `limit` corrections whose number is above `number`, in the order of the numbers."""
        wanted = _CORRECTIONS.select().where(_CORRECTIONS.c.number > number)
        with self._transaction() as connection:
            rows = connection.execute(wanted.order_by(_CORRECTIONS.c.number).limit(limit)).all()
        return [row._asdict() for row in rows]

    def count(self) -> int:
        """The number of corrections."""
        counted = sqlalchemy.select(sqlalchemy.func.count()).select_from(_CORRECTIONS)
        with self._transaction() as connection:
            return int(connection.execute(counted).scalar_one())

    def delete(self, entity_id: str) -> int:
        """Delete the corrections of an entity, and return their number."""
        return self._delete(_CORRECTIONS.c.entity_id == entity_id)

    def delete_older(self, time: int) -> int:
        """Delete the corrections that were received before a time, and return their number."""
        return self._delete(_CORRECTIONS.c.received < time)

    def expire(self, now: int, kept: int) -> int:
        """Delete corrections older than `kept` that had expired a day ago; returns their number.

        Corrections are first noticed as expired, and deleted a day later (or `kept` later, if that
        is less). A clock that jumps ahead and is set right within this time deletes nothing.
        """
        if not self._notices_expiry:
            with self._converted_errors():
                _create(_EXPIRY, self._engine)
            self._notices_expiry = True
        noticed = sqlalchemy.select(sqlalchemy.func.max(_EXPIRY.c.noticed))
        with self._transaction() as connection:
            last = connection.execute(noticed).scalar_one()
        if last is not None and last <= now < last + min(DAY, kept):
            return 0
        deleted = 0 if last is None or last > now else self.delete_older(last - kept)
        with self._transaction() as connection:
            connection.execute(_EXPIRY.delete())
            connection.execute(_EXPIRY.insert(), [{"noticed": now}])
        return deleted

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @property
    def _is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    def _delete(self, condition: sqlalchemy.ColumnElement[bool]) -> int:
        with self._transaction() as connection:
            deleted = connection.execute(_CORRECTIONS.delete().where(condition)).rowcount
        if deleted and self._is_sqlite:
            with self._converted_errors(), self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")  # the log has rows
        return deleted

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._converted_errors(), self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def _converted_errors(self) -> Iterator[None]:
        """Convert errors of the database to StorageError or UnreachableError.

        The messages contain neither passwords nor data of callers.
        """
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            cause = without_credentials(reason(getattr(error, "orig", None) or error))
            kind = StorageError if _STORAGE_FAILURES.search(cause) else UnreachableError
            url = self._url
            place = f"{url.host}:{url.port or 5432}/{url.database}" if url.host else url.database
            raise kind(f"the corrections in {place} cannot be reached: {cause}") from error


def _parsed(url: str) -> URL:
    try:
        return sqlalchemy.make_url(url)
    except ArgumentError as error:
        raise DataError("the URL of the corrections is not valid") from error


def _create(table: Table, engine: Engine) -> None:
    """Create a table if it does not exist."""
    try:
        table.create(engine, checkfirst=True)
    except DatabaseError:  # another process may have created the table; other errors recur
        table.create(engine, checkfirst=True)


def _sqlite(url: URL) -> Engine:
    database = Path(url.database or "")
    database.parent.mkdir(parents=True, exist_ok=True)
    database.touch(mode=0o600)
    engine = sqlalchemy.create_engine(url, hide_parameters=True, connect_args={"timeout": TIMEOUT})
    sqlalchemy.event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _postgresql(url: URL) -> Engine:
    """An engine that prepares no statements, unless the URL has PREPARE_THRESHOLD.

    A connection pooler may execute each transaction on another connection of the server. The
    prepared statements of the client are not available there.
    """
    given = url.query.get(PREPARE_THRESHOLD, "none")
    if not isinstance(given, str) or not (given.isdecimal() or given == "none"):
        raise DataError(
            f"{PREPARE_THRESHOLD} in the URL of the corrections must be one whole number, or none"
        )
    arguments = {PREPARE_THRESHOLD: int(given) if given.isdecimal() else None}
    if "connect_timeout" not in url.query:
        arguments["connect_timeout"] = TIMEOUT
    return sqlalchemy.create_engine(
        url.difference_update_query([PREPARE_THRESHOLD]),
        hide_parameters=True,
        pool_pre_ping=True,
        connect_args=arguments,
    )


def _prepare_sqlite(connection: Any, record: object) -> None:
    """Flush every commit to the disk, and overwrite deleted rows with zeros."""
    for setting in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {setting}").close()
