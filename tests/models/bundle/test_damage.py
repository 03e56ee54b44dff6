"""Damaged bundles: every change of a file of the bundle is an error."""

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from labelwright.entities.errors import BundleError, ModelNotFoundError
from labelwright.models.bundle.format import MANIFEST, read_bundle, read_manifest


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != MANIFEST)


def check_errors(folder: Path, damage: Callable[[Path], object]) -> None:
    """For each file but the manifest: damage it, check that the error names it, and restore it."""
    for name in names(folder):
        path = folder / name
        content = path.read_bytes()
        damage(path)
        with pytest.raises(BundleError, match=name.replace(".", r"\.")):
            read_bundle(folder)
        if path.is_symlink():
            path.unlink()
        elif path.is_dir():
            path.rmdir()
        path.write_bytes(content)
    read_bundle(folder)


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: [path.unlink(), path.mkdir()],
        lambda path: [path.unlink(), path.symlink_to("nowhere")],
    ],
    ids=["gone", "empty", "cut", "half", "longer", "zeros", "folder", "link"],
)
def test_a_damaged_file_is_an_error_that_names_it(
    copy: Path, damage: Callable[[Path], object]
) -> None:
    check_errors(copy, damage)


def test_a_file_with_any_bit_changed_is_an_error(copy: Path) -> None:
    source = random.Random(0)
    for _ in range(10):

        def flip(path: Path) -> None:
            content = bytearray(path.read_bytes())
            content[source.randrange(len(content))] ^= 1 << source.randrange(8)
            path.write_bytes(content)

        check_errors(copy, flip)


def test_two_files_that_are_swapped_are_an_error(copy: Path) -> None:
    contents = {name: (copy / name).read_bytes() for name in names(copy)}
    for one, other in itertools.combinations(contents, 2):
        if contents[one] == contents[other]:
            continue
        (copy / one).write_bytes(contents[other])
        (copy / other).write_bytes(contents[one])
        with pytest.raises(BundleError, match="is corrupt"):
            read_bundle(copy)
        for name in (one, other):
            (copy / name).write_bytes(contents[name])
    read_bundle(copy)


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_truncated_manifest_is_an_error(copy: Path, keep: int) -> None:
    (copy / MANIFEST).write_bytes((copy / MANIFEST).read_bytes()[:keep])
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read"):
        read_bundle(copy)


def test_a_manifest_with_any_bit_changed_is_read_or_is_an_error(copy: Path) -> None:
    content = (copy / MANIFEST).read_bytes()
    source = random.Random(0)
    outcomes = set()
    for _ in range(300):
        changed = bytearray(content)
        changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
        (copy / MANIFEST).write_bytes(changed)
        try:
            read_bundle(copy)
            outcomes.add("read")
        except BundleError:
            outcomes.add("refused")
    assert "refused" in outcomes


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"slope": ', '"slope": 1'),
        ('"candidates": 15', '"candidates": 14'),
        ('"balanced"', '"bblanced"'),
        ('"website": {', '"webside": {'),
        ('"content": "', '"content": "0'),
        ('"f1": 0.5', '"f1": 0.7'),
    ],
    ids=["slope", "candidates", "policy", "column", "content", "metric"],
)
def test_a_changed_value_in_the_manifest_is_an_error(copy: Path, old: str, new: str) -> None:
    text = (copy / MANIFEST).read_text()
    assert old in text
    (copy / MANIFEST).write_text(text.replace(old, new))
    with pytest.raises(BundleError):
        read_bundle(copy)


@pytest.mark.parametrize("read", [read_bundle, read_manifest])
def test_a_folder_without_a_manifest_is_not_a_bundle(
    copy: Path, tmp_path: Path, read: Callable[[Path], object]
) -> None:
    (copy / MANIFEST).unlink()
    for folder in (copy, tmp_path / "missing", copy / "labels.json"):
        with pytest.raises(ModelNotFoundError, match=r"no bundle at .* it has no manifest\.json"):
            read(folder)


def test_a_folder_in_place_of_the_manifest_is_an_error(copy: Path) -> None:
    (copy / MANIFEST).unlink()
    (copy / MANIFEST).mkdir()
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read"):
        read_bundle(copy)


def test_other_files_in_the_folder_are_ignored(copy: Path) -> None:
    (copy / "README.md").write_text("hello")
    (copy / "__pycache__").mkdir()
    assert read_bundle(copy).manifest == read_manifest(copy)
