"""The state folder, and addresses of databases and servers, from environment variables.

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
    """The tracking server: `MLFLOW_TRACKING_URI`, or else a SQLite database in the state folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow.db'}"


def artifact_root() -> str | None:
    """The URI of the folder for artifacts; None if a tracking server has its own."""
    if tracking_uri().partition(":")[0] in ("http", "https", "file", "databricks"):
        return None
    return (home() / "artifacts").as_uri()


def corrections_uri() -> str:
    """The database of corrections: `LABELWRIGHT_CORRECTIONS`, or else one in the state folder."""
    return os.environ.get("LABELWRIGHT_CORRECTIONS") or f"sqlite:///{home() / 'corrections.db'}"


def corrections_kept() -> str | None:
    """`LABELWRIGHT_CORRECTIONS_KEEP`: how long to keep corrections, such as 365d; None: forever."""
    return os.environ.get("LABELWRIGHT_CORRECTIONS_KEEP") or None


def mlflow_ui() -> str | None:
    """The address of MLflow's pages: `LABELWRIGHT_MLFLOW_UI`, or else a tracking server over HTTP.

    None if there is neither. User names and passwords are left out.
    """
    for given in (os.environ.get("LABELWRIGHT_MLFLOW_UI", ""), tracking_uri()):
        try:
            parsed = urlsplit(given)
        except ValueError:
            continue
        if parsed.scheme in ("http", "https") and parsed.hostname:
            return parsed._replace(netloc=parsed.netloc.rpartition("@")[2]).geturl().rstrip("/")
    return None
