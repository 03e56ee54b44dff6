"""`labelwright keys`: keys are created, listed without their secrets, and revoked."""

import getpass
import json
import re
import stat
from pathlib import Path

import pytest

from labelwright.models.audit import AUDIT_LOG
from labelwright.service.middleware.access import keyring
from labelwright.service.middleware.keys import KeyVerifier
from tests.audit import audit_lines
from tests.processes import Command

pytest_plugins = ["tests.worlds"]


def test_a_key_is_created_listed_and_revoked(command: Command, home: Path) -> None:
    assert command("keys", "list").out == ""
    made = command("keys", "create", "phone app", "--role", "feedback", "--rate", 50)
    assert re.fullmatch(r"lw_[0-9a-f]{8}_[0-9a-f]{64}\n", made.out)
    shown, _, secret = made.out.strip().rpartition("_")
    assert KeyVerifier(keyring()).verify(made.out.strip())

    listed = command("keys", "list").out
    for word in (shown, "feedback", "50/s, burst 50", "phone app"):
        assert word in listed
    (printed,) = json.loads(command("keys", "list", "--json").out)
    assert (printed["role"], printed["rate"], printed["burst"]) == ("feedback", 50.0, 50)
    for content in (listed, json.dumps(printed), (home / "keys.json").read_text()):
        assert secret not in content
    assert "digest" not in printed

    assert command("keys", "revoke", shown).out == f"{shown} (phone app) is revoked\n"
    assert command("keys", "list").out == ""

    created, revoked = audit_lines(home)
    owner = {"by": f"user {getpass.getuser()}", "key": shown[3:], "name": "phone app"}
    assert created.items() >= {"action": "key created", "role": "feedback", **owner}.items()
    assert revoked.items() >= {"action": "key revoked", **owner}.items()
    assert secret not in (home / AUDIT_LOG).read_text()
    assert stat.S_IMODE((home / AUDIT_LOG).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (2, ()),
        (2, ("create",)),
        (2, ("create", "a", "--role", "root")),
        (2, ("create", "a", "--rate", "many")),
        (3, ("create", "")),
        (3, ("create", "a", "--rate", "-1")),
        (3, ("create", "a", "--rate", "nan")),
        (3, ("create", "a", "--rate", "inf")),
        (3, ("revoke", "nobody")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
@pytest.mark.usefixtures("home")
def test_invalid_arguments_are_refused(
    command: Command, code: int, arguments: tuple[str, ...]
) -> None:
    completed = command("keys", *arguments)
    assert completed.code == code
    assert completed.out == ""


def test_a_read_only_state_folder_is_a_clear_error(command: Command, home: Path) -> None:
    home.write_text("a file")
    completed = command("keys", "create", "a")
    assert completed.code == 6
    assert re.fullmatch(r"labelwright: .+keys\.lock cannot be written: .+\n", completed.err)
