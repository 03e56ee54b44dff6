"""Rejected rows of a bulk job and their reasons, in `OUTPUT.rejects.jsonl` beside the output."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from labelwright.entities.errors import StorageError, reason
from labelwright.entities.io.locations import Location, open_output, standard_error_stream

REJECTION = "rejection"
"""The column of a record with the reason why its row was rejected."""


@contextlib.contextmanager
def rejected_rows_file(
    output: Location, temporary_folder: Path | None
) -> Iterator[Callable[[pa.Table, int], None]]:
    """Context with a function that writes the rejected rows of records.

    The arguments of the function are the records and the number of their first row. If the output
    is a standard stream, rejected rows are written to standard error. Otherwise the file is created
    for the first rejected row; without rejected rows, the file of an earlier run is removed.
    `temporary_folder` is that of `open_output`. Raises StorageError.
    """
    location = output.sibling(f"{output.name}.rejects.jsonl")
    with contextlib.ExitStack() as stack:
        streams: list[Any] = [] if output.filesystem else [standard_error_stream()]

        def reject(records: pa.Table, first: int) -> None:
            rows = records[REJECTION].is_valid().to_numpy().nonzero()[0]
            if not len(rows):
                return
            if not streams:
                streams.append(stack.enter_context(open_output(location, temporary_folder)))
            for row, record in zip(rows, records.take(rows).to_pylist(), strict=True):
                line = {"row": first + int(row), "id": record["id"], "reason": record[REJECTION]}
                streams[0].write(orjson.dumps(line) + b"\n")

        yield reject
    if output.filesystem and not streams:
        _remove(location)


def _remove(location: Location) -> None:
    info = location.info()
    if location.filesystem is None or info is None or not info.is_file:
        return
    try:
        location.filesystem.delete_file(location.path)
    except OSError as error:
        raise StorageError(f"{location} was not removed: {reason(error)}") from error
