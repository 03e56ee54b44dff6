"""Where state lies: one folder for databases, artifacts and the bundle cache."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs


def home() -> Path:
    """`LABELWRIGHT_HOME`, else the user's data folder; it does not depend on the current folder."""
    given = os.environ.get("LABELWRIGHT_HOME")
    return Path(given).resolve() if given else platformdirs.user_data_path("labelwright")


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, else a SQLite database in `home()`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow.db'}"


def artifact_root() -> str | None:
    """Where artifacts go when no tracking server decides: a folder of `home()`, as a URI."""
    if tracking_uri().partition(":")[0] in ("http", "https", "file", "databricks"):
        return None
    return (home() / "artifacts").as_uri()


def corrections_uri() -> str:
    """`LABELWRIGHT_CORRECTIONS`, else a SQLite database in `home()`."""
    return os.environ.get("LABELWRIGHT_CORRECTIONS") or f"sqlite:///{home() / 'corrections.db'}"


def corrections_kept() -> str | None:
    """`LABELWRIGHT_CORRECTIONS_KEEP`: how long corrections stay, like 365d; None: for ever."""
    return os.environ.get("LABELWRIGHT_CORRECTIONS_KEEP") or None


def mlflow_ui() -> str | None:
    """`LABELWRIGHT_MLFLOW_UI`, else the tracking server, if it is one that a browser can ask."""
    for given in (os.environ.get("LABELWRIGHT_MLFLOW_UI", ""), tracking_uri()):
        try:
            parsed = urlsplit(given)
        except ValueError:
            continue
        if parsed.scheme in ("http", "https") and parsed.hostname:
            return parsed._replace(netloc=parsed.netloc.rpartition("@")[2]).geturl().rstrip("/")
    return None
