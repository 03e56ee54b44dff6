"""Where data lies: a local path, an object store (`s3://`, `gs://`), or `-`, a standard stream."""

import contextlib
import dataclasses
import os
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import pyarrow as pa
import pyarrow.fs

from entities.errors import DataError, StorageError, reason

STREAM = "-"
STREAM_FORMATS = ("jsonl", "csv")


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

    def info(self) -> pyarrow.fs.FileInfo | None:
        """Kind, size and time of change; None of a standard stream. Raises DataError."""
        if self.filesystem is None:
            return None
        try:
            return self.filesystem.get_file_info(self.path)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self} cannot be read: {reason(error)}") from error

    def beside(self, name: str) -> "Location":
        """Another name in the same folder."""
        return Location(_beside(self.text, name), _beside(self.path, name), self.filesystem)

    def files(self) -> list["Location"]:
        """All files of this folder and the folders in it, in order of path; raises DataError."""
        if self.filesystem is None:
            return []
        try:
            selector = pyarrow.fs.FileSelector(self.path, recursive=True)
            found = self.filesystem.get_file_info(selector)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"folder {self} cannot be read: {reason(error)}") from error
        return [
            Location(f"{self.text.rstrip('/')}{path[len(self.path) :]}", path, self.filesystem)
            for path in sorted((one.path for one in found if one.is_file), key=PurePosixPath)
        ]

    def open(self) -> pa.NativeFile:
        """Open for reading; a file anywhere, a standard stream from where it is."""
        if self.filesystem is None:
            return pa.PythonFile(sys.stdin.buffer, "r")
        return self.filesystem.open_input_file(self.path)


def _beside(path: str, name: str) -> str:
    return f"{path[: path.rfind('/') + 1]}{name}"


Where: TypeAlias = str | Path | Location


def locate(where: Where, stream_format: str = STREAM_FORMATS[0]) -> Location:
    """What a path or an address means; raises DataError for one that no file system knows."""
    if isinstance(where, Location):
        return where
    text = str(where)
    if text == STREAM:
        return Location(text, f"{STREAM}.{stream_format}", None)
    if "://" not in text:
        return Location(text, text.rstrip("/") or text, pyarrow.fs.LocalFileSystem())
    try:
        quoted = urllib.parse.quote(text, safe=":/?&=%@+,;~[]")
        filesystem, path = pyarrow.fs.FileSystem.from_uri(quoted)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{text} is not an address that can be used: {reason(error)}") from error
    return Location(text, path, filesystem)


@contextlib.contextmanager
def whole_file(location: Location, drafts: Path | None = None) -> Iterator[pa.NativeFile]:
    """A stream to a file that appears under its name when all is written, or not at all.

    Until then it is in the folder `drafts`, of the same file system, or beside its place under a
    name of this process. Raises StorageError for a full disk or a store that refuses.
    """
    filesystem = location.filesystem
    if filesystem is None:
        with pa.PythonFile(_Unclosed(), "w") as stream:
            yield stream
        return
    beside = location.beside(f".{location.name}.{os.getpid()}.part").path
    draft = str(drafts / f"{location.name}.part") if drafts else beside
    try:
        with filesystem.open_output_stream(draft, compression=None) as stream:
            yield stream
        filesystem.move(draft, location.path)
    except OSError as error:
        raise StorageError(f"{location} was not written: {reason(error)}") from error
    except pa.ArrowException as error:
        raise StorageError(f"{location} was not written: is the disk full?") from error
    finally:
        with contextlib.suppress(OSError, pa.ArrowException):
            filesystem.delete_file(draft)


class _Unclosed:
    """Standard output as a file that stays open for those who come after."""

    closed = False

    def write(self, data: bytes) -> int:
        return sys.stdout.buffer.write(data)

    def flush(self) -> None:
        sys.stdout.buffer.flush()

    def close(self) -> None:
        self.flush()

    def writable(self) -> bool:
        return True
