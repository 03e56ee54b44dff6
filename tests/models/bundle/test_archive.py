"""Archives: equal bundles give equal bytes, and a changed archive is an error or the same model."""

import dataclasses
import json
import random
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from labelwright.entities.errors import BundleError, DataError, ModelNotFoundError
from labelwright.entities.io.locations import locate
from labelwright.models.bundle.archive import read_archive, write_archive
from labelwright.models.bundle.format import MANIFEST, read_manifest, seal

Member = tuple[zipfile.ZipInfo, bytes]


@pytest.fixture
def archive(written: Path, tmp_path: Path) -> Path:
    """The archive of `tiny`, in a folder of its own."""
    path = tmp_path / "archives" / "tiny.zip"
    path.parent.mkdir()
    write_archive(written, locate(path))
    return path


def refused(archive: Path, pattern: str) -> None:
    """Assert that an archive is refused with an error that names it, and writes nothing else."""
    folder = archive.parent / f"unpacked-{len(list(archive.parent.iterdir()))}"
    with pytest.raises(BundleError, match=pattern) as raised:
        read_archive(locate(archive), folder)
    assert str(archive) in str(raised.value)
    assert str(folder) not in str(raised.value)


def rewrite(archive: Path, change: Callable[[list[Member]], list[Member]]) -> None:
    """Write an archive again with other members."""
    with zipfile.ZipFile(archive) as before:
        members = [(info, before.read(info)) for info in before.infolist()]
    with warnings.catch_warnings(), zipfile.ZipFile(archive, "w") as after:
        warnings.simplefilter("ignore")  # for members of the same name
        for info, content in change(members):
            after.writestr(info, content)


def test_equal_bundles_give_equal_archives(archive: Path, copy: Path, tmp_path: Path) -> None:
    for path in copy.iterdir():
        path.touch()
        path.chmod(0o600)
    write_archive(copy, locate(tmp_path / "again.zip"))
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def test_an_archive_has_the_files_of_the_bundle_unchanged(
    archive: Path, written: Path, tmp_path: Path
) -> None:
    bundle = read_archive(locate(archive), tmp_path / "unpacked")
    assert bundle.manifest == read_manifest(written)
    files = {path.name: path.read_bytes() for path in written.iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "unpacked").iterdir()} == files
    with zipfile.ZipFile(archive) as opened:
        assert {info.compress_type for info in opened.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize("part", ["anywhere", "in the directory"])
def test_a_changed_byte_is_an_error_or_the_same_model(
    archive: Path, written: Path, tmp_path: Path, part: str
) -> None:
    source, content, files = random.Random(part), archive.read_bytes(), read_manifest(written)
    with zipfile.ZipFile(archive) as opened:
        first = opened.start_dir if part == "in the directory" else 0
    errors = []
    for attempt in range(100):
        changed = bytearray(content)
        changed[source.randrange(first, len(content))] ^= 1 << source.randrange(8)
        archive.write_bytes(changed)
        try:
            assert read_archive(locate(archive), tmp_path / f"{attempt}").manifest == files
        except BundleError as error:
            errors.append(str(error))
    assert len(errors) > (20 if first else 90)
    assert all(str(archive) in error for error in errors)


def test_a_cut_archive_is_an_error(archive: Path, tmp_path: Path) -> None:
    source, content = random.Random(0), archive.read_bytes()
    lengths = [0, 1, 21, 22, len(content) - 1, *(source.randrange(len(content)) for _ in range(50))]
    for attempt, length in enumerate(lengths):
        archive.write_bytes(content[:length])
        with pytest.raises(BundleError, match=r"tiny\.zip is damaged"):
            read_archive(locate(archive), tmp_path / f"{attempt}")


@pytest.mark.parametrize("name", ["../evil", "/evil", "folder/", "evil.py", "labels.json/x"])
def test_a_member_that_no_bundle_has_is_an_error(archive: Path, name: str) -> None:
    before = sorted(archive.parent.parent.iterdir())
    rewrite(archive, lambda members: [*members, (zipfile.ZipInfo(name), b"")])
    refused(archive, "its files are not those of a model")
    assert sorted(archive.parent.parent.iterdir()) == before


@pytest.mark.parametrize("name", [MANIFEST, "labels.json"])
def test_a_missing_or_repeated_member_is_an_error(archive: Path, name: str) -> None:
    content = archive.read_bytes()
    rewrite(archive, lambda members: [m for m in members if m[0].filename != name])
    refused(archive, "is damaged, or is not a file of `labelwright export`: its")
    archive.write_bytes(content)
    rewrite(archive, lambda members: [*members, *(m for m in members if m[0].filename == name)])
    refused(archive, "its files are not those of a model")


def test_a_compressed_member_is_an_error(archive: Path) -> None:
    def compress(members: list[Member]) -> list[Member]:
        (info,) = (info for info, _ in members if info.filename == "implications.ancestors.npy")
        info.compress_type = zipfile.ZIP_DEFLATED
        return members

    rewrite(archive, compress)
    refused(archive, "is compressed or is not a regular file")


def test_a_link_is_an_error(archive: Path) -> None:
    def link(members: list[Member]) -> list[Member]:
        members[-1][0].external_attr = (stat.S_IFLNK | 0o777) << 16
        return [*members[:-1], (members[-1][0], b"/etc/passwd")]

    rewrite(archive, link)
    refused(archive, "is compressed or is not a regular file")


def test_members_that_share_their_bytes_are_an_error(archive: Path) -> None:
    """Many members at the same place would need far more disk space than the archive."""
    with zipfile.ZipFile(archive) as opened:
        names, start = opened.namelist(), opened.start_dir
        largest = max(opened.infolist(), key=lambda info: info.file_size)
    content, entries = archive.read_bytes()[:start], b""
    for name in [*names, *(f"{number}" for number in range(50))]:
        entries += struct.pack(
            "<4s4B4HL2L5H2L",
            *(b"PK\1\2", 45, 3, 45, 0, 8, 0, 0, 33, largest.CRC),
            *(largest.file_size, largest.file_size, len(name), 0, 0, 0, 0, 0),
            largest.header_offset,
        )
        entries += name.encode()
    number = len(names) + 50
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, number, number, len(entries), start, 0)
    archive.write_bytes(content + entries + end)
    refused(archive, "its list of files is not that of a model")


def test_a_directory_without_end_is_not_read(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a") as opened:
        for number in range(20_000):
            opened.writestr(f"{number:060}", b"")
    refused(archive, "is damaged")


def test_a_manifest_with_fields_of_other_types_is_an_error(copy: Path, tmp_path: Path) -> None:
    manifest = read_manifest(copy)
    for field, value in {"details": [], "content": "../x", "labelwright": 7}.items():
        content = dataclasses.asdict(manifest) | {field: value}
        text = json.dumps({**content, "seal": seal(content)})
        (copy / MANIFEST).write_text(text)
        with pytest.raises(BundleError, match="manifest"):
            write_archive(copy, locate(tmp_path / "out.zip"))
        assert not (tmp_path / "out.zip").exists()


def test_a_damaged_bundle_is_not_exported(copy: Path, tmp_path: Path) -> None:
    path = copy / "labels.json"
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    output = tmp_path / "out.zip"
    output.write_text("before")
    with pytest.raises(BundleError, match=r"labels\.json is corrupt"):
        write_archive(copy, locate(output))
    assert output.read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"copy", "out.zip"}


def test_what_is_no_file_is_a_clear_error(written: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="there is no file"):
        read_archive(locate(tmp_path / "none.zip"), tmp_path / "unpacked")
    with pytest.raises(BundleError, match="is not a file"):
        read_archive(locate(tmp_path), tmp_path / "unpacked")
    for stream in (
        lambda: read_archive(locate("-"), tmp_path / "unpacked"),
        lambda: write_archive(written, locate("-")),
    ):
        with pytest.raises(DataError, match="standard stream"):
            stream()
