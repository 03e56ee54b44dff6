"""Executor of bulk jobs on a Ray cluster, with Ray Data.

Nodes read parts of the input, label them and return records. This process writes the records in
order. The model is sent once to each node; all workers of the node share it in Ray's memory. If a
node is lost, Ray runs its unfinished parts on another node. Each node needs this package, and must
reach the input under the same path or address.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import logging
import os
import socket
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from labelwright.entities.errors import EngineError, LabelwrightError, RequestError, reason
from labelwright.entities.io.column_map import ColumnMap
from labelwright.entities.io.locations import locate
from labelwright.entities.io.readers import count_rows
from labelwright.entities.io.splits import Part, parts_of, read_part
from labelwright.models.decisions import LabelQuery
from labelwright.service.bulk.job import BulkJob, Executor
from labelwright.service.bulk.record_file import from_stream, to_stream
from labelwright.service.bulk.reuse import PreviousOutput
from labelwright.service.bulk.worker import BatchLabeler, LabelledBatch

if TYPE_CHECKING:
    from ray.data import Dataset

PATIENCE = 10.0
"""Seconds to wait for a connection to the cluster, and for each of Ray's threads to end."""
_SENT = pa.schema(
    [
        pa.field("first", pa.int64()),
        pa.field("warnings", pa.list_(pa.string())),
        pa.field("records", pa.large_binary()),
    ]
)
"""A batch as nodes return it: the number of its first row, and its records as an Arrow stream."""


def on_ray(address: str | None) -> Executor:
    """Executor that labels on the cluster at an address.

    If the address is None, the cluster at RAY_ADDRESS is used, or a new local cluster if it is not
    set. Raises EngineError for a cluster that cannot be reached or fails, and RequestError if the
    input is a standard stream.
    """

    def execute(
        label: BatchLabeler, job: BulkJob, skip: int
    ) -> Generator[LabelledBatch, None, None]:
        if job.input.filesystem is None:
            raise RequestError("a cluster cannot read a standard stream: name a file")
        parts = [part for one in parts_of(job.input) if (part := one.after(skip))]
        total = count_rows(job.input)
        if not parts:
            return
        with (
            _connected(address, job.threads),
            contextlib.closing(_received(_dataset(label, parts, job.columns))) as received,
        ):
            for first, batch in received:
                if first != skip:
                    raise EngineError(f"the cluster returned row {first:,} in place of {skip:,}")
                skip += len(batch.records)
                share = skip / total if total else None
                yield LabelledBatch(batch.records, share, batch.warnings)
        if total is not None and skip < total:
            raise EngineError(f"the cluster returned only {skip:,} of {total:,} rows")

    return execute


@contextlib.contextmanager
def _connected(address: str | None, threads: int) -> Iterator[None]:
    """Context with a connection to the cluster; raises EngineError for errors of Ray."""
    if importlib.util.find_spec("ray") is None:
        raise EngineError("Ray is not installed: pip install 'ray[data]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _check_reachable(address or os.environ.get("RAY_ADDRESS", ""))
    import ray

    here = address is None and "RAY_ADDRESS" not in os.environ
    started: dict[str, Any] = {"num_cpus": threads, "include_dashboard": False} if here else {}
    # Ray's messages about its nodes must not mix with predictions on standard output
    with contextlib.redirect_stdout(sys.stderr):
        try:
            ray.init(
                "local" if here else address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **started,
            )
            with _ending_threads():
                yield
        except (ConnectionError, ray.exceptions.RayError) as error:
            raise _domain_error(error) from error
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _ending_threads() -> Iterator[None]:
    """Wait at the end for the threads that Ray started here, which could end the process later."""
    before = set(threading.enumerate())
    try:
        yield
    finally:
        for thread in set(threading.enumerate()) - before:
            thread.join(PATIENCE)


def _check_reachable(address: str) -> None:
    """Raise EngineError if no server listens at an address; Ray would retry for many minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise EngineError(f"the cluster failed: no response from {address}") from error


def _domain_error(error: BaseException) -> LabelwrightError:
    """The LabelwrightError that a worker raised, or else an EngineError."""
    cause = error
    while inner := getattr(cause, "cause", None) or cause.__cause__:
        cause = inner
        if isinstance(cause, LabelwrightError):
            cause.args = (str(cause).partition("\n")[0],)  # Ray adds lines to the message
            return cause
    return EngineError(f"the cluster failed: {type(cause).__name__}: {reason(cause)}")


def _dataset(label: BatchLabeler, parts: Sequence[Part], columns: ColumnMap) -> "Dataset":
    """A lazy dataset with a row of `_SENT` for each batch of the parts, in order."""
    import ray

    settings = ray.data.DataContext.get_current()
    settings.execution_options.preserve_order = True
    settings.enable_progress_bars = settings.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    task = _Task(
        ray.put(label.bundle),
        label.query,
        label.previous.location.absolute.text if label.previous else None,
        parts,
        columns,
        version("labelwright"),
    )
    return ray.data.range(len(parts), override_num_blocks=len(parts)).map_batches(
        functools.partial(_label, task), batch_size=1
    )


@dataclasses.dataclass(frozen=True)
class _Task:
    """The task that is sent to the workers; `bundle` is a reference to an object in Ray."""

    bundle: Any
    query: LabelQuery
    previous: str | None
    parts: Sequence[Part]
    columns: ColumnMap
    version: str


def _label(task: _Task, numbers: Any) -> Iterator[pa.Table]:
    """Label the parts with the given numbers, on a worker."""
    if (installed := version("labelwright")) != task.version:
        raise EngineError(
            f"a node of the cluster has labelwright {installed}: install {task.version} there"
        )
    label = _batch_labeler(task.bundle, task.query, task.previous)
    for part in (task.parts[number] for number in numbers["id"]):
        first = part.before + part.first
        for batch in read_part(part, label.bundle.labeler.schema, task.columns):
            labelled = label(batch)
            columns = [[first], [labelled.warnings], [to_stream(labelled.records).to_pybytes()]]
            yield pa.table(columns, schema=_SENT)
            first += len(labelled.records)


@functools.lru_cache(1)
def _batch_labeler(bundle: Any, query: LabelQuery, previous: str | None) -> BatchLabeler:
    """The labeler of a worker, built once for all parts that the worker labels."""
    import ray

    output = PreviousOutput(locate(previous)) if previous else None
    return BatchLabeler(ray.get(bundle), query, output)


def _received(dataset: "Dataset") -> Generator[tuple[int, LabelledBatch], None, None]:
    """The batches in order, each with the number of its first row.

    They are fetched on this thread, because `iter_batches` starts threads that can outlive their
    consumer.
    """
    import ray

    for bundle in dataset.iter_internal_ref_bundles():
        for block in bundle.blocks:
            for first, warnings, records in zip(*ray.get(block.ref).columns, strict=True):
                yield (
                    first.as_py(),
                    LabelledBatch(from_stream(records.as_buffer()), None, warnings.as_py()),
                )
