"""Speed over HTTP: the service of this project compared with MLflow's scoring server.

Client and server share the machine. The client keeps its connections open. It reads only the status
of a response.
"""

import asyncio
import contextlib
import dataclasses
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil
import pyarrow as pa

import labelwright
from labelwright.models.paths import tracking_uri

HOST = "127.0.0.1"
BATCHES = (1, 32, 1_000)
"""Numbers of entities in a request."""
SECONDS = 3.0
ROUNDS = 4
"""Number of rounds. The servers alternate, because the speed of the machine varies; results are
medians of the rounds."""
STARTS = 3
CONNECTIONS = 4
RATE = 300
"""Requests per second during the measurement of latency; each request has one entity."""
STREAM_BATCH = 8_192
WARM_UP_ROWS = 20_000
START_TIMEOUT = 180.0
SETTLING_SECONDS = 30.0
"""Seconds to wait after the first response of several workers, until all workers are ready."""

Record = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Server:
    """A kind of server: its command, its paths, and the format of its requests and responses."""

    name: str
    command: Callable[[str, int], Sequence[str]]
    ready_path: str
    path: str
    body: Callable[[Sequence[Record]], object]
    results: str

    def labels(self, response: bytes) -> list[list[str]]:
        """The names of the labels of each entity."""
        results = orjson.loads(response)[self.results]
        return [[label["label"] for label in result["labels"]] for result in results]


OWN = Server(
    "labelwright",
    lambda uri, port: ("labelwright", "serve", "--model", uri, "--port", str(port)),
    "/readyz",
    "/v1/labels",
    lambda records: {"entities": records},
    "results",
)
MLFLOW = Server(
    "mlflow models serve",
    lambda uri, port: (
        *("mlflow", "models", "serve", "-m", uri, "-p", str(port)),
        *("--env-manager", "local"),
    ),
    "/ping",
    "/invocations",
    lambda records: {"dataframe_records": records},
    "predictions",
)
SERVERS = (OWN, MLFLOW)


@dataclasses.dataclass(frozen=True)
class Throughput:
    """Entities per second in requests of `batch` entities, over CONNECTIONS connections."""

    server: str
    batch: int
    entities: float


@dataclasses.dataclass(frozen=True)
class Latency:
    """Median and 99th percentile of the response time at a constant rate, in milliseconds."""

    server: str
    median: float
    p99: float


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds until the first response of a server, and its memory after the requests."""

    server: str
    seconds: float
    memory_bytes: float


def measured(
    uri: str, records: Sequence[Record], folder: Path
) -> Iterator[Throughput | Latency | Cost]:
    """Measure all servers with the same records; raises ValueError if servers' labels differ."""
    starts = [
        [_seconds_to_response(server, uri, records, folder) for server in SERVERS]
        for _ in range(STARTS)
    ]
    with contextlib.ExitStack() as stack:
        clients, processes = [], []
        for number, server in enumerate(SERVERS):
            pid, port = stack.enter_context(serving(server, uri, folder / f"server-{number}.log"))
            clients.append(_Client(port, server))
            processes.append(pid)
        _check_agreement(clients, records[:32])
        for batch in BATCHES:
            rounds = [
                [asyncio.run(client.throughput(records, batch)) for client in clients]
                for _ in range(ROUNDS)
            ]
            for client, rate in zip(clients, np.median(rounds, axis=0).tolist(), strict=True):
                yield Throughput(client.server.name, batch, rate)
        for server, pid, seconds in zip(SERVERS, processes, np.median(starts, axis=0), strict=True):
            yield Cost(server.name, float(seconds), float(_proportional_bytes(pid)))
        for client in clients:
            milliseconds = asyncio.run(client.response_times(records)) * 1e3
            yield Latency(client.server.name, *np.percentile(milliseconds, (50, 99)).tolist())


def _seconds_to_response(
    server: Server, uri: str, records: Sequence[Record], folder: Path
) -> float:
    """Seconds from the start of a server until its first response."""
    began = time.perf_counter()
    with serving(server, uri, folder / "server.log") as (_, port):
        asyncio.run(_Client(port, server).once(records[:1]))
        return time.perf_counter() - began


def _proportional_bytes(pid: int) -> int:
    """Memory of a process and its descendants.

    Memory that n processes share counts as 1/n for each of them.
    """
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(process.memory_full_info().pss for process in processes)


def _check_agreement(clients: Sequence["_Client"], records: Sequence[Record]) -> None:
    """Raise ValueError unless all servers return the same labels."""
    expected, *others = (
        client.server.labels(asyncio.run(client.once(records))) for client in clients
    )
    for client, labels in zip(clients[1:], others, strict=True):
        if labels != expected:
            names = f"{clients[0].server.name} and {client.server.name}"
            raise ValueError(f"{names} return different labels for the same entities")


def streamed(uri: str, table: pa.Table, folder: Path) -> float:
    """Rows per second over one connection, as a stream of Arrow batches in both directions."""
    with serving(OWN, uri, folder / "server.log") as (_, port):
        client = labelwright.Client(f"http://{HOST}:{port}")
        for _ in client.label_batches(table.slice(0, WARM_UP_ROWS).to_batches()):
            pass
        began = time.perf_counter()
        batches = table.to_batches(max_chunksize=STREAM_BATCH)
        rows = sum(len(labelled) for labelled in client.label_batches(batches))
        return rows / (time.perf_counter() - began)


def worker_bytes(uri: str, records: Sequence[Record], folder: Path) -> float:
    """Memory of one of three workers, without memory that it shares with other processes."""
    server = with_options("--workers", "3")
    with serving(server, uri, folder / "server.log") as (pid, port):
        time.sleep(SETTLING_SECONDS)
        asyncio.run(
            _Client(port, server).response_times(records)
        )  # its connections reach all workers
        workers = psutil.Process(pid).children(recursive=True)
        return float(max(worker.memory_full_info().uss for worker in workers))


def with_options(*options: str) -> Server:
    """The server of this project, started with additional options."""
    return dataclasses.replace(OWN, command=lambda uri, port: (*OWN.command(uri, port), *options))


@contextlib.contextmanager
def serving(server: Server, uri: str, log: Path) -> Iterator[tuple[int, int]]:
    """Run a server; yields its process id and port when it is ready, and kills it at the end.

    Raises TimeoutError if the server exits, or is not ready after START_TIMEOUT seconds.
    """
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    # MLflow finds uvicorn on the PATH, and the database by its URI.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *server.command(uri, port)],
            stdout=output,
            stderr=output,
            env=os.environ | {"PATH": path, "MLFLOW_TRACKING_URI": tracking_uri()},
            start_new_session=True,
        )
    try:
        _wait_until_ready(f"http://{HOST}:{port}{server.ready_path}", process)
        yield process.pid, port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310
            return
        time.sleep(0.1)
    raise TimeoutError(f"no response from {url} within {START_TIMEOUT:g} seconds")


@dataclasses.dataclass(frozen=True)
class _Client:
    """A client of one server; it builds its requests before it sends them."""

    port: int
    server: Server

    async def once(self, records: Sequence[Record]) -> bytes:
        """The response to one request with some records."""
        async with self._connection() as send:
            return await send(self._request(records))

    async def throughput(self, records: Sequence[Record], batch: int) -> float:
        """Entities per second over CONNECTIONS connections that are always busy."""
        requests = [self._request(part) for part in _parts(records, batch)]
        for request in requests[:CONNECTIONS]:
            async with self._connection() as send:
                await send(request)
        began = time.perf_counter()
        counts = await asyncio.gather(
            *(self._send_in_turn(requests[n:] + requests[:n], began) for n in range(CONNECTIONS))
        )
        return sum(counts) * batch / (time.perf_counter() - began)

    async def response_times(
        self, records: Sequence[Record]
    ) -> np.ndarray[Any, np.dtype[np.float64]]:
        """For each request at RATE, the seconds from its due time to its response."""
        requests = [self._request(part) for part in _parts(records, 1)]
        dues = time.perf_counter() + 0.5 + np.arange(int(RATE * ROUNDS * SECONDS)) / RATE
        queue: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
        seconds: list[float] = []
        async with contextlib.AsyncExitStack() as stack:
            sends = [await stack.enter_async_context(self._connection()) for _ in range(32)]
            async with asyncio.TaskGroup() as group:
                for send in sends:
                    group.create_task(_send_queued(queue, send, seconds))
                for due, request in zip(dues.tolist(), itertools.cycle(requests), strict=False):
                    await asyncio.sleep(max(0.0, due - time.perf_counter()))
                    queue.put_nowait((due, request))
                for _ in sends:
                    queue.put_nowait(None)
        return np.array(seconds)

    async def _send_in_turn(self, requests: Sequence[bytes], began: float) -> int:
        """Send one request after another for SECONDS; returns the number of responses."""
        count = 0
        async with self._connection() as send:
            for request in itertools.cycle(requests):
                if time.perf_counter() - began > SECONDS:
                    break
                await send(request)
                count += 1
        return count

    def _request(self, records: Sequence[Record]) -> bytes:
        return post(self.server.path, orjson.dumps(self.server.body(records)))

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator["Send"]:
        reader, writer = await asyncio.open_connection(HOST, self.port)

        async def send(request: bytes) -> bytes:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            if not head.startswith(b"http/1.1 200"):
                line = head.partition(b"\r\n")[0].decode()
                raise ValueError(f"{self.server.name} responded {line}; expected status 200")
            return body

        try:
            yield send
        finally:
            writer.close()


Send = Callable[[bytes], Coroutine[Any, Any, bytes]]


def post(path: str, body: bytes, *headers: str, content_type: str = "application/json") -> bytes:
    """A POST request as bytes; `headers` are header lines without the line end."""
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: {HOST}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        *headers,
        "",
    )
    return "".join(f"{line}\r\n" for line in lines).encode() + body


async def _send_queued(
    queue: "asyncio.Queue[tuple[float, bytes] | None]", send: Send, seconds: list[float]
) -> None:
    """Send the requests of a queue until None, and record the seconds from due time to response."""
    while item := await queue.get():
        due, request = item
        await send(request)
        seconds.append(time.perf_counter() - due)


def _parts(records: Sequence[Record], batch: int) -> list[Sequence[Record]]:
    """The records in batches of `batch` records; the remaining records are left out."""
    return [records[start : start + batch] for start in range(0, len(records) - batch + 1, batch)]
