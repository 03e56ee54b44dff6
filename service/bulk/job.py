"""Bulk jobs: the rows of a file are read in batches, labelled by an executor, and written."""

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
from labelwright.entities.io.row_ids import with_distinct_ids
from labelwright.entities.io.writers import output_format, predictions_file
from labelwright.models.bundle.format import Bundle
from labelwright.models.decisions import LabelQuery
from labelwright.models.paths import home
from labelwright.service.bulk.journal import NAMES, Journal, open_journal
from labelwright.service.bulk.rejects import REJECTION, rejected_rows_file
from labelwright.service.bulk.reuse import PreviousOutput, provenance_of
from labelwright.service.bulk.worker import REUSED, BatchLabeler, LabelledBatch

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class BulkJob:
    """A file to label and the file of its predictions; each can be a standard stream.

    `resume` continues where an earlier process with the same job stopped. `previous` is the output
    of an earlier run; its predictions are reused for rows that have not changed. `columns` maps the
    columns of the schema to the columns of the input.
    """

    input: Location
    output: Location
    query: LabelQuery = dataclasses.field(default_factory=LabelQuery)
    threads: int = 1
    resume: bool = False
    previous: Location | None = None
    columns: ColumnMap = SAME_NAMES

    @property
    def resumable(self) -> bool:
        """Whether another process can continue the job: not if a file is a standard stream."""
        return self.input.filesystem is not None and self.output.filesystem is not None


@dataclasses.dataclass
class BulkReport:
    """Numbers of rows of a job, and its warnings.

    `rows` counts all rows, `rejected` the rejected rows, `reused` the rows with reused predictions,
    and `resumed` the rows that an earlier process had finished.
    """

    rows: int = 0
    rejected: int = 0
    reused: int = 0
    resumed: int = 0
    warnings: set[str] = dataclasses.field(default_factory=set)


Advance = Callable[[int, float | None], object]
"""Called after each write with the number of rows written and the share of the input read.

The share is None if it is not known.
"""

Executor = Callable[[BatchLabeler, BulkJob, int], Generator[LabelledBatch, None, None]]
"""Labels all rows of a job from a given row on, and yields the batches in order."""


def on_threads(
    label: BatchLabeler, job: BulkJob, skip: int
) -> Generator[LabelledBatch, None, None]:
    """Executor that labels batches on threads of this process."""
    with ThreadPoolExecutor(job.threads) as pool:
        schema = label.bundle.labeler.schema
        batches = read_batches(job.input, schema, labelled=False, skip=skip, columns=job.columns)
        distinct = with_distinct_ids(batches, skip)
        yield from _in_order(pool, label, distinct, ahead=2 * job.threads)


def label_file(
    bundle: Bundle,
    job: BulkJob,
    advance: Advance = lambda rows, share: None,
    executor: Executor = on_threads,
) -> BulkReport:
    """Label every row of the input and write the predictions in the order of the rows.

    A row that the schema rejects gets null labels. The reason is written to `OUTPUT.rejects.jsonl`,
    or to standard error if the output is a standard stream. The finished rows of an unfinished job
    are kept in the journal in `journal_folder`. Raises DataError, RequestError, StorageError and
    EngineError.
    """
    bundle.labeler.check(job.query)
    job.columns.check(bundle.labeler.schema)
    _check_locations(job)
    provenance = {
        "labelwright": version("labelwright"),
        "model": bundle.manifest.content,
        "question": orjson.loads(orjson.dumps(job.query)),
    }
    report = BulkReport()
    with contextlib.ExitStack() as stack:
        previous = _reusable_output(job, provenance, report)
        if previous:
            stack.callback(previous.close)
        label = BatchLabeler(bundle, job.query, previous)
        journal = stack.enter_context(_journal_of(job, provenance))
        temporary_folder = journal.folder if journal else None
        reject = stack.enter_context(rejected_rows_file(job.output, temporary_folder))
        write = stack.enter_context(predictions_file(job.output, provenance, temporary_folder))

        def finish(records: pa.Table, share: float | None) -> None:
            write(records)
            reject(records, report.rows)
            _count(records, report)
            advance(len(records), share)

        for records in journal.finished() if journal else ():
            finish(records, None)
        report.resumed = report.rows
        batches = stack.enter_context(contextlib.closing(executor(label, job, report.rows)))
        for batch in batches:
            if journal and job.resumable:
                journal.add(batch.records)
            finish(batch.records, batch.share)
            report.warnings.update(batch.warnings)
    return report


def journal_folder(output: Location) -> Path:
    """The folder of an output's journal: beside a local output, otherwise in the state folder."""
    if path := output.written_path:
        return path.with_name(f".{path.name}.unfinished")
    return home() / "unfinished" / hashlib.sha256(output.text.encode()).hexdigest()[:16]


def _reusable_output(
    job: BulkJob, provenance: Mapping[str, Any], report: BulkReport
) -> PreviousOutput | None:
    """The previous output, None if there is none or it cannot be reused.

    It cannot be reused if it comes from another version of labelwright, another model or another
    query. Then the report gets a warning.
    """
    if job.previous is None:
        return None
    found = provenance_of(job.previous)
    if differing := [part for part in provenance if found.get(part) != provenance[part]]:
        report.warnings.add(
            f"{job.previous} is not reused, all rows are labelled: it comes from another "
            f"{' and another '.join(NAMES.get(part, part) for part in differing)}"
        )
        return None
    return PreviousOutput(job.previous)


def _check_locations(job: BulkJob) -> None:
    """Raise RequestError or StorageError if the job cannot be resumed or its output not written."""
    output_format(job.output)
    if job.resume and not job.resumable:
        raise RequestError("a standard stream cannot be resumed: name files as input and output")
    if job.input.contains(job.output):
        raise RequestError(
            f"the output {job.output} is the input, or lies in it: name another output"
        )
    info = job.output.info()
    if info is not None and info.type == pyarrow.fs.FileType.Directory:
        raise StorageError(f"{job.output} was not written: it is a folder; name a file")


@contextlib.contextmanager
def _journal_of(job: BulkJob, provenance: Mapping[str, Any]) -> Iterator[Journal | None]:
    """The journal of a job, None if its output is a standard stream; raises RequestError."""
    if job.output.filesystem is None:
        yield None
        return
    described = {
        "input": [_file_state(file) for file in files_of(job.input)],
        "column names": dict(job.columns.sources),
        "previous answers": _file_state(job.previous) if job.previous else None,
        **provenance,
    }
    folder = journal_folder(job.output)
    if not job.output.local:
        _make_folder(folder.parent)
    with open_journal(folder, described, job.resume, job.resumable) as journal:
        yield journal


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} was not created: {reason(error)}") from error


def _file_state(file: Location) -> list[object]:
    """Path, size and modification time of a file. If one of them differs, the file has changed."""
    info = file.info()
    return [file.path, info.size if info else None, info.mtime_ns if info else None]


def _count(records: pa.Table, report: BulkReport) -> None:
    report.rows += len(records)
    report.rejected += len(records) - records[REJECTION].null_count
    report.reused += int(records[REUSED].to_numpy().sum())


def _in_order(
    pool: ThreadPoolExecutor,
    function: Callable[[Item], Result],
    items: Iterator[Item],
    ahead: int,
) -> Iterator[Result]:
    """Results of a function in the order of the items, with at most `ahead` items in the pool."""
    waiting: collections.deque[Future[Result]] = collections.deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
