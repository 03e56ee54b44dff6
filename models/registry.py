"""Finding, fetching and loading models by URI.

A model URI is the path of a bundle folder, `runs:/RUN_ID/model`, `models:/NAME@ALIAS` or
`models:/NAME/VERSION`.
"""

import contextlib
import dataclasses
import functools
import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import url2pathname

from labelwright.entities.errors import (
    BundleError,
    ModelError,
    ModelNotFoundError,
    RegistryError,
    StorageError,
    reason,
)
from labelwright.entities.io.files import temporary_folder, write_failure
from labelwright.models.bundle.files import open_file
from labelwright.models.bundle.format import (
    MANIFEST,
    Bundle,
    read_bundle,
    read_manifest,
    seal,
    verify,
)
from labelwright.models.mlflow_server import connect
from labelwright.models.paths import home, tracking_uri

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
BUNDLE_FOLDER = "data/bundle"
"""The path of the bundle in the folder of an MLflow model."""
_TEMPORARY = "draft"
"""Prefix of temporary folders in the cache."""
_STALE_AFTER = 24 * 3600.0
"""The age in seconds from which a temporary folder is removed: its process was probably killed."""
_FREE_SPACE = 1 << 20
"""The size in bytes of a test file. If a download fails and this file cannot be written either, the
cause is reported as lack of disk space."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A bundle, the URI it was loaded by, and its registered version.

    `name` and `version` are None outside a registry. `run_id` is None if the run is unknown.
    """

    bundle: Bundle
    uri: str
    name: str | None = None
    version: str | None = None
    run_id: str | None = None

    @property
    def identity(self) -> dict[str, str | None]:
        """The name, the version and the first 12 digits of the content hash, as in responses."""
        content = self.bundle.manifest.content[:12]
        return {"name": self.name, "version": self.version, "content": content}


@dataclasses.dataclass(frozen=True)
class Source:
    """The model to which a URI refers at the moment; `place` is the URI of its artifact.

    The service writes these fields to files, so their names are part of a file format.
    """

    uri: str
    place: str
    name: str | None = None
    version: str | None = None
    run_id: str | None = None


@dataclasses.dataclass(frozen=True)
class Resolved:
    """A source, and the folder on this machine that contains its bundle."""

    source: Source
    folder: Path


def load_model(uri: str) -> Model:
    """Find, fetch and read a model.

    Raises ModelNotFoundError, BundleError, RegistryError, or StorageError.
    """
    return read(fetch(locate(uri)))


def locate(uri: str) -> Source:
    """Find the model to which a URI refers; raises ModelNotFoundError or RegistryError.

    Only URIs that begin with `models:/` need the registry.
    """
    if uri.startswith("models:/"):
        name, version = _find_version(uri)
        return Source(uri, _artifact(name, version), name, str(version.version), version.run_id)
    if uri.startswith("runs:/"):
        run_id = uri.removeprefix("runs:/").split("/")[0]
        if not run_id:
            raise ModelNotFoundError(
                "a model URI that begins with runs:/ needs the id of a run: runs:/RUN_ID/model"
            )
        return Source(uri, uri if uri.count("/") > 1 else f"{uri}/model", run_id=run_id)
    return Source(uri, Path(uri).absolute().as_uri())


def fetch(source: Source, copy_local: bool = False) -> Resolved:
    """Copy a bundle to the cache of this machine, unless it is on this machine already.

    If `copy_local` is true, a bundle on this machine is copied, too, as far as the disk has space
    for it. The copy is kept only if its files have the hashes that the manifest states. Raises
    ModelNotFoundError, BundleError, RegistryError, or StorageError.
    """
    local = _local_folder(source.place)
    if local is None:
        key = f"{tracking_uri()} {source.place}"
        folder = _cached(key, lambda temporary: _download(source.place, temporary))
        return Resolved(source, _bundle_folder(folder))
    bundle = _bundle_folder(local)
    if copy_local:
        key = f"{bundle} {seal(dataclasses.asdict(read_manifest(bundle)))}"
        with contextlib.suppress(StorageError):
            return Resolved(source, _cached(key, lambda temporary: _copy(bundle, temporary)))
    return Resolved(source, bundle)


def read(resolved: Resolved) -> Model:
    """Read and check a bundle that was fetched; raises BundleError or ModelNotFoundError.

    Only bundles in the cache are mapped: other programs may write to any other folder.
    """
    source = resolved.source
    bundle = read_bundle(resolved.folder, mapped=resolved.folder.is_relative_to(_cache()))
    return Model(bundle, source.uri, source.name, source.version, source.run_id)


def is_alias(uri: str) -> bool:
    """Whether a URI names an alias, which may refer to another model later."""
    return uri.startswith("models:/") and "@" in uri


def forget(resolved: Resolved) -> None:
    """Remove the copy of a bundle from the cache. Processes that have it open can still read it."""
    if resolved.folder.is_relative_to(_cache()):
        name = resolved.folder.relative_to(_cache()).parts[0]
        shutil.rmtree(_cache() / name, ignore_errors=True)


def champions() -> list[str]:
    """The names of all registered models that have a champion, sorted; raises RegistryError."""
    with connect() as client:
        models = client.search_registered_models(max_results=1000)
        return sorted(model.name for model in models if CHAMPION in model.aliases)


def only_champion() -> str:
    """The URI of the only champion.

    Raises ModelNotFoundError if no model has a champion, and ModelError with the choices if several
    models have one.
    """
    names = champions()
    if len(names) == 1:
        return f"models:/{names[0]}@{CHAMPION}"
    if not names:
        raise ModelNotFoundError("no model has a champion yet: train one, or name a model URI")
    choices = ", ".join(f"models:/{name}@{CHAMPION}" for name in names)
    raise ModelError(f"several models have a champion; choose one of {choices}")


def _find_version(uri: str) -> tuple[str, "ModelVersion"]:
    """The name and the registered version to which a URI `models:/...` refers."""
    rest = uri.removeprefix("models:/")
    name, at, alias = rest.partition("@")
    if not at:
        name, _, number = rest.partition("/")
        if not number.isdigit() or len(number) > 18:
            raise ModelNotFoundError(
                "a model URI that begins with models:/ must end in @ALIAS or /VERSION, where "
                "VERSION is a number"
            )
    if not name or (at and not alias):
        raise ModelNotFoundError(
            "a model URI that begins with models:/ needs a name and an alias or a version: "
            "models:/NAME@ALIAS or models:/NAME/VERSION"
        )
    with connect() as client:
        if at:
            return name, client.get_model_version_by_alias(name, alias)
        return name, client.get_model_version(name, number)


def _artifact(name: str, version: "ModelVersion") -> str:
    return _artifact_of(tracking_uri(), name, str(version.version), version.creation_timestamp)


@functools.lru_cache(64)
def _artifact_of(registry: str, name: str, version: str, created: int) -> str:
    """The URI of a version's artifact.

    The URI is cached, because the follower of an alias needs it every few seconds. `registry` and
    `created` distinguish versions with the same name and number.
    """
    with connect() as client:
        return client.get_model_version_download_uri(name, version)


def _local_folder(artifact: str) -> Path | None:
    """The folder of an artifact on this machine; None for a remote artifact."""
    parsed = urlparse(artifact)
    if parsed.scheme == "file":
        return Path(url2pathname(parsed.path))
    return Path(artifact) if parsed.scheme == "" else None


def _cache() -> Path:
    return home() / "cache"


def _cached(key: str, make: Callable[[Path], Path]) -> Path:
    """The folder in the cache for a key; it is made if it does not exist or is damaged.

    `make` gets a temporary folder and returns the folder that it has made inside.
    """
    folder = _cache() / hashlib.sha256(key.encode()).hexdigest()
    with contextlib.suppress(BundleError, ModelNotFoundError):
        verify(_bundle_folder(folder))
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    _remove_stale_folders(folder.parent)
    with temporary_folder(folder.parent, _TEMPORARY) as temporary:
        made = make(temporary)
        verify(_bundle_folder(made))
        with contextlib.suppress(OSError):  # another process has just made the same copy
            made.rename(folder)
    return folder


def _copy(bundle: Path, folder: Path) -> Path:
    """Copy the files of a bundle into a folder; raises BundleError or StorageError."""
    made = folder / "bundle"
    try:
        made.mkdir()
        for name in (MANIFEST, *read_manifest(bundle).files):
            with open_file(bundle / name) as source, (made / name).open("wb") as target:
                shutil.copyfileobj(source, target)
    except FileNotFoundError as error:
        raise BundleError(f"bundle {bundle}: {error.filename} cannot be read") from error
    except OSError as error:
        raise StorageError(f"the model was not copied to {home()}: {reason(error)}") from error
    return made


def _download(artifact: str, folder: Path) -> Path:
    """Copy an artifact into a folder.

    Raises StorageError if the disk is full, and RegistryError or ModelNotFoundError otherwise.
    """
    try:
        with connect():
            import mlflow

            return Path(mlflow.artifacts.download_artifacts(artifact, dst_path=str(folder)))
    except (RegistryError, ModelNotFoundError) as error:
        if write_failure(folder, _FREE_SPACE) is None:  # MLflow's errors do not name a full disk
            raise
        raise StorageError(
            f"the model cannot be copied to {home()}: no space is left; free some and try again"
        ) from error


def _remove_stale_folders(cache: Path) -> None:
    """Remove temporary folders of processes that were killed during a download."""
    for folder in cache.glob(f"{_TEMPORARY}-*"):
        with contextlib.suppress(OSError):  # another process has just removed the folder
            if time.time() - folder.stat().st_mtime > _STALE_AFTER:
                shutil.rmtree(folder, ignore_errors=True)


def _bundle_folder(folder: Path) -> Path:
    """The folder of the bundle: the given folder, or its bundle folder if it is an MLflow model."""
    if not (folder / MANIFEST).exists() and (folder / BUNDLE_FOLDER / MANIFEST).exists():
        return folder / BUNDLE_FOLDER
    return folder
