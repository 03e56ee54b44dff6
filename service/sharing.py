"""The folder in which the figures of several workers meet."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

from entities.errors import StorageError, reason

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The Prometheus library reads it when it is imported, so it is set before `service.metrics` is."""


@contextlib.contextmanager
def shared_figures(workers: int) -> Iterator[None]:
    """Let the processes that are started in the body share their figures, if there are several.

    Raises StorageError where no temporary folder can be made.
    """
    os.environ.pop(FOLDER_VARIABLE, None)
    if workers == 1:
        yield
        return
    with _folder() as folder:
        os.environ[FOLDER_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER_VARIABLE]


def _folder() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="labelwright-figures-")
    except OSError as error:
        raise StorageError(f"no temporary folder can be made: {reason(error)}") from error
