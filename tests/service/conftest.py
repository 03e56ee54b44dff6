"""Fixtures for the tests of the service."""

from typing import TYPE_CHECKING

import pytest

from labelwright.models.registry import Model
from labelwright.service.rollout.manager import Serving
from tests.service.registered import serving_of

if TYPE_CHECKING:
    from tests.conftest import World


@pytest.fixture(scope="module")
def serving(world: "World", tmp_path_factory: pytest.TempPathFactory) -> Serving:
    """The shared world's model, in service in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELWRIGHT_HOME", str(world.home))
        serving = serving_of(world.uri, tmp_path_factory.mktemp("state"))
        serving.load()
        return serving


@pytest.fixture(scope="module")
def model(serving: Serving) -> Model:
    """The model of `serving`."""
    return serving.model
