"""Finding a model: URIs, aliases, and the one place in this room that knows MLflow.

A model URI is a bundle folder, `runs:/RUN_ID/model`, `models:/NAME@ALIAS` or
`models:/NAME/VERSION`.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import url2pathname

from labelwright.entities.errors import (
    ModelError,
    ModelNotFoundError,
    RegistryError,
    StorageError,
    without_credentials,
)
from labelwright.entities.io.files import locked, temporary_folder, write_failure
from labelwright.models.bundle.format import MANIFEST, Bundle, read_bundle, verify
from labelwright.models.paths import home, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
CHAMPION = "champion"
BUNDLE_FOLDER = "data/bundle"
"""The folder of an MLflow model in which the bundle lies."""
_DRAFT = "draft"
_LONG_AGO = 24 * 3600.0
_ROOM = 1 << 20
"""Bytes; where not even they can be written, that is why a model could not be fetched."""

_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "PGCONNECT_TIMEOUT": "20",
}
"""MLflow's own defaults keep trying a server that is down for many minutes."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A bundle and the name it goes by; name and version are None outside a registry."""

    bundle: Bundle
    uri: str
    name: str | None = None
    version: str | None = None
    run_id: str | None = None

    @property
    def identity(self) -> dict[str, str | None]:
        """Name, version and the start of the content hash, as responses state them."""
        content = self.bundle.manifest.content[:12]
        return {"name": self.name, "version": self.version, "content": content}


@dataclasses.dataclass(frozen=True)
class Source:
    """What a model URI means at this moment: where its artifact lies, and the name it goes by."""

    uri: str
    place: str
    name: str | None = None
    version: str | None = None
    run_id: str | None = None


@dataclasses.dataclass(frozen=True)
class Resolved:
    """A source, and the folder on this machine that holds its bundle."""

    source: Source
    folder: Path


def load_model(uri: str) -> Model:
    """Find, fetch and read a model.

    Raises ModelNotFoundError, BundleError, RegistryError, or StorageError.
    """
    return read(fetch(locate(uri)))


def locate(uri: str) -> Source:
    """Ask the registry what a URI means; raises ModelNotFoundError or RegistryError."""
    if uri.startswith("models:/"):
        name, version = _named(uri.removeprefix("models:/"))
        return Source(uri, _place(name, version), name, str(version.version), version.run_id)
    if uri.startswith("runs:/"):
        run_id = uri.removeprefix("runs:/").split("/")[0]
        if not run_id:
            raise ModelNotFoundError("a model URI of a run is runs:/RUN_ID/model")
        return Source(uri, uri if uri.count("/") > 1 else f"{uri}/model", run_id=run_id)
    return Source(uri, Path(uri).absolute().as_uri())


def fetch(source: Source) -> Resolved:
    """Bring a bundle to this machine, unless it lies there already.

    What is copied is checked against its hashes before it is kept. Raises ModelNotFoundError,
    BundleError, RegistryError, or StorageError.
    """
    return Resolved(source, _bundle_folder(_fetch(source.place)))


def read(resolved: Resolved) -> Model:
    """Read and check a bundle that was fetched; raises BundleError or ModelNotFoundError."""
    source = resolved.source
    bundle = read_bundle(resolved.folder)
    return Model(bundle, source.uri, source.name, source.version, source.run_id)


def is_alias(uri: str) -> bool:
    """Whether what a URI means may change: that of a version, a run or a folder does not."""
    return uri.startswith("models:/") and "@" in uri


def forget(resolved: Resolved) -> None:
    """Remove the copy of a bundle from the cache; whoever reads it already is not disturbed."""
    cached = _cached(resolved.source.place)
    if resolved.folder.is_relative_to(cached):
        shutil.rmtree(cached, ignore_errors=True)


def champions() -> list[str]:
    """The names of all registered models that have a champion, in order; raises RegistryError."""
    with reached() as client:
        models = client.search_registered_models(max_results=1000)
        return sorted(model.name for model in models if CHAMPION in model.aliases)


def only_champion() -> str:
    """The URI of the only champion there is; raises ModelError that lists the choices."""
    names = champions()
    if len(names) == 1:
        return f"models:/{names[0]}@{CHAMPION}"
    if not names:
        raise ModelNotFoundError("no model has a champion yet: train one, or name a model URI")
    choices = ", ".join(f"models:/{name}@{CHAMPION}" for name in names)
    raise ModelError(f"several models have a champion; choose one of {choices}")


@contextlib.contextmanager
def reached() -> Iterator["MlflowClient"]:
    """A client of the tracking server; what goes wrong with it becomes a RegistryError."""
    for variable, value in _PATIENCE.items():
        os.environ.setdefault(variable, value)
    uri = tracking_uri()
    if uri.startswith(DATABASES) and importlib.util.find_spec("alembic") is None:
        raise RegistryError(
            f"the registry at {_public(uri)} is a database, which needs all of MLflow: "
            "install requirements/train.txt, or name a tracking server in MLFLOW_TRACKING_URI"
        )
    try:
        import mlflow
        from mlflow.exceptions import MlflowException

        _make_room(uri)
        _point_at(uri)
    except OSError as error:
        raise StorageError(f"{_public(uri)} cannot be made: {error.strerror}") from error
    try:
        _make_tables(uri)
        yield mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    except MlflowException as error:
        missing_alias = "alias" in str(error) and "not found" in str(error)
        if error.error_code == "RESOURCE_DOES_NOT_EXIST" or missing_alias:
            raise ModelNotFoundError(_brief(error)) from error
        raise RegistryError(f"the registry at {_public(uri)} failed: {_brief(error)}") from error
    except OSError as error:
        raise RegistryError(f"the registry at {_public(uri)} failed: {_brief(error)}") from error
    except Exception as error:  # a database that MLflow cannot even open speaks for itself
        if not type(error).__module__.startswith("sqlalchemy."):
            raise
        raise RegistryError(f"the registry at {_public(uri)} failed: {_brief(error)}") from error


def _point_at(uri: str) -> None:
    """Let MLflow's own functions use this server, without leaving a trace in the environment.

    MLflow writes the URI to its variables, where it would outlive a change of state folder.
    """
    import mlflow

    given = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    for name, value in given.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _make_room(uri: str) -> None:
    """Make a SQLite database with its tables, one process at a time, where there is none yet."""
    import mlflow

    if not uri.startswith("sqlite:///"):
        return
    database = Path(uri.removeprefix("sqlite:///"))
    if database.exists():
        return
    with locked(database.with_suffix(".lock")):
        mlflow.MlflowClient(uri, uri).search_experiments(max_results=1)


@functools.cache
def _make_tables(uri: str) -> None:
    """Do the same in the database of a server; raises RegistryError at once if it is down.

    MLflow would try for minutes to connect, and two processes would make the same tables.
    """
    if not uri.startswith(DATABASES) or uri.startswith("sqlite"):
        return
    import mlflow
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(uri)
        engine.connect().close()
        engine.dispose()
    except (ImportError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise RegistryError(f"the registry at {_public(uri)} failed: {_brief(error)}") from error
    with locked(home() / "registry.lock"):
        mlflow.MlflowClient(uri, uri).search_experiments(max_results=1)


def _named(rest: str) -> tuple[str, "ModelVersion"]:
    name, at, alias = rest.partition("@")
    if not at:
        name, _, number = rest.partition("/")
        if not number.isdigit() or len(number) > 18:
            raise ModelNotFoundError("a model URI ends in @ALIAS or /VERSION, a number")
    if not name or (at and not alias):
        raise ModelNotFoundError("a model URI is models:/NAME@ALIAS or models:/NAME/VERSION")
    with reached() as client:
        if at:
            return name, client.get_model_version_by_alias(name, alias)
        return name, client.get_model_version(name, number)


def _place(name: str, version: "ModelVersion") -> str:
    return _place_of(tracking_uri(), name, str(version.version), version.creation_timestamp)


@functools.lru_cache(64)
def _place_of(registry: str, name: str, version: str, created: int) -> str:
    """Asked once for each version, because who follows an alias asks all the time.

    `registry` and `created` tell it from versions that go by the same name and number.
    """
    with reached() as client:
        return client.get_model_version_download_uri(name, version)


def _fetch(uri: str) -> Path:
    """The artifact's folder: where it lies, or a copy in the cache if it lies elsewhere."""
    parsed = urlparse(uri)
    if parsed.scheme == "file":
        return Path(url2pathname(parsed.path))
    if parsed.scheme == "":
        return Path(uri)
    cached = _cached(uri)
    if cached.exists():
        return cached
    _clear_drafts(cached.parent)
    with temporary_folder(cached.parent, _DRAFT) as draft:
        fetched = _download(uri, draft)
        verify(_bundle_folder(fetched))
        with contextlib.suppress(OSError):  # another process was first
            fetched.rename(cached)
    return cached


def _cached(uri: str) -> Path:
    """Where the copy of an artifact is kept."""
    return home() / "cache" / hashlib.sha256(f"{tracking_uri()} {uri}".encode()).hexdigest()


def _download(uri: str, draft: Path) -> Path:
    """Copy an artifact; raises StorageError where there is no room, else what `reached` does."""
    try:
        with reached():
            import mlflow

            return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(draft)))
    except (RegistryError, ModelNotFoundError) as error:
        if write_failure(draft, _ROOM) is None:  # MLflow does not tell why it could not write
            raise
        raise StorageError(f"the model was not fetched to {home()}: no space is left") from error


def _clear_drafts(cache: Path) -> None:
    """Remove what processes have left that were killed while they fetched a model."""
    for draft in cache.glob(f"{_DRAFT}-*"):
        with contextlib.suppress(OSError):  # its owner has just removed it
            if time.time() - draft.stat().st_mtime > _LONG_AGO:
                shutil.rmtree(draft, ignore_errors=True)


def _bundle_folder(folder: Path) -> Path:
    """The bundle in a folder: the folder itself, or its place in an MLflow model."""
    if not (folder / MANIFEST).exists() and (folder / BUNDLE_FOLDER / MANIFEST).exists():
        return folder / BUNDLE_FOLDER
    return folder


def _public(uri: str) -> str:
    """A URI without the user and password that it may hold."""
    parsed = urlparse(uri)
    if parsed.hostname is None:
        return uri
    return f"{parsed.scheme}://{parsed.hostname}:{parsed.port or ''}".rstrip(":")


def _brief(error: Exception) -> str:
    """The first line of a message, without the user and password that a URI in it may hold."""
    return without_credentials(str(error).split("\n", 1)[0])[:300]
