"""The folders in which several workers meet."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

from labelwright.entities.errors import StorageError, reason

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Read by the Prometheus library at import: set it before importing `service.telemetry.metrics`."""


@contextlib.contextmanager
def shared_metrics(workers: int) -> Iterator[None]:
    """Let the processes that are started in the body share their figures, if there are several.

    Raises StorageError where no temporary folder can be made.
    """
    os.environ.pop(FOLDER_VARIABLE, None)
    if workers == 1:
        yield
        return
    with temporary_folder() as folder:
        os.environ[FOLDER_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER_VARIABLE]


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for as long as it is used; raises StorageError where none can be made."""
    try:
        return tempfile.TemporaryDirectory(prefix="labelwright-")
    except OSError as error:
        raise StorageError(f"no temporary folder can be made: {reason(error)}") from error
