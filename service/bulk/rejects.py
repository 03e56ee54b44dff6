"""The rows that a file of answers has no labels for, and why: `TARGET.rejects.jsonl` beside it."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from labelwright.entities.errors import StorageError, reason
from labelwright.entities.io.locations import Location, open_output, standard_error_stream

REJECTION = "rejection"
"""The column of a record that says why its row was rejected."""


@contextlib.contextmanager
def rejects_file(
    target: Location, drafts: Path | None
) -> Iterator[Callable[[pa.Table, int], None]]:
    """A function that writes the rejected among records; without any there is no file.

    It replaces what an earlier run left; for `drafts` see `open_output`.
    """
    location = target.sibling(f"{target.name}.rejects.jsonl")
    with contextlib.ExitStack() as stack:
        streams: list[Any] = [] if target.filesystem else [standard_error_stream()]

        def reject(done: pa.Table, first: int) -> None:
            rows = done[REJECTION].is_valid().to_numpy().nonzero()[0]
            if not len(rows):
                return
            if not streams:
                streams.append(stack.enter_context(open_output(location, drafts)))
            for row, line in zip(rows, done.take(rows).to_pylist(), strict=True):
                said = {"row": first + int(row), "id": line["id"], "reason": line[REJECTION]}
                streams[0].write(orjson.dumps(said) + b"\n")

        yield reject
    if target.filesystem and not streams:
        _remove(location)


def _remove(location: Location) -> None:
    info = location.info()
    if location.filesystem is None or info is None or not info.is_file:
        return
    try:
        location.filesystem.delete_file(location.path)
    except OSError as error:
        raise StorageError(f"{location} was not removed: {reason(error)}") from error
