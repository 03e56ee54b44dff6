"""A stranger on a fresh Debian 12 gets a first answer in minutes, with the README's commands."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fresh_debian.sh")
MISSING = {
    "bash": "bash: apt-get install bash",
    "debootstrap": "debootstrap: apt-get install debootstrap",
    "git": "git: apt-get install git",
    "unshare": "unshare: apt-get install util-linux",
}
"""What the script needs of this machine, and how to get it."""


@pytest.mark.integration
@pytest.mark.timeout(3600)
def test_stranger_gets_a_first_answer(capfd: pytest.CaptureFixture[str]) -> None:
    _need_a_machine_that_can()
    with capfd.disabled(), subprocess.Popen([SCRIPT]) as script:  # its figures belong in any log
        try:
            code = script.wait()
        finally:
            script.terminate()  # it cleans up behind itself
    assert code == 0, f"{SCRIPT.name} ended with {code}; what it said is in the output above"


def _need_a_machine_that_can() -> None:
    """Skip where the script cannot run; in CI it must."""
    missing = [word for command, word in MISSING.items() if shutil.which(command) is None]
    if os.geteuid() != 0:
        missing.append("root: run pytest with sudo")
    if missing:
        stop = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        stop(f"a fresh Debian needs {', '.join(missing)}")
