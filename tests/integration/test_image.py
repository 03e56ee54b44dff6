"""The Dockerfile's steps make two targets, and compose.yaml's services run from them."""

import sys
from pathlib import Path

import pytest

from tests.integration.machines import postgresql, prove


@pytest.mark.integration
@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_images_do_what_compose_describes(capfd: pytest.CaptureFixture[str]) -> None:
    needed = {"PYTHON": sys.executable, "POSTGRESQL": str(postgresql())}
    prove(Path(__file__).with_name("image.sh"), needed, capfd)
