"""Tests that the commands of the README lead to a first response on a fresh Debian 12."""

from pathlib import Path

import pytest

from tests.integration.machines import prove


@pytest.mark.integration
@pytest.mark.alone
@pytest.mark.timeout(3600)
def test_the_commands_of_the_readme_work_on_a_fresh_debian(
    capfd: pytest.CaptureFixture[str],
) -> None:
    prove(Path(__file__).with_name("fresh_debian.sh"), {}, capfd)
