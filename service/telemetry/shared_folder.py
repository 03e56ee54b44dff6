"""The folders in which several workers meet."""

import contextlib
import os
from collections.abc import Iterator

from labelwright.entities.io.files import temporary_folder

METRICS_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Read by the Prometheus library at import: set it before importing `service.telemetry.metrics`."""


@contextlib.contextmanager
def shared_metrics(workers: int) -> Iterator[None]:
    """Let the processes that are started in the body share their figures, if there are several.

    Raises StorageError where no temporary folder can be made.
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
