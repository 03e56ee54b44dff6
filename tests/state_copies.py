"""Copies of state folders, so that tests which change a registry share its trainings."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

DATABASE = "mlflow.db"


def restore(copy: Path, home: Path) -> None:
    """Set a state folder to its copy; paths in its database stay valid.

    The content of the database is replaced, and not its file, which MLflow has opened.
    """
    for path in home.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif not path.name.startswith(DATABASE):
            path.unlink()
    shutil.copytree(copy, home, ignore=shutil.ignore_patterns(f"{DATABASE}*"), dirs_exist_ok=True)
    with (
        contextlib.closing(sqlite3.connect(copy / DATABASE)) as source,
        contextlib.closing(sqlite3.connect(home / DATABASE)) as target,
    ):
        source.backup(target)
