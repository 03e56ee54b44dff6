"""Files and folders on this machine that several processes share: replacement, locks, temporaries.

A file is replaced by a rename, so readers find either the old content or the new content. A lock
belongs to an open file: the operating system releases it when its process ends, however it ends.
"""

import contextlib
import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from labelwright.entities.errors import StorageError, reason

PART = ".part"
"""The suffix of a file that is not complete yet."""
_NAME_LIMIT = 50
"""Characters of a file's name that are kept in the name of its temporary file or folder."""


@contextlib.contextmanager
def atomic_replacement(path: Path, temporary: Path | None = None) -> Iterator[Path]:
    """Give the path of a temporary file, which replaces `path` when the block succeeds.

    When the block fails, the temporary file is removed and `path` stays as it was. By default the
    temporary file lies in the same folder; another one must lie on the same file system. Raises
    OSError.
    """
    temporary = temporary or path.with_name(f"{_hidden(path)}{secrets.token_hex(4)}{PART}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes, durable: bool = False) -> None:
    """Replace a file that only its owner may read; raises OSError.

    A `durable` write is on the disk when this returns, so it survives a power failure.
    """
    with atomic_replacement(path) as temporary:
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(number)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file that only its owner may read; raises OSError.

    Values that JSON does not have, such as paths, are written as text.
    """
    write_atomically(path, json.dumps(content, default=str).encode())


@contextlib.contextmanager
def temporary_folder(parent: Path | None = None, name: str = "labelwright") -> Iterator[Path]:
    """Give a new folder that is removed with its content after the block, unless it was moved.

    `parent` is where it lies, by default the system's folder for temporary files (`TMPDIR`); it is
    made if it does not exist. Raises StorageError if no folder can be made there.
    """
    try:
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        made = tempfile.TemporaryDirectory(
            prefix=f"{name[:_NAME_LIMIT]}-", dir=parent, ignore_cleanup_errors=True
        )
    except OSError as error:
        raise StorageError(
            f"no temporary folder can be made in {parent}: {reason(error)}"
            if parent
            else f"no temporary folder can be made: {reason(error)}; TMPDIR can name another place"
        ) from error
    with made as folder:
        yield Path(folder)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file during the block; wait while another process holds it.

    The file and its folder are made if they do not exist. Raises StorageError if they cannot be.
    """
    with _lock_file(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock of a file during the block, if no other process holds it; never wait.

    Gives whether the lock is held. Raises StorageError as `locked` does.
    """
    with _lock_file(path) as file:
        yield try_lock(file)


def try_lock(file: IO[Any]) -> bool:
    """Lock an open file until it is closed; false if another process holds the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of an existing file; raises OSError."""
    with path.open() as file:
        return not try_lock(file)


def write_failure(folder: Path, size: int = 0) -> str | None:
    """Why a file of `size` bytes cannot be written in a folder; None if it can be."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(size))
    except OSError as error:
        return reason(error)
    return None


@contextlib.contextmanager
def _lock_file(path: Path) -> Iterator[IO[str]]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {reason(error)}") from error
    with file:
        yield file


def _hidden(path: Path) -> str:
    return f".{path.name[:_NAME_LIMIT]}-"
