"""What clients get over HTTP: from this project's service, and from MLflow's scoring server.

Client and server share the machine. The client keeps connections open and does nothing with an
answer but look at its status.
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
SECONDS = 3.0
ROUNDS = 4
"""Servers take turns, so that all meet the machine as it is; the median of the rounds counts."""
STARTS = 3
CONNECTIONS = 4
RATE = 300
"""Requests a second of one entity each, sent when they are due and not when there is time."""
STREAM_BATCH = 8_192
WARM_ROWS = 20_000
PATIENCE = 180.0
SETTLING = 30.0

Record = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Way:
    """A server: how it is started, where it answers, and what its requests look like."""

    name: str
    command: Callable[[str, int], Sequence[str]]
    ready: str
    path: str
    body: Callable[[Sequence[Record]], object]
    results: str

    def labels(self, answer: bytes) -> list[list[str]]:
        """The names of the labels of each entity."""
        found = orjson.loads(answer)[self.results]
        return [[label["label"] for label in result["labels"]] for result in found]


WAYS = (
    Way(
        "labelwright",
        lambda uri, port: ("labelwright", "serve", "--model", uri, "--port", str(port)),
        "/readyz",
        "/v1/labels",
        lambda records: {"entities": records},
        "results",
    ),
    Way(
        "mlflow models serve",
        lambda uri, port: (
            *("mlflow", "models", "serve", "-m", uri, "-p", str(port)),
            *("--env-manager", "local"),
        ),
        "/ping",
        "/invocations",
        lambda records: {"dataframe_records": records},
        "predictions",
    ),
)


@dataclasses.dataclass(frozen=True)
class Served:
    """Entities a second in requests of so many each, one after another on a few connections."""

    way: str
    batch: int
    entities: float


@dataclasses.dataclass(frozen=True)
class Paced:
    """Milliseconds until requests that come at a steady rate are answered: of half, and of 99%."""

    way: str
    half: float
    most: float


@dataclasses.dataclass(frozen=True)
class Taken:
    """What a server takes: seconds until its first answer, memory when it answers no more."""

    way: str
    seconds: float
    memory_bytes: float


def served(uri: str, records: Sequence[Record], folder: Path) -> Iterator[Served | Paced | Taken]:
    """Measure each way with the same records; raises ValueError where the ways disagree."""
    seconds = [[_first_answer(way, uri, records, folder) for way in WAYS] for _ in range(STARTS)]
    with contextlib.ExitStack() as stack:
        clients, processes = [], []
        for number, way in enumerate(WAYS):
            pid, port = stack.enter_context(serving(way, uri, folder / f"server-{number}.log"))
            clients.append(_Client(port, way))
            processes.append(pid)
        _check_agreement(clients, records[:32])
        for batch in BATCHES:
            rounds = [
                [asyncio.run(client.rate(records, batch)) for client in clients]
                for _ in range(ROUNDS)
            ]
            for client, rate in zip(clients, np.median(rounds, axis=0).tolist(), strict=True):
                yield Served(client.way.name, batch, rate)
        for way, pid, taken in zip(WAYS, processes, np.median(seconds, axis=0), strict=True):
            yield Taken(way.name, float(taken), float(_proportional(pid)))
        for client in clients:
            milliseconds = asyncio.run(client.paced(records)) * 1e3
            yield Paced(client.way.name, *np.percentile(milliseconds, (50, 99)).tolist())


def _first_answer(way: Way, uri: str, records: Sequence[Record], folder: Path) -> float:
    """Seconds that a server takes until it has answered once."""
    began = time.perf_counter()
    with serving(way, uri, folder / "server.log") as (_, port):
        asyncio.run(_Client(port, way).once(records[:1]))
        return time.perf_counter() - began


def _proportional(pid: int) -> int:
    """Memory of a process and all below it: what several share counts in equal parts."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(process.memory_full_info().pss for process in processes)


def _check_agreement(clients: Sequence["_Client"], records: Sequence[Record]) -> None:
    """Raise ValueError unless all servers give the same labels."""
    said = [client.way.labels(asyncio.run(client.once(records))) for client in clients]
    for client, labels in zip(clients, said, strict=True):
        if labels != said[0]:
            raise ValueError(f"{clients[0].way.name} and {client.way.name} give other labels")


def streamed(uri: str, table: pa.Table, folder: Path) -> float:
    """Rows a second through one connection, as a stream of Arrow batches both ways."""
    with serving(WAYS[0], uri, folder / "server.log") as (_, port):
        client = labelwright.Client(f"http://{HOST}:{port}")
        for _ in client.label_batches(table.slice(0, WARM_ROWS).to_batches()):
            pass
        began = time.perf_counter()
        batches = table.to_batches(max_chunksize=STREAM_BATCH)
        rows = sum(len(answer) for answer in client.label_batches(batches))
        return rows / (time.perf_counter() - began)


def worker_bytes(uri: str, records: Sequence[Record], folder: Path) -> float:
    """What one of three workers has for itself: the memory that would be free without it."""
    several = with_options("--workers", "3")
    with serving(several, uri, folder / "server.log") as (pid, port):
        time.sleep(SETTLING)  # the others are ready soon after the first
        asyncio.run(_Client(port, several).paced(records))  # so many connections find all
        workers = psutil.Process(pid).children(recursive=True)
        return float(max(worker.memory_full_info().uss for worker in workers))


def with_options(*given: str) -> Way:
    """This project's service, started with some more options."""
    own = WAYS[0]
    return dataclasses.replace(own, command=lambda uri, port: (*own.command(uri, port), *given))


@contextlib.contextmanager
def serving(way: Way, uri: str, log: Path) -> Iterator[tuple[int, int]]:
    """A server that answers: its process and its own port; none of its processes stays."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    # MLflow finds uvicorn by the path of programs, and the database by its address
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with log.open("wb") as words:
        process = subprocess.Popen(
            [sys.executable, "-m", *way.command(uri, port)],
            stdout=words,
            stderr=words,
            env=os.environ | {"PATH": programs, "MLFLOW_TRACKING_URI": tracking_uri()},
            start_new_session=True,
        )
    try:
        _await_answer(f"http://{HOST}:{port}{way.ready}", process)
        yield process.pid, port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await_answer(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310
            return
        time.sleep(0.1)
    raise TimeoutError(f"no server at {url}")


@dataclasses.dataclass(frozen=True)
class _Client:
    """Requests to one server, made before they are sent."""

    port: int
    way: Way

    async def once(self, records: Sequence[Record]) -> bytes:
        """The answer for some records."""
        async with self._connection() as ask:
            return await ask(self._request(records))

    async def rate(self, records: Sequence[Record], batch: int) -> float:
        """Entities a second."""
        requests = [self._request(part) for part in _parts(records, batch)]
        for request in requests[:CONNECTIONS]:
            async with self._connection() as ask:
                await ask(request)
        began = time.perf_counter()
        answered = await asyncio.gather(
            *(self._ask_until(requests[n:] + requests[:n], began) for n in range(CONNECTIONS))
        )
        return sum(answered) * batch / (time.perf_counter() - began)

    async def paced(self, records: Sequence[Record]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Seconds from the moment when each request was due until it was answered."""
        requests = [self._request(part) for part in _parts(records, 1)]
        dues = time.perf_counter() + 0.5 + np.arange(int(RATE * ROUNDS * SECONDS)) / RATE
        queue: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
        taken: list[float] = []
        async with contextlib.AsyncExitStack() as stack:
            asks = [await stack.enter_async_context(self._connection()) for _ in range(32)]
            async with asyncio.TaskGroup() as group:
                for ask in asks:
                    group.create_task(_work_off(queue, ask, taken))
                for due, request in zip(dues.tolist(), itertools.cycle(requests), strict=False):
                    await asyncio.sleep(max(0.0, due - time.perf_counter()))
                    queue.put_nowait((due, request))
                for _ in asks:
                    queue.put_nowait(None)
        return np.array(taken)

    async def _ask_until(self, requests: Sequence[bytes], began: float) -> int:
        """How many requests are answered until time is up, one after another."""
        answered = 0
        async with self._connection() as ask:
            for request in itertools.cycle(requests):
                if time.perf_counter() - began > SECONDS:
                    break
                await ask(request)
                answered += 1
        return answered

    def _request(self, records: Sequence[Record]) -> bytes:
        body = orjson.dumps(self.way.body(records))
        head = (
            f"POST {self.way.path} HTTP/1.1\r\nHost: {HOST}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator["Ask"]:
        reader, writer = await asyncio.open_connection(HOST, self.port)

        async def ask(request: bytes) -> bytes:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            if not head.startswith(b"http/1.1 200"):
                raise ValueError(f"{self.way.name} answered {head[:40].decode()}")
            return body

        try:
            yield ask
        finally:
            writer.close()


Ask = Callable[[bytes], Coroutine[Any, Any, bytes]]


async def _work_off(
    queue: "asyncio.Queue[tuple[float, bytes] | None]", ask: Ask, taken: list[float]
) -> None:
    """Send what is due until there is no more, and note how long each took."""
    while due_request := await queue.get():
        due, request = due_request
        await ask(request)
        taken.append(time.perf_counter() - due)


def _parts(records: Sequence[Record], batch: int) -> list[Sequence[Record]]:
    """Whole batches, of different entities."""
    return [records[start : start + batch] for start in range(0, len(records) - batch + 1, batch)]
