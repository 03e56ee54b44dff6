"""A stranger on a fresh Debian 12 gets a first answer in minutes, with the README's commands."""

from pathlib import Path

import pytest

from tests.integration.machines import prove


@pytest.mark.integration
@pytest.mark.timeout(3600)
def test_stranger_gets_a_first_answer(capfd: pytest.CaptureFixture[str]) -> None:
    prove(Path(__file__).with_name("fresh_debian.sh"), {}, capfd)
