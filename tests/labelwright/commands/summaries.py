"""Helpers for results of commands: the JSON summary and the registered models."""

import json
from typing import Any

from mlflow import MlflowClient

from labelwright.models.paths import tracking_uri
from tests.processes import Command


def last_line(out: str) -> dict[str, Any]:
    """The JSON summary in the last line of the output of `--json`."""
    summary: dict[str, Any] = json.loads(out.splitlines()[-1])
    return summary


def train(command: Command, *arguments: object) -> dict[str, Any]:
    """Train with `--json` and return the summary; one thread leaves a processor to other tests."""
    completed = command("train", "--threads", 1, *arguments, "--json")
    assert completed.code == 0, completed.err
    return last_line(completed.out)


def registered() -> dict[str, dict[str, str]]:
    """The aliases of every registered model, with their versions."""
    client = MlflowClient(tracking_uri(), tracking_uri())
    return {
        model.name: {alias: str(version) for alias, version in model.aliases.items()}
        for model in client.search_registered_models()
    }
