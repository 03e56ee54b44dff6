"""What a long job has done so far, on disk, so that another process can go on with it.

A journal is a folder with a description of the job and the records that have been made, in parts:
one Arrow stream for each process that worked on it, called by the number of the row that it begins
with. A process that is killed leaves at most its last record incomplete, which then does not count.
It goes when the job is done.
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
_PACKED = pa.ipc.IpcWriteOptions(compression="lz4")


class Journal:
    """The records of one job: those of `before`, and then a place for more."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder = folder
        self._schema = schema
        self._rows = 0
        self._stack = contextlib.ExitStack()
        self._writer: pa.RecordBatchStreamWriter | None = None

    @property
    def kept(self) -> bool:
        """Whether anything has been recorded."""
        return any(self.folder.glob("*.arrow"))

    def before(self) -> Iterator[pa.Table]:
        """What other processes have recorded, in order."""
        for part in sorted(self.folder.glob("*.arrow")):
            if part.name != self._next_part().name:
                return  # what comes before it was lost
            with pa.OSFile(str(part)) as stream:
                for record in _whole_records(stream):
                    self._rows += len(record)
                    yield record

    def add(self, record: pa.Table) -> None:
        """Keep a record; when this returns, it outlives the process."""
        if self._writer is None:
            sink = self._stack.enter_context(pa.OSFile(str(self._next_part()), "wb"))
            self._writer = pa.ipc.new_stream(sink, self._schema, options=_PACKED)
        for batch in record.combine_chunks().to_batches():
            self._writer.write_batch(batch)
        self._rows += len(record)

    def close(self) -> None:
        """Record no more."""
        self._stack.close()

    def _next_part(self) -> Path:
        return self.folder / f"{self._rows:015}.arrow"


@contextlib.contextmanager
def journal(
    folder: Path, job: Mapping[str, Any], schema: pa.Schema, resume: bool, keep: bool
) -> Iterator[Journal]:
    """The journal of a job, anew or, to `resume`, with what is there of the same job.

    It goes where the work is done; where the work stops on the way it stays, if it is to `keep` and
    holds anything. Raises RequestError where what is there is of another job or is worked on by
    another process, and StorageError.
    """
    try:
        folder.mkdir(exist_ok=True)
        with locked_if_free(folder / _LOCK) as free:
            if not free:
                raise RequestError(f"another process works on {folder}")
            _begin(folder, json.loads(json.dumps(job)), resume)
            opened = Journal(folder, schema)
            done = False
            try:
                yield opened
                done = True
            finally:
                opened.close()
                if done or not keep or not opened.kept:
                    _remove(folder)
    except OSError as error:
        raise StorageError(f"{folder} was not written: {reason(error)}") from error


def _begin(folder: Path, job: Mapping[str, Any], resume: bool) -> None:
    """Make room for a job, or check that what is there is the same."""
    described = folder / _JOB
    try:
        there = json.loads(described.read_bytes())
    except (FileNotFoundError, ValueError):
        there = None
    if resume and there is not None:
        changed = sorted(name for name in {*job, *there} if job.get(name) != there.get(name))
        if changed:
            raise RequestError(
                f"cannot resume: another {' and '.join(changed)} than before; without --resume "
                "everything is done anew"
            )
        return
    described.unlink(missing_ok=True)  # first: parts without it count for nothing
    for part in (*folder.glob("*.arrow"), *folder.glob(f"*{PART}")):
        part.unlink()
    write_json(described, job)


def _remove(folder: Path) -> None:
    """Remove a journal; whoever is killed meanwhile leaves parts of no job, which do not count."""
    (folder / _JOB).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _whole_records(stream: pa.NativeFile) -> Iterator[pa.Table]:
    """The records of a part, up to where it was cut short."""
    try:
        with pa.ipc.open_stream(stream) as records:
            for batch in records:
                yield pa.Table.from_batches([batch])
    except pa.ArrowInvalid:
        return
    except OSError as error:
        if error.errno:  # the disk does not give what is there
            raise
