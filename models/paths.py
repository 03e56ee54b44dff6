"""Locations that environment variables may set: the state folder, databases and servers.

The state folder contains databases, artifacts and the cache of bundles.
"""

import os
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs


def home() -> Path:
    """The state folder: `LABELWRIGHT_HOME`, or else a folder in the user's data folder."""
    given = os.environ.get("LABELWRIGHT_HOME")
    return Path(given).resolve() if given else platformdirs.user_data_path("labelwright")


def tracking_uri() -> str:
    """The tracking URI: `MLFLOW_TRACKING_URI`, or else a SQLite database in the state folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow.db'}"


def artifact_root() -> str | None:
    """The URI of the artifact folder; None if the tracking server or folder has its own."""
    if tracking_uri().partition(":")[0] in ("http", "https", "file", "databricks"):
        return None
    return (home() / "artifacts").as_uri()


def corrections_uri() -> str:
    """The corrections database: `LABELWRIGHT_CORRECTIONS`, or else a file in the state folder."""
    return os.environ.get("LABELWRIGHT_CORRECTIONS") or f"sqlite:///{home() / 'corrections.db'}"


def corrections_kept() -> str | None:
    """`LABELWRIGHT_CORRECTIONS_KEEP`: how long to keep corrections, such as 365d; None: forever."""
    return os.environ.get("LABELWRIGHT_CORRECTIONS_KEEP") or None


def mlflow_ui() -> str | None:
    """The address of the MLflow UI: `LABELWRIGHT_MLFLOW_UI`, or else the tracking server's address.

    None if neither is an HTTP address. User names and passwords are removed from the address.
    """
    for given in (os.environ.get("LABELWRIGHT_MLFLOW_UI", ""), tracking_uri()):
        try:
            parsed = urlsplit(given)
        except ValueError:
            continue
        if parsed.scheme in ("http", "https") and parsed.hostname:
            return parsed._replace(netloc=parsed.netloc.rpartition("@")[2]).geturl().rstrip("/")
    return None
