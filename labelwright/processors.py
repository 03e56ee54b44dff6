"""Number of processors that this process may use: the default number of compute threads."""

import os
from pathlib import Path


def usable() -> int:
    """The processors of `allowed`, or fewer if the control group grants less processor time."""
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
    """The processor time per second that the control groups (v1 or v2) grant to this process.

    The smallest quota of the group and its parents counts; None if none of them has a quota.
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
    """The quota of one group, empty if it has none."""
    quota, _, period = text_of(group / "cpu.max").strip().partition(" ")
    if not quota:
        quota = text_of(group / "cpu.cfs_quota_us").strip()
        period = text_of(group / "cpu.cfs_period_us").strip()
    return [int(quota) / int(period)] if quota.isdigit() and period.isdigit() else []


def text_of(file: Path) -> str:
    """The content of a text file; empty if the file cannot be read."""
    try:
        return file.read_text()
    except OSError:
        return ""
