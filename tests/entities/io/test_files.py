"""Files that processes share: atomic replacement, locks and temporary folders."""

import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from labelwright.entities.errors import StorageError
from labelwright.entities.io.files import (
    atomic_replacement,
    is_locked,
    locked,
    locked_if_free,
    temporary_folder,
    try_lock,
    write_atomically,
    write_failure,
    write_json,
)

IMPORTS = "from pathlib import Path; import os, sys; from labelwright.entities.io.files import *\n"
HOLDER = "with locked(Path(sys.argv[1])):\n    print('locked', flush=True)\n    sys.stdin.read()\n"


def start(code: str, *arguments: Path) -> subprocess.Popen[str]:
    """Start a Python process that runs `code` with all functions of the module imported."""
    command = [sys.executable, "-c", IMPORTS + code, *map(str, arguments)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_readers_see_the_old_file_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_replacement(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_replacement_keeps_the_old_file(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise error

    with pytest.raises(error), atomic_replacement(path) as temporary:
        fail(temporary)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_process_killed_during_a_replacement_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    code = (
        "with atomic_replacement(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    with start(code, path) as process:
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    write_atomically(path, b"new")  # in spite of the temporary file of the killed process
    assert path.read_text() == "new"


def test_a_temporary_file_can_have_a_given_path(tmp_path: Path) -> None:
    part = tmp_path / "parts" / "one.part"
    part.parent.mkdir()
    with atomic_replacement(tmp_path / "file", part) as temporary:
        assert temporary == part
        part.write_text("new")
    assert names(tmp_path) == ["file", "parts"]
    assert names(part.parent) == []


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127])
def test_a_file_with_the_longest_possible_name_can_be_replaced(tmp_path: Path, name: str) -> None:
    write_atomically(tmp_path / name, b"content")
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("durable", [False, True])
def test_only_the_owner_can_read_a_file_written_atomically(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"one", durable)
    write_atomically(path, b"two", durable)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600


def test_paths_are_written_to_json_as_text(tmp_path: Path) -> None:
    write_json(tmp_path / "file", {"folder": Path("/a"), "n": [1, None]})
    assert (tmp_path / "file").read_text() == '{"folder": "/a", "n": [1, null]}'


def test_a_full_disk_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_atomically(path, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_locked_file_is_locked_for_other_processes(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    code = "with locked_if_free(Path(sys.argv[1])) as free:\n    print(free)\n"

    def free_for_another_process() -> str:
        with start(code, path) as process:
            return process.communicate()[0].strip()

    with locked(path):
        assert free_for_another_process() == "False"
        with locked_if_free(path) as free:
            assert not free
        assert is_locked(path)
    assert free_for_another_process() == "True"
    assert not is_locked(path)


def test_a_second_process_waits_for_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    order: list[str] = []

    def second() -> None:
        with locked(path):
            order.append("second")

    with start(HOLDER, path) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "locked\n"
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        order.append("first")
        holder.stdin.close()
        waiting.join(60)
    assert order == ["first", "second"]


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with start(HOLDER, path) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert is_locked(path)
        holder.kill()
        holder.wait()
        with locked_if_free(path) as free:
            assert free


def test_an_open_file_is_locked_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("a+b") as one, path.open("a+b") as other:
        assert try_lock(one)
        assert not try_lock(other)
        one.close()
        assert try_lock(other)


def test_the_lock_of_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        is_locked(tmp_path / "lock")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "use",
    [
        lambda path: locked(path / "lock"),
        lambda path: locked_if_free(path / "lock"),
        temporary_folder,
    ],
)
def test_a_path_that_cannot_be_created_is_a_storage_error(
    tmp_path: Path, use: Callable[[Path], AbstractContextManager[object]]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Not a directory"), use(tmp_path / "file" / "below"):
        pass


def test_a_missing_folder_for_temporary_files_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(StorageError, match="TMPDIR"), temporary_folder():
        pass


def test_a_temporary_folder_is_removed_with_its_content(tmp_path: Path) -> None:
    with temporary_folder(tmp_path / "new", "x" * 300) as folder:
        (folder / "a").mkdir()
        (folder / "a" / "b").touch()
        assert folder.parent == tmp_path / "new"
        assert folder.stat().st_mode & 0o777 == 0o700
    assert names(tmp_path / "new") == []


def test_a_temporary_folder_that_was_moved_is_kept(tmp_path: Path) -> None:
    with temporary_folder(tmp_path) as folder:
        (folder / "a").touch()
        folder.rename(tmp_path / "kept")
    assert names(tmp_path) == ["kept"]
    assert names(tmp_path / "kept") == ["a"]


def test_the_reason_why_a_folder_cannot_be_written_is_returned(tmp_path: Path) -> None:
    assert write_failure(tmp_path, 1 << 20) is None
    assert write_failure(tmp_path / "missing") == "No such file or directory"
    assert names(tmp_path) == []
