"""What a long job has done so far, on disk, so that another process can go on with it.

A journal is a folder with a description of the job and the records that have been made, in parts:
one Arrow stream for each process that worked on it. A process that is killed leaves at most its
last record incomplete, which then does not count. It goes when the job is done.
"""

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from entities.errors import DataError, RequestError, StorageError, reason

_JOB, _LOCK = "job.json", "lock"
_PACKED = pa.ipc.IpcWriteOptions(compression="lz4")


class Journal:
    """The records of one job: those of before, and a place for more."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder = folder
        self._before = sorted(folder.glob("*.arrow"))
        sink = pa.OSFile(str(folder / f"{len(self._before):06}.arrow"), "wb")
        self._writer = pa.ipc.new_stream(sink, schema, options=_PACKED)
        self._sink = sink

    def before(self) -> Iterator[pa.Table]:
        """What other processes have recorded, in order."""
        for part in self._before:
            with pa.OSFile(str(part)) as stream:
                yield from _whole_records(stream)

    def add(self, record: pa.Table) -> None:
        """Keep a record; when this returns, it outlives the process."""
        for batch in record.combine_chunks().to_batches():
            self._writer.write_batch(batch)

    def close(self) -> None:
        """Write no more."""
        with contextlib.suppress(OSError, pa.ArrowException):
            self._writer.close()
        self._sink.close()


@contextlib.contextmanager
def journal(
    folder: Path, job: Mapping[str, Any], schema: pa.Schema, resume: bool
) -> Iterator[Journal]:
    """The journal of a job, anew or, to `resume`, with what is there of the same job.

    It stays where the work is interrupted or finds no room, and goes where the work is done or can
    never be. Raises RequestError where what is there is of another job, and StorageError.
    """
    try:
        folder.mkdir(exist_ok=True)
        with (folder / _LOCK).open("w") as lock:
            _take(lock.fileno(), folder)
            _begin(folder, json.loads(json.dumps(job)), resume)
            opened = Journal(folder, schema)
            try:
                yield opened
            except (DataError, RequestError):
                _remove(folder)
                raise
            finally:
                opened.close()
            _remove(folder)
    except OSError as error:
        raise StorageError(f"{folder} was not written: {reason(error)}") from error


def _take(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StorageError(f"another process works on {folder}") from error


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
    for part in (*folder.glob("*.arrow"), *folder.glob("*.part")):
        part.unlink()
    draft = folder / f"{_JOB}.part"
    draft.write_text(json.dumps(job), "utf-8")
    draft.replace(described)


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
    except (OSError, pa.ArrowInvalid):
        return
