"""A bundle as one file: an uncompressed ZIP archive of the files of the bundle.

Equal bundles give equal archives. An archive is read as input of strangers: no member may be
compressed, so an archive never becomes larger than it is, and its members must be exactly the files
of a bundle. The names in an archive are only compared, and are never used as paths.
"""

import hashlib
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from pyarrow.fs import FileType

from labelwright.entities.errors import (
    BundleError,
    DataError,
    ModelNotFoundError,
    StorageError,
    reason,
)
from labelwright.entities.io.locations import Location, open_output
from labelwright.models.bundle.files import open_file
from labelwright.models.bundle.format import MANIFEST, Bundle, Manifest, read_bundle, read_manifest

_FIRST_DAY = (1980, 1, 1, 0, 0, 0)
"""The time of all members: the earliest time of the format."""
_CHUNK = 1 << 20
"""The number of bytes that are read at once."""
_UNREADABLE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    struct.error,
)
"""The errors that `zipfile` raises for damaged archives."""
_Result = TypeVar("_Result")


def write_archive(bundle: Path, output: Location) -> Manifest:
    """Write the files of a bundle to an archive, which appears when it is complete.

    Raises ModelNotFoundError if there is no bundle, BundleError if it is damaged, DataError if the
    output is a standard stream, and StorageError as `open_output` does.
    """
    if output.filesystem is None:
        raise DataError(f"a model is not written to a standard stream: name a file, not {output}")
    manifest = read_manifest(bundle)
    with open_output(output) as stream, zipfile.ZipFile(stream, "w") as archive:
        _add(archive, bundle / MANIFEST)
        for name, expected in sorted(manifest.files.items()):
            if _add(archive, bundle / name) != expected:
                raise BundleError(
                    f"bundle {bundle}: {name} is corrupt (its hash has changed): copy it again"
                )
    return manifest


def read_archive(source: Location, folder: Path) -> Bundle:
    """Write the files of an archive to a new folder, and read and check the bundle there.

    Raises ModelNotFoundError if there is no file, BundleError if it is not an archive or is
    damaged, and StorageError if the folder cannot be written.
    """
    size = _size(source)
    try:
        file = _undamaged(source, source.open)
        with file, _undamaged(source, lambda: zipfile.ZipFile(_BoundedReads(file))) as archive:
            _unpack(source, archive, size, folder)
        return read_bundle(folder)
    except BundleError as error:  # the folder is temporary, and the user knows only the file
        raise type(error)(str(error).replace(str(folder), str(source))) from error


def _unpack(source: Location, archive: zipfile.ZipFile, size: int, folder: Path) -> None:
    """Write the members to a folder: first the manifest, then the files that it lists."""
    members = {member.filename: member for member in archive.infolist()}
    if MANIFEST not in members or sum(member.file_size for member in archive.infolist()) > size:
        raise _damaged(source, "its list of files is not that of a model")
    folder.mkdir()
    _extract(source, archive, members[MANIFEST], folder / MANIFEST)
    names = {MANIFEST, *read_manifest(folder).files}
    if sorted(archive.namelist()) != sorted(names):
        raise _damaged(source, "its files are not those of a model")
    for name in sorted(names - {MANIFEST}):
        _extract(source, archive, members[name], folder / name)


def _extract(
    source: Location, archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path
) -> None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if member.compress_type != zipfile.ZIP_STORED or kind not in (0, stat.S_IFREG):
        raise _damaged(source, f"{path.name} is compressed or is not a regular file")
    try:
        with path.open("wb") as file:
            for chunk in _content(source, archive, member):
                file.write(chunk)
    except OSError as error:
        raise StorageError(
            f"{source} was not unpacked to {path.parent}: {reason(error)}; free disk space, or let "
            "TMPDIR name another folder"
        ) from error


def _content(
    source: Location, archive: zipfile.ZipFile, member: zipfile.ZipInfo
) -> Iterator[bytes]:
    """Yield the content of a member in chunks; raises BundleError."""
    with _undamaged(source, lambda: archive.open(member)) as file:
        while chunk := _undamaged(source, lambda: file.read(_CHUNK)):
            yield chunk


def _add(archive: zipfile.ZipFile, path: Path) -> str:
    """Add a file to an archive and return its SHA-256; raises BundleError."""
    member = zipfile.ZipInfo(path.name, _FIRST_DAY)
    member.create_system, member.external_attr = 3, (stat.S_IFREG | 0o644) << 16  # Unix
    digest = hashlib.sha256()
    try:
        source = open_file(path)
    except OSError as error:
        raise BundleError(f"bundle {path.parent}: {path.name} cannot be read") from error
    with source, archive.open(member, "w", force_zip64=True) as target:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            target.write(chunk)
    return digest.hexdigest()


def _size(source: Location) -> int:
    """The size of an archive in bytes; raises ModelNotFoundError or BundleError."""
    if source.filesystem is None:
        raise DataError("a model is not read from a standard stream: name a file")
    info = source.info()
    if info is None or info.type == FileType.NotFound:
        raise ModelNotFoundError(f"there is no file {source}: name a file of `labelwright export`")
    if not info.is_file:
        raise BundleError(f"{source} is not a file: name a file of `labelwright export`")
    return int(info.size)


def _undamaged(source: Location, read: Callable[[], _Result]) -> _Result:
    """The result of a reading function; raises BundleError if the archive is damaged."""
    try:
        return read()
    except PermissionError as error:
        raise BundleError(f"{source} cannot be read: {reason(error)}") from error
    except _UNREADABLE as error:
        raise _damaged(source, reason(error)) from error


def _damaged(source: Location, finding: str) -> BundleError:
    return BundleError(
        f"{source} is damaged, or is not a file of `labelwright export`: {finding}; copy it again, "
        "or export the model again"
    )


class _BoundedReads:
    """A file that returns at most _CHUNK bytes at once.

    `zipfile` reads the whole directory of an archive in one call, and believes the size that the
    archive states. A larger directory is cut here, which is an error.
    """

    def __init__(self, file: IO[bytes] | Any) -> None:
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        self._read = file.read

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes, and at most _CHUNK."""
        return bytes(self._read(_CHUNK if size < 0 else min(size, _CHUNK)))
