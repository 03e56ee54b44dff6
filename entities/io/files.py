"""Local files that several processes share: atomic replacement, locks and temporary folders.

A file is replaced by a rename, so readers find either the old content or the new content. A lock
belongs to an open file. When a process ends, even by a crash, the operating system releases its
locks.
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
"""The largest number of characters of a file's name in the name of its temporary file."""


@contextlib.contextmanager
def atomic_replacement(
    path: Path, temporary: Path | None = None, durable: bool = False
) -> Iterator[Path]:
    """Yield the path of a temporary file, which replaces `path` when the block succeeds.

    When the block fails, the temporary file is removed and `path` does not change. By default the
    temporary file is in the folder of `path`. A given `temporary` must be on the same file system.
    If `durable` is true, the content is flushed to the disk before it replaces `path`, so a power
    failure leaves the old or the new content. Raises OSError.
    """
    temporary = temporary or path.with_name(f"{_hidden(path)}{secrets.token_hex(4)}{PART}")
    try:
        yield temporary
        if durable:
            flush_to_disk(temporary)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if durable:
        flush_to_disk(path.parent)


def flush_to_disk(path: Path) -> None:
    """Flush the content of a file, or the names in a folder, to the disk; raises OSError.

    Some file systems cannot flush a folder, or refuse to open it. This is not an error.
    """
    try:
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
    except OSError:
        if not path.is_dir():
            raise


def write_atomically(path: Path, content: bytes, durable: bool = False) -> None:
    """Replace a file by new content that only its owner may read; raises OSError.

    `durable` is the argument of `atomic_replacement`.
    """
    with atomic_replacement(path, durable=durable) as temporary:
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "wb") as file:
            file.write(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a file by JSON that only its owner may read; raises OSError.

    Values of types that JSON does not have, such as paths, are written as text.
    """
    write_atomically(path, json.dumps(content, default=str).encode())


@contextlib.contextmanager
def temporary_folder(parent: Path | None = None, name: str = "labelwright") -> Iterator[Path]:
    """Yield a new folder, which is removed with its content after the block unless it was moved.

    The folder is created in `parent`, by default the system's folder for temporary files
    (`TMPDIR`). A `parent` that does not exist is created. Raises StorageError if this fails.
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

    The file and its folder are created if they do not exist. Raises StorageError if this fails.
    """
    with _lock_file(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock of a file during the block if it is free; never wait.

    Yields true if this process holds the lock, false if another one does. Raises StorageError as
    `locked` does.
    """
    with _lock_file(path) as file:
        yield try_lock(file)


def try_lock(file: IO[Any]) -> bool:
    """Lock an open file until it is closed; returns false if another process holds the lock."""
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
    """The reason why a file of `size` bytes cannot be written in a folder; None if it can."""
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
