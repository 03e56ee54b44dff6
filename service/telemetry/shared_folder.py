"""Temporary folder in which the worker processes of one service share their metrics."""

import contextlib
import os
from collections.abc import Iterator

from labelwright.entities.io.files import temporary_folder

METRICS_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable that names the folder. It must be set before `service.telemetry.metrics` is
imported, because prometheus_client reads the variable at import."""


@contextlib.contextmanager
def shared_metrics(workers: int) -> Iterator[None]:
    """Create the folder and set its variable, if there are several workers, until the context ends.

    Child processes that start in the context then share their metrics. Raises StorageError if the
    folder cannot be created.
    """
    os.environ.pop(METRICS_FOLDER_VARIABLE, None)
    if workers == 1:
        yield
        return
    with temporary_folder() as folder:
        os.environ[METRICS_FOLDER_VARIABLE] = str(folder)
        try:
            yield
        finally:
            del os.environ[METRICS_FOLDER_VARIABLE]
