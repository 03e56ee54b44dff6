"""A connection to the registry changes MLflow's default URI, but not the environment."""

import os
from pathlib import Path

import mlflow
import pytest

from labelwright.models.mlflow_server import connect

pytest_plugins = ["tests.worlds"]
VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")


@pytest.mark.parametrize("registry", [None, "sqlite:///another.db"])
def test_a_connection_does_not_change_the_environment(
    empty_world: Path, monkeypatch: pytest.MonkeyPatch, registry: str | None
) -> None:
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    if registry:
        monkeypatch.setenv("MLFLOW_REGISTRY_URI", registry)
    with connect():
        assert mlflow.get_tracking_uri() == f"sqlite:///{empty_world / 'mlflow.db'}"
        assert mlflow.get_registry_uri() == mlflow.get_tracking_uri()
    assert [os.environ.get(name) for name in VARIABLES] == [None, registry]
