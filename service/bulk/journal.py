"""Journal of a bulk job: finished records on disk, from which another process can continue.

A record is a table with the labelled rows of one batch. A journal is a folder with a description of
the job and its records. Each process that works on the job writes one Arrow stream, a part, whose
name is the number of its first row. If a process is killed, its last record may be incomplete and
is ignored. The folder is removed at the end of the job.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelwright.entities.errors import RequestError, StorageError, reason
from labelwright.entities.io.files import PART, locked_if_free, write_json

_JOB, _LOCK = "job.json", "lock"
NAMES = {"question": "query", "previous answers": "previous output"}
"""Names for messages, by the older name that the files of jobs still use as a key."""
_PACKED = pa.ipc.IpcWriteOptions(compression="lz4")


class Journal:
    """The records of one job. Read all of `finished()` before the first call of `add`."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder = folder
        self._schema = schema
        self._rows = 0
        self._stack = contextlib.ExitStack()
        self._writer: pa.RecordBatchStreamWriter | None = None

    @property
    def has_records(self) -> bool:
        """Whether the folder has at least one part."""
        return any(self.folder.glob("*.arrow"))

    def finished(self) -> Iterator[pa.Table]:
        """Read the records of earlier processes, in order."""
        for part in sorted(self.folder.glob("*.arrow")):
            if part.name != self._next_part().name:
                return  # the part before this one is missing or incomplete
            with pa.OSFile(str(part)) as stream:
                for record in _complete_records(stream):
                    self._rows += len(record)
                    yield record

    def add(self, record: pa.Table) -> None:
        """Write a record. When `add` has returned, the record survives the end of the process."""
        if self._writer is None:
            sink = self._stack.enter_context(pa.OSFile(str(self._next_part()), "wb"))
            self._writer = pa.ipc.new_stream(sink, self._schema, options=_PACKED)
        for batch in record.combine_chunks().to_batches():
            self._writer.write_batch(batch)
        self._rows += len(record)

    def close(self) -> None:
        """Close the file of this process."""
        self._stack.close()

    def _next_part(self) -> Path:
        return self.folder / f"{self._rows:015}.arrow"


@contextlib.contextmanager
def open_journal(
    folder: Path, job: Mapping[str, Any], schema: pa.Schema, resume: bool, keep: bool
) -> Iterator[Journal]:
    """Open the journal of a job: empty, or with the records of the same job if `resume` is true.

    The folder is removed when the body succeeds. If the body fails, the folder stays if `keep` is
    true and the folder has records. Raises RequestError if the journal belongs to another job or is
    in use by another process, and StorageError if the folder cannot be written.
    """
    try:
        folder.mkdir(exist_ok=True)
        with locked_if_free(folder / _LOCK) as free:
            if not free:
                raise RequestError(
                    f"another process works on {folder}: wait for its end or name another output"
                )
            _begin(folder, json.loads(json.dumps(job)), resume)
            journal = Journal(folder, schema)
            done = False
            try:
                yield journal
                done = True
            finally:
                journal.close()
                if done or not keep or not journal.has_records:
                    _remove(folder)
    except OSError as error:
        raise StorageError(f"{folder} was not written: {reason(error)}") from error


def _begin(folder: Path, job: Mapping[str, Any], resume: bool) -> None:
    """Remove the records of an earlier job, or check that the job to resume is the same."""
    description = folder / _JOB
    try:
        earlier = json.loads(description.read_bytes())
    except (FileNotFoundError, ValueError):
        earlier = None
    if resume and earlier is not None:
        names = {*job, *earlier}
        changed = sorted(
            NAMES.get(name, name) for name in names if job.get(name) != earlier.get(name)
        )
        if changed:
            raise RequestError(
                f"cannot resume: another {' and '.join(changed)} than before; without --resume, "
                "all rows are labelled again"
            )
        return
    description.unlink(missing_ok=True)  # first, because parts without a description are ignored
    for part in (*folder.glob("*.arrow"), *folder.glob(f"*{PART}")):
        part.unlink()
    write_json(description, job)


def _remove(folder: Path) -> None:
    """Remove a journal. An interruption leaves parts without a description, which are ignored."""
    (folder / _JOB).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _complete_records(stream: pa.NativeFile) -> Iterator[pa.Table]:
    """The records of a part, up to the first incomplete one."""
    try:
        with pa.ipc.open_stream(stream) as records:
            for batch in records:
                yield pa.Table.from_batches([batch])
    except pa.ArrowInvalid:
        return
    except OSError as error:
        if error.errno:  # the disk cannot be read
            raise
