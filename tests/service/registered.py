"""A registry with several versions of one model, for services that follow an alias."""

import dataclasses
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from mlflow import MlflowClient

from labelwright.models.bundle.format import read_bundle, write_bundle
from labelwright.models.labels import LabelSet
from labelwright.models.registry import fetch, locate
from labelwright.service.rollout.manager import ModelManager
from labelwright.service.rollout.state import CHAMPION, State
from tests.models.bundles import sign

NAME = "m"
URI = f"models:/{NAME}@champion"
SOUND, RENAMED, DAMAGED, CHANGED = "1", "2", "3", "4"
"""Versions of the model: unchanged, with renamed labels, with damaged trees, and with changed
expected results of the golden queries."""
PREFIX = "new:"
"""Prefix of all labels of RENAMED."""
PATIENCE = 60.0


@dataclasses.dataclass(frozen=True)
class Registry:
    """A state folder, and a client of its registry."""

    home: Path
    client: MlflowClient

    def point(self, version: str | None, alias: str = "champion") -> None:
        """Move an alias to a version, or delete it."""
        if version is None:
            self.client.delete_registered_model_alias(NAME, alias)
        else:
            self.client.set_registered_model_alias(NAME, alias, version)

    @property
    def database(self) -> Path:
        """The SQLite file of the registry."""
        return self.home / "mlflow.db"


def registry(bundle: Path, home: Path, database: Path) -> Registry:
    """Make all versions from a bundle and register them. The champion is SOUND."""
    home.mkdir()
    shutil.copy(database, home)
    uri = f"sqlite:///{home / 'mlflow.db'}"
    client = MlflowClient(uri, uri)
    client.create_registered_model(NAME)
    for folder in _versions(bundle, home / "bundles"):
        client.create_model_version(NAME, folder.as_uri())
    made = Registry(home, client)
    made.point(SOUND)
    return made


def _versions(bundle: Path, place: Path) -> list[Path]:
    folders = [place / number for number in (SOUND, RENAMED, DAMAGED, CHANGED)]
    for folder in (folders[0], folders[2], folders[3]):
        shutil.copytree(bundle, folder)
    labeler = read_bundle(bundle).labeler
    names = tuple(f"{PREFIX}{name}" for name in labeler.labels.names)
    write_bundle(dataclasses.replace(labeler, labels=LabelSet(names)), folders[1], "0", {})
    with (folders[2] / "reranker.txt").open("a") as trees:
        trees.write("damage")
    golden = folders[3] / "canned.json"
    golden.write_text(golden.read_text().replace('"asserted": true', '"asserted": false'))
    sign(folders[3])
    return folders


def manager_of(uri: str, folder: Path) -> ModelManager:
    """A model manager for the model at `uri`, without a follower of the alias."""
    State({CHAMPION: fetch(locate(uri))}).write(folder)
    return ModelManager(folder)


def awaited(client: httpx.Client, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Request `/v1/model` until the response meets a condition, and return this response."""
    deadline = time.monotonic() + PATIENCE
    while True:
        model: dict[str, Any] = client.get("/v1/model").json()
        if condition(model):
            return model
        assert time.monotonic() < deadline, model
        time.sleep(0.05)
