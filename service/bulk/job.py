"""Labelling whole files: batches are read, labelled by a runner, and written in order."""

import collections
import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pyarrow as pa
import pyarrow.fs

from labelwright.entities.errors import RequestError, StorageError, reason
from labelwright.entities.io.column_map import ColumnMap
from labelwright.entities.io.locations import Location
from labelwright.entities.io.readers import SAME_NAMES, files_of, read_batches
from labelwright.entities.io.writers import output_format, predictions_file
from labelwright.models.bundle.format import Bundle
from labelwright.models.decisions import LabelQuery
from labelwright.models.paths import home
from labelwright.service.bulk.journal import Journal, journal
from labelwright.service.bulk.rejects import REJECTION, rejects_file
from labelwright.service.bulk.reuse import Previous
from labelwright.service.bulk.worker import KNOWN, RECORDS, Done, Work

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Job:
    """A file to label into another; a standard stream can be either.

    `resume` goes on where an earlier process with the same job stopped; `previous` holds answers of
    an earlier run, which are taken over for rows that have not changed. `columns` says what the
    source calls the columns of the schema.
    """

    source: Location
    target: Location
    query: LabelQuery = dataclasses.field(default_factory=LabelQuery)
    threads: int = 1
    resume: bool = False
    previous: Location | None = None
    columns: ColumnMap = SAME_NAMES

    @property
    def resumable(self) -> bool:
        """Whether another process could go on with it: a stream does not come again."""
        return self.source.filesystem is not None and self.target.filesystem is not None


@dataclasses.dataclass
class BulkReport:
    """How many rows there are, how many of them were rejected, known before, or resumed with."""

    rows: int = 0
    rejected: int = 0
    known: int = 0
    resumed: int = 0
    warnings: set[str] = dataclasses.field(default_factory=set)


Advance = Callable[[int, float | None], object]
"""Told of rows as they are written, and of the share of the whole that has been read by then."""

Runner = Callable[[Work, Job, int], Generator[Done, None, None]]
"""Carries out work on all batches of a job but the rows before one, and gives them in order."""


def on_threads(work: Work, job: Job, skip: int) -> Generator[Done, None, None]:
    """The runner of one process."""
    with ThreadPoolExecutor(job.threads) as pool:
        schema = work.bundle.labeler.schema
        batches = read_batches(job.source, schema, labelled=False, skip=skip, columns=job.columns)
        yield from _in_order(pool, work, batches, ahead=2 * job.threads)


def label_file(
    bundle: Bundle,
    job: Job,
    advance: Advance = lambda rows, share: None,
    runner: Runner = on_threads,
) -> BulkReport:
    """Label every row of the source into the target, in order.

    A row that the schema rejects has null labels, and its reason goes to `TARGET.rejects.jsonl`, of
    a standard stream to standard error. Until all is done, what has been done is kept in a journal,
    see `journal_folder`. Raises DataError, RequestError, StorageError, EngineError.
    """
    bundle.labeler.check(job.query)
    job.columns.check(bundle.labeler.schema)
    _check_places(job)
    provenance = {
        "labelwright": version("labelwright"),
        "model": bundle.manifest.content,
        "question": orjson.loads(orjson.dumps(job.query)),
    }
    report = BulkReport()
    with contextlib.ExitStack() as stack:
        previous = _previous(job, provenance, report)
        if previous:
            stack.callback(previous.close)
        work = Work(bundle, job.query, previous)
        kept = stack.enter_context(_kept(job, provenance))
        drafts = kept.folder if kept else None
        reject = stack.enter_context(rejects_file(job.target, drafts))
        write = stack.enter_context(predictions_file(job.target, provenance, drafts))

        def finish(records: pa.Table, share: float | None) -> None:
            write(records)
            reject(records, report.rows)
            _count(records, report)
            advance(len(records), share)

        for records in kept.before() if kept else ():
            finish(records, None)
        report.resumed = report.rows
        results = stack.enter_context(contextlib.closing(runner(work, job, report.rows)))
        for done in results:
            if kept and job.resumable:
                kept.add(done.records)
            finish(done.records, done.share)
            report.warnings.update(done.warnings)
    return report


def journal_folder(target: Location) -> Path:
    """Where the journal of a target lies: beside a local file, else in the state folder."""
    if target.local:
        return target.local.with_name(f".{target.name}.unfinished")
    return home() / "unfinished" / hashlib.sha256(target.text.encode()).hexdigest()[:16]


def _previous(job: Job, provenance: Mapping[str, Any], report: BulkReport) -> Previous | None:
    """The previous answers, if the same model gave them to the same question."""
    if job.previous is None:
        return None
    previous = Previous(job.previous)
    if differing := [
        part for part in provenance if previous.provenance.get(part) != provenance[part]
    ]:
        previous.close()
        report.warnings.add(
            f"every row is labelled anew: {job.previous} is of another {' and '.join(differing)}"
        )
        return None
    return previous


def _check_places(job: Job) -> None:
    """Raise where the target cannot be what it is to be, before anything takes long."""
    output_format(job.target)
    if job.resume and not job.resumable:
        raise RequestError("a standard stream cannot be resumed")
    if job.source.contains(job.target):
        raise RequestError(f"{job.target} is, or lies in, what is to be labelled")
    info = job.target.info()
    if info is not None and info.type == pyarrow.fs.FileType.Directory:
        raise StorageError(f"{job.target} was not written: it is a folder")


@contextlib.contextmanager
def _kept(job: Job, provenance: Mapping[str, Any]) -> Iterator[Journal | None]:
    """The journal of a job; a target that is a stream has none. Raises RequestError."""
    if job.target.filesystem is None:
        yield None
        return
    described = {
        "input": [_state(file) for file in files_of(job.source)],
        "column names": dict(job.columns.sources),
        "previous answers": _state(job.previous) if job.previous else None,
        **provenance,
    }
    folder = journal_folder(job.target)
    if not job.target.local:
        _make(folder.parent)
    with journal(folder, described, RECORDS, job.resume, job.resumable) as opened:
        yield opened


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} was not made: {reason(error)}") from error


def _state(file: Location) -> list[object]:
    info = file.info()
    return [file.path, info.size if info else None, info.mtime_ns if info else None]


def _count(records: pa.Table, report: BulkReport) -> None:
    report.rows += len(records)
    report.rejected += len(records) - records[REJECTION].null_count
    report.known += int(records[KNOWN].to_numpy().sum())


def _in_order(
    pool: ThreadPoolExecutor,
    work: Callable[[Item], Result],
    items: Iterator[Item],
    ahead: int,
) -> Iterator[Result]:
    """Results in the order of the items, with at most `ahead` items under way."""
    waiting: collections.deque[Future[Result]] = collections.deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
