"""Journal of a bulk job: finished records on disk, from which another process can continue.

A record is a table with the labelled rows of one batch. A journal is a folder with a description of
the job and its records. Each process that works on the job writes one file of records, a part,
whose name is the number of its first row. A record that is damaged or incomplete, for example
because the process was killed, is ignored with all records after it. The folder is removed at the
end of the job.
"""

import contextlib
import json
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelwright.entities.errors import RequestError, StorageError, reason
from labelwright.entities.io.files import locked_if_free, write_atomically
from labelwright.service.bulk.record_file import RecordWriter, read_records

_JOB, _LOCK, _PART = "job.json", "lock", ".records"
NAMES = {"question": "query", "previous answers": "previous output"}
"""Names for messages, by the older name that the files of jobs still use as a key."""


class Journal:
    """The records of one job, whose description has the checksum `key`.

    Read all of `finished()` before the first call of `add`.
    """

    def __init__(self, folder: Path, key: int) -> None:
        self.folder = folder
        self._key = key
        self._rows = 0
        self._writer: RecordWriter | None = None

    @property
    def has_records(self) -> bool:
        """Whether the folder has at least one part."""
        return any(self.folder.glob(f"*{_PART}"))

    def finished(self) -> Iterator[pa.Table]:
        """Read the records of earlier processes, in order."""
        for part in sorted(self.folder.glob(f"*{_PART}")):
            if part.name != self._next_part().name:
                return  # the part before this one is missing, damaged or incomplete
            for record in read_records(part, self._key, self._rows):
                self._rows += len(record)
                yield record

    def add(self, record: pa.Table) -> None:
        """Write a record. When `add` has returned, the record survives the end of the process."""
        if self._writer is None:
            self._writer = RecordWriter(self._next_part(), self._key)
        self._writer.add(record, self._rows)
        self._rows += len(record)

    def close(self, flush: bool) -> None:
        """Close the file of this process, and flush it to the disk if `flush` is true."""
        if self._writer is not None:
            self._writer.close(flush)

    def _next_part(self) -> Path:
        return self.folder / f"{self._rows:015}{_PART}"


@contextlib.contextmanager
def open_journal(
    folder: Path, job: Mapping[str, Any], resume: bool, keep: bool
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
            described = json.loads(json.dumps(job))
            _begin(folder, described, resume)
            journal = Journal(folder, _checksum(described))
            done = False
            try:
                yield journal
                done = True
            finally:
                kept = keep and not done and journal.has_records
                journal.close(flush=kept)
                if not kept:
                    _remove(folder)
    except OSError as error:
        raise StorageError(f"{folder} was not written: {reason(error)}") from error


def _begin(folder: Path, job: Mapping[str, Any], resume: bool) -> None:
    """Remove the records of an earlier job, or check that the job to resume is the same."""
    earlier = _description(folder)
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
    for file in folder.iterdir():
        if file.name != _LOCK:
            file.unlink()
    content = {"checksum": _checksum(job), "job": job}
    write_atomically(folder / _JOB, json.dumps(content).encode(), durable=True)


def _description(folder: Path) -> Mapping[str, Any] | None:
    """The description of the job of a journal; None if it does not exist or is damaged."""
    try:
        content = json.loads((folder / _JOB).read_bytes())
        job: Mapping[str, Any] = content["job"]
        return job if content["checksum"] == _checksum(job) else None
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None


def _checksum(job: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(job, sort_keys=True).encode())


def _remove(folder: Path) -> None:
    """Remove a journal. An interruption leaves parts without a description, which are ignored."""
    (folder / _JOB).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
