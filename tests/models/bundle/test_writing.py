"""Writing a bundle: the bundle is complete or does not exist, even if the disk is full."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from labelwright.entities.errors import StorageError
from labelwright.models.bundle.format import write_bundle
from labelwright.models.labeler import Labeler


def test_an_existing_bundle_is_not_replaced(copy: Path, tiny: Labeler) -> None:
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    with pytest.raises(StorageError, match="was not written to"):
        write_bundle(tiny, copy, "9", {})
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_a_failed_write_leaves_no_files(tiny: Labeler, tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_bundle(tiny, tmp_path / "bundle", "1", {"details": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file/bundle", "file/more/bundle", "x" * 300])
def test_a_path_where_no_folder_can_be_created_is_a_storage_error(
    tiny: Labeler, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        write_bundle(tiny, tmp_path / place, "1", {})


ON_A_FULL_DISK = """
import json, resource, sys
from pathlib import Path
from labelwright.models.bundle.format import read_bundle, seal, write_bundle

labeler = read_bundle(Path(sys.argv[1])).labeler
folder = Path(sys.argv[2])
outcomes = {}
for limit in map(int, sys.argv[3:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    failure = "nothing"
    try:
        write_bundle(labeler, folder / "bundle", "1", {"note": "x" * 600_000})
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    outcomes[limit] = failure, [path.name for path in folder.iterdir()]
print(json.dumps(outcomes))
"""
LIMITS = ["1", "500", "5000", "500000"]
"""Maximum sizes of files, in bytes. The last size is enough for all files but the manifest."""


@pytest.fixture(scope="module")
def outcomes(
    written: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[str, list[str]]]:
    """For each limit: the error of a full disk, and the files that are left in the folder."""
    assert max(path.stat().st_size for path in written.iterdir()) < int(LIMITS[-1])
    folder = tmp_path_factory.mktemp("full")
    command = [sys.executable, "-c", ON_A_FULL_DISK, str(written), str(folder), *LIMITS]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=120)
    outcomes_by_limit: dict[str, tuple[str, list[str]]] = json.loads(done.stdout)
    return outcomes_by_limit


@pytest.mark.parametrize("limit", LIMITS)
def test_a_full_disk_is_a_storage_error_and_leaves_no_files(
    outcomes: dict[str, tuple[str, list[str]]], limit: str
) -> None:
    outcome, left = outcomes[limit]
    assert outcome.startswith("StorageError: the bundle was not written to ")
    assert left == []


def test_an_incomplete_write_by_numpy_is_reported_as_a_full_disk(
    outcomes: dict[str, tuple[str, list[str]]],
) -> None:
    assert "no space is left" in outcomes["500000"][0]
    assert "no space is left" in outcomes["500"][0]
