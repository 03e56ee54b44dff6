"""Audit log: a line of JSON for each promotion, rollback, key, deletion and export.

The lines are appended to a file in the state folder. In a service, they are log lines too.
"""

import getpass
import json
import logging
import os
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from labelwright.entities.errors import reason
from labelwright.models.paths import home

AUDIT_LOG = "audit.jsonl"
"""The name of the file in the state folder."""
EXPORT, DELETION = "corrections exported", "corrections deleted"
_log = logging.getLogger("labelwright.audit")


def audit(action: str, by: str | None = None, **details: Any) -> None:
    """Add a line with the time, the author and details of an action that was performed.

    `by` is an API key; by default, the author is the user of this process. If the line cannot be
    written, a warning is logged, because the action cannot be undone.
    """
    entry = {"action": action, "by": by or f"user {_user()}", **details}
    _log.info("%s", action, extra={"request": entry})
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **entry}
    try:
        home().mkdir(parents=True, exist_ok=True)
        number = os.open(home() / AUDIT_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(number, "ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
    except OSError as error:
        _log.warning("the audit log was not written: %s", reason(error))


def deleted(number: int, entity_id: str, by: str | None = None) -> None:
    """Add a line about the deletion of the corrections of an entity.

    The line has a hash of the entity's id. Who knows the id can find the line.
    """
    digest = sha256(entity_id.encode()).hexdigest()
    audit(DELETION, by, corrections=number, entity_id_sha256=digest)


def expired(number: int) -> None:
    """Add a line about corrections that were deleted because they had expired."""
    audit(DELETION, "expiry", corrections=number)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run with a user id that has no name
        return str(os.getuid())
