"""Labelling on the nodes of a Ray cluster: a `Runner` of `service.bulk.job`, made of Ray Data.

Nodes read parts of the input, label them and give records back, which this process writes in order.
The model travels once to each node, into memory that Ray maps into all workers there. What a node
that goes away had not given back, Ray has done by another. All nodes need this package, and the
input under the same path or address.
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

import numpy as np
import pyarrow as pa

from labelwright.entities.errors import EngineError, LabelwrightError, RequestError, reason
from labelwright.entities.io.column_map import ColumnMap
from labelwright.entities.io.locations import locate
from labelwright.entities.io.readers import count_rows
from labelwright.entities.io.splits import Part, parts_of, read_part
from labelwright.models.decisions import LabelQuery
from labelwright.service.bulk.job import Job, Runner
from labelwright.service.bulk.reuse import Previous
from labelwright.service.bulk.worker import Done, Work

if TYPE_CHECKING:
    from ray.data import Dataset

PATIENCE = 10.0
"""Seconds in which a cluster must let us connect, and in which its threads here must end."""
_SENT = pa.schema(
    [
        pa.field("first", pa.int64()),
        pa.field("warnings", pa.list_(pa.string())),
        pa.field("records", pa.large_binary()),
    ]
)
"""A batch on its way: the row that it begins with, and its records as an Arrow stream."""


def on_ray(address: str | None) -> Runner:
    """The runner of a cluster; None is that of RAY_ADDRESS, else one that is started here.

    It raises EngineError for a cluster that cannot be reached, or gives up.
    """

    def runner(work: Work, job: Job, skip: int) -> Generator[Done, None, None]:
        if job.source.filesystem is None:
            raise RequestError("a cluster cannot read a standard stream: name a file")
        parts = [part for one in parts_of(job.source) if (part := one.after(skip))]
        total = count_rows(job.source)
        if not parts:
            return
        with (
            _connected(address, job.threads),
            contextlib.closing(_received(_labelled(work, parts, job.columns))) as received,
        ):
            for first, done in received:
                if first != skip:
                    raise EngineError(f"the cluster gave row {first:,} where {skip:,} comes next")
                skip += len(done.records)
                share = skip / total if total else None
                yield Done(done.records, share, done.warnings)
        if total is not None and skip < total:
            raise EngineError(f"the cluster gave {skip:,} rows of {total:,}")

    return runner


@contextlib.contextmanager
def _connected(address: str | None, threads: int) -> Iterator[None]:
    """A connection to the cluster; what goes wrong there becomes an error of ours."""
    if importlib.util.find_spec("ray") is None:
        raise EngineError("the engine is not installed: pip install 'ray[data]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _check_reachable(address or os.environ.get("RAY_ADDRESS", ""))
    import ray

    here = address is None and "RAY_ADDRESS" not in os.environ
    started: dict[str, Any] = {"num_cpus": threads, "include_dashboard": False} if here else {}
    # what Ray says about its nodes is no answer of ours
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
            raise _ours(error) from error
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _ending_threads() -> Iterator[None]:
    """Wait for threads that begin here: Ray ends a process with one that outlives its cluster."""
    before = set(threading.enumerate())
    try:
        yield
    finally:
        for thread in set(threading.enumerate()) - before:
            thread.join(PATIENCE)


def _check_reachable(address: str) -> None:
    """Raise EngineError where nobody listens at an address: Ray would try for many minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise EngineError(f"the cluster failed: nobody answers at {address}") from error


def _ours(error: BaseException) -> LabelwrightError:
    """What a worker raised, if it is an error of ours, else that the cluster failed."""
    cause = error
    while inner := getattr(cause, "cause", None) or cause.__cause__:
        cause = inner
        if isinstance(cause, LabelwrightError):
            cause.args = (str(cause).partition("\n")[0],)  # Ray adds lines of its own
            return cause
    return EngineError(f"the cluster failed: {type(cause).__name__}: {reason(cause)}")


def _labelled(work: Work, parts: Sequence[Part], columns: ColumnMap) -> "Dataset":
    """A row of `_SENT` for each batch of the parts, in order, once it is asked for."""
    import ray

    # arrays that are mapped from files would be copied by each worker
    ray.util.register_serializer(np.memmap, serializer=np.asarray, deserializer=np.asarray)
    settings = ray.data.DataContext.get_current()
    settings.execution_options.preserve_order = True
    settings.enable_progress_bars = settings.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    given = _Given(
        ray.put(work.bundle),
        work.query,
        work.previous.location.absolute.text if work.previous else None,
        parts,
        columns,
        version("labelwright"),
    )
    return ray.data.range(len(parts), override_num_blocks=len(parts)).map_batches(
        functools.partial(_label, given), batch_size=1
    )


@dataclasses.dataclass(frozen=True)
class _Given:
    """What is sent to the workers; the bundle is a reference to what Ray holds."""

    bundle: Any
    query: LabelQuery
    previous: str | None
    parts: Sequence[Part]
    columns: ColumnMap
    version: str


def _label(given: _Given, numbers: Any) -> Iterator[pa.Table]:
    """The batches of some parts, which are given by their numbers, as a worker makes them."""
    if version("labelwright") != given.version:
        raise EngineError(f"a node of the cluster has not labelwright {given.version}")
    work = _work(given.bundle, given.query, given.previous)
    for part in (given.parts[number] for number in numbers["id"]):
        first = part.before + part.first
        for batch in read_part(part, work.bundle.labeler.schema, given.columns):
            done = work(batch)
            columns = [[first], [done.warnings], [packed(done.records)]]
            yield pa.table(columns, schema=_SENT)
            first += len(done.records)


@functools.lru_cache(1)
def _work(bundle: Any, query: LabelQuery, previous: str | None) -> Work:
    """The same for all parts that a worker is given."""
    import ray

    return Work(ray.get(bundle), query, Previous(locate(previous)) if previous else None)


def packed(records: pa.Table) -> bytes:
    """Records as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, records.schema) as stream:
        stream.write_table(records)
    stream_bytes: bytes = sink.getvalue().to_pybytes()
    return stream_bytes


def unpacked(sent: pa.LargeBinaryScalar) -> pa.Table:
    """The records of such a stream, without copying."""
    with pa.ipc.open_stream(sent.as_buffer()) as stream:
        return stream.read_all()


def _received(sent: "Dataset") -> Generator[tuple[int, Done], None, None]:
    """The batches as they come, each with the row that it begins with.

    They are fetched by this thread: those of `iter_batches` go on when nobody listens any more.
    """
    import ray

    for bundle in sent.iter_internal_ref_bundles():
        for block in bundle.blocks:
            for first, warnings, records in zip(*ray.get(block.ref).columns, strict=True):
                yield first.as_py(), Done(unpacked(records), None, warnings.as_py())
