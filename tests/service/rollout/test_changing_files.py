"""A service keeps its model if the files of the bundle change, and ends while it loads a model."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.processes import environment, serving, spawn
from tests.service.waiting import wait_until

BODY = {"entities": [{"name": "Joe's Pizza", "country": "US"}, {"name": "Bank"}]}


@pytest.fixture
def folder(bundle: Path, tmp_path: Path) -> Path:
    """A copy of a bundle in a folder that other programs write to."""
    shutil.copytree(bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.mark.parametrize(("workers", "cache"), [(1, "in use"), (2, "in use"), (2, "not writable")])
def test_changed_and_truncated_files_do_not_change_the_results(
    folder: Path, tmp_path: Path, workers: int, cache: str
) -> None:
    home = tmp_path / "home"
    if cache == "not writable":
        home.mkdir()
        (home / "cache").write_text("in the way of the folder")
    options = ("--model", folder, "--workers", workers)
    with serving(*options, environment=environment(home), folder=tmp_path) as service:
        wait_until(lambda: service.log.read_text().count("startup complete") == workers)
        with service.client() as client:
            expected = client.post("/v1/labels", json=BODY).json()
            for damage in ("zeros", "truncated"):
                for file in folder.iterdir():
                    with file.open("r+b") as stream:
                        stream.write(bytes(file.stat().st_size))
                    os.truncate(file, 0 if damage == "truncated" else file.stat().st_size)
                for _ in range(6):
                    answer = client.post("/v1/labels", json=BODY, headers={"Connection": "close"})
                    assert answer.json()["results"] == expected["results"]
        assert service.stop() in (0, -signal.SIGTERM, 128 + signal.SIGTERM)


def test_a_bundle_with_a_fifo_ends_the_start_at_once(folder: Path, tmp_path: Path) -> None:
    (folder / "linear.dense.npy").unlink()
    os.mkfifo(folder / "linear.dense.npy")
    options = ("serve", "--model", folder, "--workers", 2, "--port", 0)
    result = spawn(*options, environment=environment(tmp_path / "home"), timeout=60)
    assert result.code not in (0, 1)
    assert "linear.dense.npy cannot be read: not a regular file" in result.err
