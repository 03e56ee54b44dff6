"""Fixtures for the tests of the service."""

from typing import TYPE_CHECKING

import pytest

from labelwright.models.registry import Model
from labelwright.service.rollout.manager import ModelManager
from tests.service.registered import manager_of

if TYPE_CHECKING:
    from tests.conftest import World


@pytest.fixture(scope="module")
def manager(world: "World", tmp_path_factory: pytest.TempPathFactory) -> ModelManager:
    """A model manager in this process, which serves the shared world's model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELWRIGHT_HOME", str(world.home))
        manager = manager_of(world.uri, tmp_path_factory.mktemp("state"))
        manager.load()
        return manager


@pytest.fixture(scope="module")
def model(manager: ModelManager) -> Model:
    """The model of `manager`."""
    return manager.model
