"""Temporary folders that the worker processes of one service share."""

import contextlib
import os
from collections.abc import Iterator

from labelwright.entities.io.files import temporary_folder

METRICS_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Set it before importing `service.telemetry.metrics`: prometheus_client reads it at import."""


@contextlib.contextmanager
def shared_metrics(workers: int) -> Iterator[None]:
    """In the context, child processes share their metrics, if there are several workers.

    Raises StorageError if no temporary folder can be created.
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
