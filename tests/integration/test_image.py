"""The Dockerfile's steps make two targets, and what it serves works without any rights."""

import sys
from pathlib import Path

import pytest

from tests.integration.machines import prove


@pytest.mark.integration
@pytest.mark.timeout(1800)
def test_the_image_serves_without_rights(capfd: pytest.CaptureFixture[str]) -> None:
    prove(Path(__file__).with_name("image.sh"), {"PYTHON": sys.executable}, capfd)
