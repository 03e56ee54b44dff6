"""How many processors this process may use, which is where the number of threads begins."""

import os
from pathlib import Path


def usable() -> int:
    """How many threads have a processor each: fewer than `allowed` where time is limited."""
    granted = granted_cpus()
    return allowed() if granted is None else max(1, min(allowed(), round(granted)))


def allowed() -> int:
    """How many processors the threads of this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def granted_cpus(
    groups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> float | None:
    """How many processors' time the control groups (v1 or v2) of this process grant; None: all."""
    quotas: list[float] = []
    for line in text_of(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = groups / "cpu" if controllers else groups
        group = root / path.strip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(root):
                quotas += _quota(folder)
    return min(quotas, default=None)


def _quota(group: Path) -> list[float]:
    quota, _, period = text_of(group / "cpu.max").strip().partition(" ")
    if not quota:
        quota = text_of(group / "cpu.cfs_quota_us").strip()
        period = text_of(group / "cpu.cfs_period_us").strip()
    return [int(quota) / int(period)] if quota.isdigit() and period.isdigit() else []


def text_of(file: Path) -> str:
    """What a file says; nothing where it cannot be read."""
    try:
        return file.read_text()
    except OSError:
        return ""
