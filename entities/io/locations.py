"""Where data lies: a local path, an object store (`s3://`, `gs://`), or `-`, a standard stream."""

import contextlib
import dataclasses
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
_REFUSED = (OSError, pa.ArrowException)


@dataclasses.dataclass(frozen=True)
class Location:
    """A file or a folder; `path` is how its file system names it.

    A standard stream has no file system; its `name` ends like that of a file of its format.
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
        """The path on this machine, if it is one."""
        is_local = isinstance(self.filesystem, pyarrow.fs.LocalFileSystem)
        return Path(self.path) if is_local else None

    @property
    def address(self) -> str:
        """What leads here from anywhere: the whole path, or the address without its settings."""
        return str(self.local.resolve()) if self.local else self.text.partition("?")[0]

    @property
    def absolute(self) -> "Location":
        """The same, by a path that does not depend on the current folder."""
        return locate(self.address) if self.local else self

    def contains(self, other: "Location") -> bool:
        """Whether another location is this one or lies in it."""
        if self.filesystem is None or other.filesystem is None:
            return False
        return PurePosixPath(other.address).is_relative_to(PurePosixPath(self.address))

    def info(self) -> pyarrow.fs.FileInfo | None:
        """Kind, size and time of change; None of a standard stream. Raises DataError."""
        if self.filesystem is None:
            return None
        try:
            return self.filesystem.get_file_info(self.path)
        except _REFUSED as error:
            raise DataError(f"{self} cannot be read: {reason(error)}") from error

    def sibling(self, name: str) -> "Location":
        """Another name in the same folder."""
        address, mark, settings = self.text.partition("?")
        text = f"{_beside(address, name)}{mark}{settings}"
        return Location(text, _beside(self.path, name), self.filesystem)

    def files(self) -> list["Location"]:
        """All files of this folder and the folders in it, in order of path; raises DataError."""
        if self.filesystem is None:
            return []
        try:
            selector = pyarrow.fs.FileSelector(self.path, recursive=True)
            found = self.filesystem.get_file_info(selector)
        except _REFUSED as error:
            raise DataError(f"folder {self} cannot be read: {reason(error)}") from error
        folder = self.text.partition("?")[0].rstrip("/")
        return [
            Location(f"{folder}{path[len(self.path) :]}", path, self.filesystem)
            for path in sorted((one.path for one in found if one.is_file), key=PurePosixPath)
        ]

    def open(self) -> pa.NativeFile:
        """Open for reading; a file anywhere, a standard stream from where it is."""
        if self.filesystem is not None:
            return self.filesystem.open_input_file(self.path)
        if sys.stdin is None:
            raise DataError("standard input is closed")
        return pa.PythonFile(sys.stdin.buffer, "r")


def _beside(path: str, name: str) -> str:
    return f"{path[: path.rfind('/') + 1]}{name}"


LocationLike: TypeAlias = str | Path | Location


def locate(where: LocationLike, stream_format: str = STREAM_FORMATS[0]) -> Location:
    """What a path or an address means; raises DataError for one that no file system knows."""
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
        raise DataError("an address must not hold keys: set AWS_ACCESS_KEY_ID and its like")
    try:
        quoted = urllib.parse.quote(text, safe=":/?&=%@+,;~[]")
        filesystem, path = pyarrow.fs.FileSystem.from_uri(quoted)
    except _REFUSED as error:
        raise DataError(f"{text} is not an address that can be used: {reason(error)}") from error
    return Location(text, path, filesystem)


@contextlib.contextmanager
def open_output(location: Location, drafts: Path | None = None) -> Iterator[Any]:
    """A stream to a file that appears under its name when all is written, or not at all.

    Until then it lies in the folder `drafts`, or else beside its place under a name of this
    process, or of a store in a folder for temporary files. Raises StorageError for a full disk or
    a store that refuses; what is written to a standard stream is out at once.
    """
    try:
        if location.filesystem is None:
            with pa.PythonFile(_Unclosed("stdout"), "w") as stream:
                yield stream
            return
        part = drafts / f"{location.name}{PART}" if drafts else None
        written = (
            atomic_replacement(location.local, part)
            if location.local
            else (_uploaded(location, part))
        )
        with written as temporary, pa.OSFile(str(temporary), "wb") as stream:
            yield stream
    except BrokenPipeError:
        raise
    except _REFUSED as error:
        raise StorageError(f"{location} was not written: {reason(error)}") from error


@contextlib.contextmanager
def _uploaded(location: Location, temporary: Path | None) -> Iterator[Path]:
    """Give the path of a temporary file, which is copied to a store when the block succeeds."""
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


class _Unclosed:
    """A standard stream to write to as a file, which stays open for those who come after."""

    closed = False

    def __init__(self, name: str) -> None:
        self._name = name

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:  # a stream without a buffer may take a part only
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
    """Standard error as a file to write bytes to."""
    return _Unclosed("stderr")
