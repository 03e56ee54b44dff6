"""A temporary registry with two versions of a model; the versions differ in every label's name."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from labelwright.models.bundle.format import read_bundle, write_bundle
from labelwright.models.labels import LabelSet
from labelwright.models.mlflow_server import connect
from labelwright.models.registry import fetch, locate

NAME = "swapped"
URI = f"models:/{NAME}@champion"
VERSIONS = ("1", "2")
PREFIX = "other:"
"""Prefix of all labels of the second version."""


@contextlib.contextmanager
def registered(uri: str) -> Iterator[Path]:
    """A temporary folder with a state folder in which both versions are registered.

    The first version has the model of `uri` and is the champion.
    """
    bundle = fetch(locate(uri)).folder
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        os.environ["LABELWRIGHT_HOME"] = str(work / "home")
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        write_renamed(bundle, work / "2")
        with connect() as client:
            client.create_registered_model(NAME)
            for folder in (bundle, work / "2"):
                client.create_model_version(NAME, folder.as_uri())
        set_champion("1")
        yield work


def write_renamed(bundle: Path, folder: Path) -> None:
    """Write a copy of a bundle in which the name of every label has the prefix PREFIX."""
    labeler = read_bundle(bundle).labeler
    names = tuple(f"{PREFIX}{name}" for name in labeler.labels.names)
    renamed = dataclasses.replace(labeler, labels=LabelSet(names))
    write_bundle(renamed, folder, version("labelwright"), {})


def set_champion(number: str) -> None:
    """Set the alias `champion` to a version."""
    with connect() as client:
        client.set_registered_model_alias(NAME, "champion", number)
