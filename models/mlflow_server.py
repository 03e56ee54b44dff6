"""Connection to MLflow: to a tracking server over HTTP, or to a database with MLflow's tables.

In `models`, only this module and `models.registry` import MLflow.
"""

import contextlib
import functools
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from labelwright.entities.errors import (
    ModelNotFoundError,
    RegistryError,
    StorageError,
    without_credentials,
)
from labelwright.entities.io.files import locked
from labelwright.models.paths import home, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
"""URI schemes of databases, which MLflow opens without a tracking server."""
_TIMEOUTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "PGCONNECT_TIMEOUT": "20",
}
"""Environment variables that limit waiting: a number of retries, and timeouts in seconds. Without
them, MLflow retries for minutes when a server is down."""
_LONGEST_MESSAGE = 300


@contextlib.contextmanager
def connect() -> Iterator["MlflowClient"]:
    """A context with a client of the registry and tracking server that `tracking_uri` names.

    Errors of MLflow inside the context become ModelNotFoundError if the registry does not have the
    model, version, alias or run, and RegistryError otherwise. Raises StorageError if a new database
    cannot be created.
    """
    uri = tracking_uri()
    _prepare(uri)
    with _translated_errors(uri):
        import mlflow

        _create_tables(uri)
        yield mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def _prepare(uri: str) -> None:
    """Set timeouts, check that MLflow can open the URI, and make the URI MLflow's default."""
    for variable, value in _TIMEOUTS.items():
        os.environ.setdefault(variable, value)
    if uri.startswith(DATABASES) and importlib.util.find_spec("alembic") is None:
        raise RegistryError(
            f"the registry at {_without_password(uri)} is a database, but only a part of MLflow is "
            "installed (mlflow-skinny), which cannot open databases: install "
            "requirements/train.txt, or set MLFLOW_TRACKING_URI to a tracking server"
        )
    _set_default(uri)


def _set_default(uri: str) -> None:
    """Make a URI the default of MLflow's own functions, but leave the environment unchanged.

    MLflow copies the URI to environment variables. They would still have the old URI after a change
    of the state folder.
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


def _create_tables(uri: str) -> None:
    """Create the tables of a database if they do not exist.

    A lock file prevents two processes of this machine from creating the same tables at once. Raises
    StorageError, which names the database, if the lock file cannot be written.
    """
    if uri.startswith("sqlite:///"):
        database = Path(uri.removeprefix("sqlite:///"))
        if not database.exists():
            try:
                with locked(database.with_suffix(".lock")):
                    _open_store(uri)
            except StorageError as error:
                raise StorageError(f"{database} cannot be created: {error}") from error
    elif uri.startswith(DATABASES):
        _create_tables_on_server(uri)


@functools.cache
def _create_tables_on_server(uri: str) -> None:
    """Create the tables of a database server, once per process.

    The first connection is made without MLflow. It fails at once if the server is down; MLflow
    would retry for minutes.
    """
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(uri)
        engine.connect().close()
        engine.dispose()
    except ImportError as error:  # the driver is not installed
        raise _registry_error(uri, error) from error
    with locked(home() / "registry.lock"):
        _open_store(uri)


def _open_store(uri: str) -> None:
    """Make MLflow open a database. MLflow then creates missing tables."""
    import mlflow

    mlflow.MlflowClient(uri, uri).search_experiments(max_results=1)


@contextlib.contextmanager
def _translated_errors(uri: str) -> Iterator[None]:
    """Turn errors of MLflow and of databases into errors of this project."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        missing_alias = "alias" in str(error) and "not found" in str(error)
        if error.error_code == "RESOURCE_DOES_NOT_EXIST" or missing_alias:
            raise ModelNotFoundError(_first_line(error)) from error
        raise _registry_error(uri, error) from error
    except OSError as error:
        raise _registry_error(uri, error) from error
    except Exception as error:
        # MLflow does not wrap SQLAlchemy's errors if it cannot open the database. SQLAlchemy is
        # not imported here, because a client of a tracking server does not need it.
        if not type(error).__module__.startswith("sqlalchemy."):
            raise
        raise _registry_error(uri, error) from error


def _registry_error(uri: str, error: Exception) -> RegistryError:
    return RegistryError(f"the registry at {_without_password(uri)} failed: {_first_line(error)}")


def _without_password(uri: str) -> str:
    """The scheme, host and port of a URI, without the user and the password."""
    parsed = urlparse(uri)
    if parsed.hostname is None:
        return uri
    return f"{parsed.scheme}://{parsed.hostname}:{parsed.port or ''}".rstrip(":")


def _first_line(error: Exception) -> str:
    """The first line of an error's message, without the users and passwords of URIs in it."""
    return without_credentials(str(error).split("\n", 1)[0])[:_LONGEST_MESSAGE]
