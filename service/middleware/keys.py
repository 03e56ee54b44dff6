"""Keys: who may ask the service, and for what. They lie in the state folder, as hashes.

A key is `lw_ID_SECRET`. The secret is 256 random bits, so that one round of SHA-256 is enough: slow
hashes protect words that people think of, and would let anybody keep the service busy with guesses.
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

NOTICED_WITHIN = 0.5
"""Seconds after which a running service looks for keys that were made or revoked."""
NAME_LIMIT = 100
RATE_LIMIT = 1_000_000
_log = logging.getLogger(__name__)


class Role(enum.StrEnum):
    """What a key may do; each role may do also what those before it may."""

    LABEL = "label"
    FEEDBACK = "feedback"
    ADMIN = "admin"

    def includes(self, other: "Role") -> bool:
        """Whether this role may do what the other may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@pydantic.dataclasses.dataclass(frozen=True, config=pydantic.ConfigDict(extra="forbid"))
class Key:
    """What is kept of a key: its hash, and what is said about it.

    `rate` is how many requests a second it may send, 0 for as many as there are, and `burst` how
    many at once.
    """

    id: str
    name: str
    role: Role
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    created: str
    rate: Annotated[float, Field(ge=0, le=RATE_LIMIT)] = 0.0
    burst: Annotated[int, Field(ge=0, le=RATE_LIMIT)] = 0


class Keyring:
    """The keys in a file; changes are atomic, and one at a time over all processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, name: str, role: Role, rate: float = 0.0, burst: int = 0) -> str:
        """Make a key and return it; it is shown here and never again.

        Raises RequestError for a name that is taken, StorageError.
        """
        if not 0 < len(name) <= NAME_LIMIT or not name.isprintable():
            raise RequestError(f"a key's name has 1 to {NAME_LIMIT} printable characters")
        if not 0 <= rate <= RATE_LIMIT or not 0 <= burst <= RATE_LIMIT:
            raise RequestError(f"rate and burst must lie between 0 and {RATE_LIMIT:,}")
        identifier, secret = secrets.token_hex(4), secrets.token_hex(32)
        text = f"lw_{identifier}_{secret}"
        made = datetime.now(UTC).isoformat(timespec="seconds")
        burst = burst or max(1, round(rate))
        with self._changing() as keys:
            if any(name == key.name for key in keys.values()):
                raise RequestError(f"there is a key {name!r} already; revoke it first")
            key = Key(identifier, name, role, _digest(text), made, rate, burst)
            keys[identifier] = key
        return text

    def revoke(self, named: str) -> Key:
        """Let a key, named by its name or id, open nothing any more; raises RequestError."""
        with self._changing() as keys:
            found = [key for key in keys.values() if named in (key.name, key.id, f"lw_{key.id}")]
            if not found:
                raise RequestError("there is no such key; `labelwright keys list` lists them")
            return keys.pop(found[0].id)

    def read(self) -> dict[str, Key]:
        """All keys by their ids; raises StorageError."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StorageError(f"{self.path} cannot be read: {reason(error)}") from error
        try:
            return {key.id: key for key in _FILE.validate_json(content)}
        except pydantic.ValidationError as error:
            raise StorageError(f"{self.path} is damaged: it is no list of keys") from error

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        """The keys, which are written again when the body has changed them."""
        with locked(self.path.with_suffix(".lock")):
            keys = self.read()
            yield keys
            content = _FILE.dump_json(list(keys.values()), indent=1)
            try:
                write_atomically(self.path, content, durable=True)
            except OSError as error:
                raise StorageError(f"{self.path} was not written: {reason(error)}") from error


_FILE = pydantic.TypeAdapter(list[Key])


class KeyVerifier:
    """Knows the keys of a running service, and notices changes without a restart."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._state = self._look()
        self._keys = keyring.read()
        self._next_look = 0.0

    def find(self, text: str) -> Key | None:
        """The key, if it is in use; how long this takes tells nothing of the secret."""
        self._refresh()
        _, _, rest = text.partition("_")
        key = self._keys.get(rest.partition("_")[0])
        matches = hmac.compare_digest(_digest(text), key.digest if key else _NOBODYS)
        return key if matches else None

    def _refresh(self) -> None:
        """Read the file again if it is another than before.

        A damaged file, which only another hand than ours can have made, opens nothing.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + NOTICED_WITHIN
        state = self._look()
        if state != self._state:
            self._state = state
            try:
                self._keys = self._keyring.read()
            except StorageError as error:
                _log.error(str(error))
                self._keys = {}

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._keyring.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


_NOBODYS = _digest("")
