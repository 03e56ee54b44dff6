"""Number of processors that this process may use: the default number of compute threads."""

import os
from pathlib import Path


def usable() -> int:
    """The default number of compute threads.

    It is the number of allowed processors, or less if the control group grants less processor time.
    """
    granted = granted_cpus()
    return allowed() if granted is None else max(1, min(allowed(), round(granted)))


def allowed() -> int:
    """The number of processors that the threads of this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def granted_cpus(
    groups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> float | None:
    """The number of processors whose time the control groups (v1 or v2) grant to this process.

    It is the smallest quota of the group and its parents, or None if no group has a quota. `groups`
    is the mount point of the control groups, and `membership` the file with the group of this
    process.
    """
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
    """A list with the quota of one group in processors; empty if the group has no quota."""
    quota, _, period = text_of(group / "cpu.max").strip().partition(" ")
    if not quota:
        quota = text_of(group / "cpu.cfs_quota_us").strip()
        period = text_of(group / "cpu.cfs_period_us").strip()
    return [int(quota) / int(period)] if quota.isdigit() and period.isdigit() else []


def text_of(file: Path) -> str:
    """The content of a text file, or an empty string if the file cannot be read."""
    try:
        return file.read_text()
    except OSError:
        return ""
