"""Locations of data: local paths, object stores (`s3://`, `gs://`), and `-`, a standard stream."""

import contextlib
import dataclasses
import os
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.fs

from labelwright.entities.errors import DataError, StorageError, reason
from labelwright.entities.io.files import PART, atomic_replacement, temporary_folder

STREAM = "-"
STREAM_FORMATS = ("jsonl", "csv")
_FILE_ERRORS = (OSError, pa.ArrowException)


@dataclasses.dataclass(frozen=True)
class Location:
    """A file or a folder.

    `text` is the location as the user gave it, and `path` is its path within `filesystem`. For a
    standard stream, `filesystem` is None, and `path` is `-` with the suffix of the format.
    """

    text: str
    path: str
    filesystem: pyarrow.fs.FileSystem | None

    def __str__(self) -> str:
        return self.text

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name

    @property
    def local(self) -> Path | None:
        """The path on this machine; None if the location is elsewhere."""
        is_local = isinstance(self.filesystem, pyarrow.fs.LocalFileSystem)
        return Path(self.path) if is_local else None

    @property
    def written_path(self) -> Path | None:
        """The path on this machine that is written: symbolic links are followed; None elsewhere."""
        return Path(os.path.realpath(self.local)) if self.local else None

    @property
    def address(self) -> str:
        """The absolute path, or the URI without its query."""
        return str(self.local.resolve()) if self.local else self.text.partition("?")[0]

    @property
    def absolute(self) -> "Location":
        """The same location by a path that does not depend on the current folder."""
        return locate(self.address) if self.local else self

    def contains(self, other: "Location") -> bool:
        """Whether another location is equal to this one or inside this folder."""
        if self.filesystem is None or other.filesystem is None:
            return False
        return PurePosixPath(other.address).is_relative_to(PurePosixPath(self.address))

    def info(self) -> pyarrow.fs.FileInfo | None:
        """Kind, size and time of the last change; None for a standard stream. Raises DataError."""
        if self.filesystem is None:
            return None
        try:
            return self.filesystem.get_file_info(self.path)
        except _FILE_ERRORS as error:
            raise DataError(f"{self} cannot be read: {reason(error)}") from error

    def sibling(self, name: str) -> "Location":
        """The location of a file called `name` in the same folder."""
        address, mark, settings = self.text.partition("?")
        text = f"{_beside(address, name)}{mark}{settings}"
        return Location(text, _beside(self.path, name), self.filesystem)

    def files(self) -> list["Location"]:
        """All files of this folder and its subfolders, in order of path; raises DataError.

        Files and folders whose name begins with `.` or `_` are left out, because programs use them
        for drafts and notes. Folders like `_name=value` are not.
        """
        if self.filesystem is None:
            return []
        try:
            selector = pyarrow.fs.FileSelector(self.path, recursive=True)
            found = self.filesystem.get_file_info(selector)
        except _FILE_ERRORS as error:
            raise DataError(f"folder {self} cannot be read: {reason(error)}") from error
        folder = self.text.partition("?")[0].rstrip("/")
        return [
            Location(f"{folder}{path[len(self.path) :]}", path, self.filesystem)
            for path in sorted((one.path for one in found if one.is_file), key=PurePosixPath)
            if not _is_hidden(path[len(self.path) :])
        ]

    def open(self) -> pa.NativeFile:
        """Open for reading; `-` is standard input. Raises DataError if standard input is closed."""
        if self.filesystem is not None:
            return self.filesystem.open_input_file(self.path)
        if sys.stdin is None:
            raise DataError("standard input is closed")
        return pa.PythonFile(sys.stdin.buffer, "r")


def _is_hidden(path: str) -> bool:
    return any(
        name.startswith(".") or (name.startswith("_") and "=" not in name)
        for name in path.split("/")
    )


def _beside(path: str, name: str) -> str:
    return f"{path[: path.rfind('/') + 1]}{name}"


LocationLike: TypeAlias = str | Path | Location


def locate(where: LocationLike, stream_format: str = STREAM_FORMATS[0]) -> Location:
    """The location of a path, a URI or `-`; raises DataError if it cannot be used.

    `stream_format` is the format of the data if the location is a standard stream.
    """
    if isinstance(where, Location):
        return where
    text = str(where)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError("a path must be valid UTF-8") from error
    if text == STREAM:
        return Location(text, f"{STREAM}.{stream_format}", None)
    if "://" not in text:
        return Location(text, text.rstrip("/") or text, pyarrow.fs.LocalFileSystem())
    if "@" in urllib.parse.urlsplit(text).netloc:
        raise DataError(
            "a URI must not hold credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "the variables of your store"
        )
    try:
        quoted = urllib.parse.quote(text, safe=":/?&=%@+,;~[]")
        filesystem, path = pyarrow.fs.FileSystem.from_uri(quoted)
    except _FILE_ERRORS as error:
        raise DataError(f"{text} is not a URI that can be used: {reason(error)}") from error
    return Location(text, path, filesystem)


@contextlib.contextmanager
def open_output(location: Location, work_folder: Path | None = None) -> Iterator[Any]:
    """Open a stream to an output file, which appears under its name when it is complete.

    Until then, the content is in a temporary file in `work_folder`. The default is the folder of
    the output or, for an object store, the system's folder for temporary files. If the block fails,
    the temporary file is removed. A local file is flushed to the disk before it appears. Output to
    a standard stream is written immediately. A symbolic link is followed, and stays. Raises
    StorageError if the disk is full, the store refuses the file or the output is a pipe or a
    device.
    """
    try:
        if location.filesystem is None:
            with pa.PythonFile(_StandardStream("stdout"), "w") as stream:
                yield stream
            return
        part = work_folder / f"{location.name}{PART}" if work_folder else None
        if path := location.written_path:
            _check_regular(path)
            near = work_folder and work_folder.resolve().parent == path.parent
            written = atomic_replacement(path, part if near else None, durable=True)
        else:
            written = _uploaded(location, part)
        with written as temporary, pa.OSFile(str(temporary), "wb") as stream:
            yield stream
    except BrokenPipeError:
        raise
    except _FILE_ERRORS as error:
        raise StorageError(f"{location} was not written: {reason(error)}") from error


def _check_regular(path: Path) -> None:
    """Raise OSError if a path is that of a pipe, a socket or a device."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(
            "it is a pipe or a device, and no file; give - as output, and redirect standard output"
        )


@contextlib.contextmanager
def _uploaded(location: Location, temporary: Path | None) -> Iterator[Path]:
    """Yield the path of a temporary file, which is copied to a store when the block succeeds."""
    with contextlib.ExitStack() as stack:
        if temporary is None:
            temporary = stack.enter_context(temporary_folder()) / location.name
        try:
            yield temporary
            pyarrow.fs.copy_files(
                str(temporary), location.path, destination_filesystem=location.filesystem
            )
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


class _StandardStream:
    """A standard stream as a writable file; `close` flushes the stream but does not close it."""

    closed = False

    def __init__(self, name: str) -> None:
        self._name = name

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:  # an unbuffered stream may write only a part
            rest = rest[self._buffer.write(rest) :]
        return len(data)

    def flush(self) -> None:
        self._buffer.flush()

    def close(self) -> None:
        self.flush()

    def writable(self) -> bool:
        return True

    @property
    def _buffer(self) -> Any:
        stream = getattr(sys, self._name)
        if stream is None:
            raise StorageError(f"the standard stream {self._name} is closed")
        return stream.buffer


def standard_error_stream() -> Any:
    """Standard error as a writable binary file."""
    return _StandardStream("stderr")
