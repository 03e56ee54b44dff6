"""Reads the audit log of a state folder."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from labelwright.models.audit import AUDIT_LOG


def audit_lines(home: Path) -> list[dict[str, Any]]:
    """The lines of the audit log; each has a time."""
    lines = [json.loads(line) for line in (home / AUDIT_LOG).read_text("utf-8").splitlines()]
    assert all(datetime.fromisoformat(line["time"]) for line in lines)
    return lines
