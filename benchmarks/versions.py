"""A registry of its own with two versions of one model, whose answers differ in every label."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from labelwright.models.bundle.format import read_bundle, write_bundle
from labelwright.models.labels import LabelSet
from labelwright.models.registry import fetch, locate, reached

NAME = "swapped"
URI = f"models:/{NAME}@champion"
VERSIONS = ("1", "2")
PREFIX = "other:"
"""How all labels of the second version begin."""


@contextlib.contextmanager
def registered(uri: str) -> Iterator[Path]:
    """A folder for work, with a state folder in which both versions of a model are registered."""
    bundle = fetch(locate(uri)).folder
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        os.environ["LABELWRIGHT_HOME"] = str(work / "home")
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        write_renamed(bundle, work / "2")
        with reached() as client:
            client.create_registered_model(NAME)
            for folder in (bundle, work / "2"):
                client.create_model_version(NAME, folder.as_uri())
        point("1")
        yield work


def write_renamed(bundle: Path, place: Path) -> None:
    """Write the second version of the model in a bundle."""
    labeler = read_bundle(bundle).labeler
    names = tuple(f"{PREFIX}{name}" for name in labeler.labels.names)
    write_bundle(
        dataclasses.replace(labeler, labels=LabelSet(names)), place, version("labelwright"), {}
    )


def point(number: str) -> None:
    """Let the alias name a version."""
    with reached() as client:
        client.set_registered_model_alias(NAME, "champion", number)
