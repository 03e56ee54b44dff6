"""The default number of compute threads."""

import os
from pathlib import Path

import pytest

from labelwright import processors
from labelwright.processors import granted_cpus, usable


@pytest.mark.parametrize(
    ("membership", "files", "granted"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/cpu.max": "50000 100000\n", "a/b/cpu.max": "max 100000\n"}, 0.5),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2.0),
        ("0::/not/seen\n", {"cpu.max": "200000 100000\n"}, 2.0),
        (
            "4:cpu,cpuacct:/docker/x\n3:memory:/docker/x\n0::/\n",
            {"cpu/cpu.cfs_quota_us": "25000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            0.25,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("", {}, None),
    ],
)
def test_control_groups_limit_the_processor_time(
    membership: str, files: dict[str, str], granted: float | None, tmp_path: Path
) -> None:
    (tmp_path / "membership").write_text(membership)
    for name, text in files.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert granted_cpus(tmp_path / "groups", tmp_path / "membership") == granted


@pytest.mark.parametrize(
    ("allowed", "granted", "threads"),
    [(4, None, 4), (4, 8.0, 4), (4, 2.0, 2), (4, 1.5, 2), (4, 0.1, 1), (1, None, 1)],
)
def test_allowed_processors_and_control_groups_limit_the_number_of_threads(
    allowed: int, granted: float | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processors, "allowed", lambda: allowed)
    monkeypatch.setattr(processors, "granted_cpus", lambda: granted)
    assert usable() == threads


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_a_process_bound_to_one_processor_has_one_thread() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, [min(before)])
        assert usable() == 1
    finally:
        os.sched_setaffinity(0, before)
