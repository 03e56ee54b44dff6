"""Environments of peers: they are created only from pinned requirements."""

from pathlib import Path

import pytest

from benchmarks.environments import NotInstalledError, interpreter


def test_a_requirement_without_a_hash_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "loose.txt").write_text("a-peer==1.0\n", "utf-8")
    with pytest.raises(NotInstalledError, match=r"not installed: .*a-peer"):
        interpreter("loose", tmp_path / "environments", tmp_path)


def test_an_environment_is_created_once(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("# nothing\n", "utf-8")
    python = Path(interpreter("empty", tmp_path / "environments", tmp_path))
    made = python.lstat().st_mtime_ns
    assert Path(interpreter("empty", tmp_path / "environments", tmp_path)) == python
    assert python.lstat().st_mtime_ns == made
