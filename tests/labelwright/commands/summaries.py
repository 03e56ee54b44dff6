"""What a command has done: the summary for scripts, and what is registered."""

import json
from typing import Any

from mlflow import MlflowClient

from labelwright.models.paths import tracking_uri
from tests.processes import Command


def last_line(out: str) -> dict[str, Any]:
    """What `--json` ends with."""
    summary: dict[str, Any] = json.loads(out.splitlines()[-1])
    return summary


def train(command: Command, *arguments: object) -> dict[str, Any]:
    """Train with `--json`; returns the summary. One thread gives way to other processes."""
    said = command("train", "--threads", 1, *arguments, "--json")
    assert said.code == 0, said.err
    return last_line(said.out)


def registered() -> dict[str, dict[str, str]]:
    """The aliases of every registered model."""
    client = MlflowClient(tracking_uri(), tracking_uri())
    return {
        model.name: {alias: str(version) for alias, version in model.aliases.items()}
        for model in client.search_registered_models()
    }
