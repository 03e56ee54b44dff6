"""Tests that both targets of the Dockerfile build and that compose.yaml runs with them."""

import sys
from pathlib import Path

import pytest

from tests.integration.machines import postgresql, prove


@pytest.mark.integration
@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_the_services_of_compose_run_from_the_built_images(
    capfd: pytest.CaptureFixture[str],
) -> None:
    needed = {"PYTHON": sys.executable, "POSTGRESQL": str(postgresql())}
    prove(Path(__file__).with_name("image.sh"), needed, capfd)
