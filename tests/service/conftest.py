"""What the tests of the service share."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import World


@pytest.fixture(scope="session")
def bundle(world: "World") -> Path:
    """The bundle folder of the shared world's model."""
    (manifest,) = world.home.glob("artifacts/**/bundle/manifest.json")
    return manifest.parent
