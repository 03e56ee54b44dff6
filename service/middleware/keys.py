"""API keys, stored as hashes in a file of the state folder.

A key has the form `lw_ID_SECRET`. The secret has 256 random bits, so one round of SHA-256 is a
sufficient hash. A slow hash is only needed for passwords that people choose. With a slow hash,
anyone could overload the service with invalid keys.
"""

import contextlib
import enum
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import pydantic
from pydantic import Field

from labelwright.entities.errors import RequestError, StorageError, reason
from labelwright.entities.io.files import locked, write_atomically

RELOAD_SECONDS = 0.5
"""Minimum time in seconds between two checks of a running service for changes of the file."""
NAME_LIMIT = 100
"""Maximum length of a key's name, in characters."""
RATE_LIMIT = 1_000_000
"""Maximum rate, in requests a second, and maximum burst, in requests."""
_log = logging.getLogger(__name__)


class Role(enum.StrEnum):
    """Role of a key; each role includes the permissions of the roles before it."""

    LABEL = "label"
    FEEDBACK = "feedback"
    ADMIN = "admin"

    def includes(self, other: "Role") -> bool:
        """Whether this role has all permissions of the other."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@pydantic.dataclasses.dataclass(frozen=True, config=pydantic.ConfigDict(extra="forbid"))
class Key:
    """A stored key: the hash of its text, its role and its limits.

    `digest` is the SHA-256 hash of the text. `rate` is the number of requests a second that the key
    allows; 0 means no limit. `burst` is the number of requests that it allows at once.
    """

    id: str
    name: str
    role: Role
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    created: str
    rate: Annotated[float, Field(ge=0, le=RATE_LIMIT)] = 0.0
    burst: Annotated[int, Field(ge=0, le=RATE_LIMIT)] = 0


class Keyring:
    """The keys in a file. Changes are atomic, and only one process at a time makes a change."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, name: str, role: Role, rate: float = 0.0, burst: int = 0) -> str:
        """Create a key and return its text, which is not stored.

        If `burst` is 0, the key allows about as many requests at once as in a second. Raises
        RequestError if the name or a limit is not valid or the name is in use, and StorageError if
        the file cannot be read or written.
        """
        if not 0 < len(name) <= NAME_LIMIT or not name.isprintable():
            raise RequestError(
                f"the name of a key must have 1 to {NAME_LIMIT} printable characters; this one has "
                f"{len(name)} characters"
            )
        if not 0 <= rate <= RATE_LIMIT or not 0 <= burst <= RATE_LIMIT:
            raise RequestError(
                f"rate and burst must be between 0 and {RATE_LIMIT:,}; found {rate:g} and {burst}"
            )
        identifier, secret = secrets.token_hex(4), secrets.token_hex(32)
        text = f"lw_{identifier}_{secret}"
        created = datetime.now(UTC).isoformat(timespec="seconds")
        burst = burst or max(1, round(rate))
        with self._edit() as keys:
            if any(name == key.name for key in keys.values()):
                raise RequestError(
                    f"a key named {name!r} exists already; choose another name, or revoke it first "
                    "with `labelwright keys revoke`"
                )
            key = Key(identifier, name, role, _digest(text), created, rate, burst)
            keys[identifier] = key
        return text

    def revoke(self, name_or_id: str) -> Key:
        """Delete a key and return it.

        Raises RequestError if there is no such key, and StorageError if the file cannot be read or
        written.
        """
        with self._edit() as keys:
            found = [
                key for key in keys.values() if name_or_id in (key.name, key.id, f"lw_{key.id}")
            ]
            if not found:
                raise RequestError(
                    "no key has this name or id; `labelwright keys list` lists all keys"
                )
            return keys.pop(found[0].id)

    def read(self) -> dict[str, Key]:
        """All keys by id; raises StorageError if the file cannot be read or is not valid."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StorageError(f"cannot read {self.path}: {reason(error)}") from error
        try:
            return {key.id: key for key in _FILE.validate_json(content)}
        except pydantic.ValidationError as error:
            raise StorageError(
                f"{self.path} is damaged: it is not a list of keys; restore it from a backup, or "
                "delete it and create new keys"
            ) from error

    @contextlib.contextmanager
    def _edit(self) -> Iterator[dict[str, Key]]:
        """Lock the file and yield the keys; they are written when the `with` block ends."""
        with locked(self.path.with_suffix(".lock")):
            keys = self.read()
            yield keys
            content = _FILE.dump_json(list(keys.values()), indent=1)
            try:
                write_atomically(self.path, content, durable=True)
            except OSError as error:
                raise StorageError(f"cannot write {self.path}: {reason(error)}") from error


_FILE = pydantic.TypeAdapter(list[Key])


class KeyVerifier:
    """Verifies the API keys of requests, and reads the file of keys again when it has changed."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._version = self._file_version()
        self._keys = keyring.read()
        self._next_check = 0.0

    def verify(self, text: str) -> Key | None:
        """The stored key with this text, or None.

        The comparison takes the same time for all secrets, so that a client cannot guess one step
        by step.
        """
        self._reload()
        key = self._keys.get(key_id(text))
        matches = hmac.compare_digest(_digest(text), key.digest if key else _NO_KEY)
        return key if matches else None

    def _reload(self) -> None:
        """Read the file again if it has changed; while the file is damaged, no key is valid."""
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + RELOAD_SECONDS
        version = self._file_version()
        if version != self._version:
            self._version = version
            try:
                self._keys = self._keyring.read()
            except StorageError as error:
                _log.error(str(error))
                self._keys = {}

    def _file_version(self) -> tuple[int, int, int] | None:
        """Inode, size and modification time of the file; None if it is missing."""
        try:
            status = self._keyring.path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns


def key_id(text: str) -> str:
    """The id in the text of a key."""
    _, _, rest = text.partition("_")
    return rest.partition("_")[0]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


_NO_KEY = _digest("")
