"""Attacks on a service, and the requests of another client meanwhile.

The attacker has the address ATTACKER, and the other client has the address VICTIM.
"""

import asyncio
import contextlib
import dataclasses
import gzip
import io
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any

import orjson
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from tests.processes import HOST, Service

ATTACKER, VICTIM = "127.0.0.9", "127.0.0.1"
PAUSE = 0.05
"""Seconds between two requests of the victim."""
BODY_LIMIT = 16 << 20
Attack = Callable[[Service], Coroutine[Any, Any, None]]


@dataclasses.dataclass
class Outcome:
    """Statuses and response times of the victim, and the memory of the service in MB."""

    statuses: list[int] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    memory: float = 0.0

    def __str__(self) -> str:
        failed = len(self.statuses) - self.statuses.count(200)
        seconds = sorted(self.seconds)
        return (
            f"{len(seconds)} requests, {failed} failed, median {seconds[len(seconds) // 2]:.3f} s, "
            f"p90 {seconds[len(seconds) * 9 // 10]:.3f} s, most {seconds[-1]:.3f} s, "
            f"{self.memory:.0f} MB"
        )


def request(
    body: bytes, path: str = "/v1/labels", kind: str = "application/json", *headers: str
) -> bytes:
    """The bytes of a POST request."""
    lines = (f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", *headers)
    head = "\r\n".join((*lines, f"Content-Length: {len(body)}", "", ""))
    return head.encode() + body


def chunk(content: bytes) -> bytes:
    """A chunk of a body in chunked coding."""
    return b"%x\r\n%b\r\n" % (len(content), content)


@contextlib.asynccontextmanager
async def connected(
    service: Service, address: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection from a local address."""
    reader, writer = await asyncio.open_connection(
        HOST, service.port, local_addr=(address, 0), limit=1 << 12
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def response_to(service: Service, sent: bytes, address: str) -> int:
    """Send a request on a new connection, read the response, and return its status; 0 for none."""
    status = b""
    with contextlib.suppress(OSError):
        async with connected(service, address) as (reader, writer):
            writer.write(sent)
            status = await reader.read(12)
            while await reader.read(1 << 16):
                pass
    return int(status[9:12] or 0)


def attacked(service: Service, attack: Attack, seconds: float, *headers: str) -> Outcome:
    """Attack a service while the victim sends small requests with these headers."""
    outcome = Outcome()
    place = orjson.dumps({"entities": [{"name": "Joe's Pizza", "country": "US"}]})
    asked = request(place, "/v1/labels", "application/json", "Connection: close", *headers)
    worker = psutil.Process(service.process.pid)

    async def watch() -> None:
        while True:
            outcome.memory = max(outcome.memory, worker.memory_info().rss / 1e6)
            await asyncio.sleep(PAUSE)

    async def scenario() -> None:
        tasks = [asyncio.create_task(attack(service)), asyncio.create_task(watch())]
        await asyncio.sleep(seconds / 4)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.monotonic()
            outcome.statuses.append(await response_to(service, asked, VICTIM))
            outcome.seconds.append(time.monotonic() - began)
            await asyncio.sleep(PAUSE)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scenario())
    return outcome


# attacks


def heads(rate: int) -> Attack:
    """Heads that announce a body, without a key, and without the body."""
    head = request(b"", "/v1/labels", "application/json", "X-Request-Timeout: 60")
    head = head.replace(b"Content-Length: 0", b"Content-Length: 99000")

    async def send(service: Service) -> None:
        with contextlib.suppress(OSError):
            async with connected(service, ATTACKER) as (reader, writer):
                writer.write(head)
                await reader.read(1 << 12)

    async def attack(service: Service) -> None:
        async with asyncio.TaskGroup() as group:
            began, sent = time.monotonic(), 0
            while True:
                while sent < rate * (time.monotonic() - began):
                    group.create_task(send(service))
                    sent += 1
                await asyncio.sleep(0.01)

    return attack


def held_bodies(count: int, *headers: str) -> Attack:
    """Large bodies whose last byte does not arrive."""
    whole = request(
        bytes(BODY_LIMIT), "/v1/labels", "application/json", "X-Request-Timeout: 60", *headers
    )

    async def hold(service: Service) -> None:
        while True:
            with contextlib.suppress(OSError):
                async with connected(service, ATTACKER) as (reader, writer):
                    writer.write(whole[:-1])
                    await reader.read(1 << 12)

    async def attack(service: Service) -> None:
        await asyncio.gather(*(hold(service) for _ in range(count)))

    return attack


def repeated(sent: bytes, clients: int) -> Attack:
    """The same request, sent again and again by several connections."""

    async def send(service: Service) -> None:
        while True:
            await response_to(service, sent, ATTACKER)

    async def attack(service: Service) -> None:
        await asyncio.gather(*(send(service) for _ in range(clients)))

    return attack


def unread(parts: Sequence[bytes], connections: int) -> Attack:
    """Requests that are sent as fast as possible on connections whose responses are not read.

    The last of the `parts` is repeated without end.
    """

    async def send(service: Service) -> None:
        while True:
            with contextlib.suppress(OSError):
                async with connected(service, ATTACKER) as (_, writer):
                    for part in parts[:-1]:
                        writer.write(part)
                    while True:
                        writer.write(parts[-1])
                        await writer.drain()
            await asyncio.sleep(10 * PAUSE)

    async def attack(service: Service) -> None:
        await asyncio.gather(*(send(service) for _ in range(connections)))

    return attack


# costly requests


def text(size: int) -> str:
    """Text of many different words."""
    words = " ".join(f"w{n * 7919 % 100_003:x}" for n in range(size // 5))
    return words[:size]


def parquet(rows: int, size: int) -> bytes:
    """A small Parquet file of long names: all rows have the same one."""
    sink = io.BytesIO()
    table = pa.table({"name": [text(size)] * rows})
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def arrow(rows: int, size: int) -> bytes:
    """An Arrow stream with a dictionary of one long name."""
    names = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int8()), pa.array([text(size)]))
    sink = io.BytesIO()
    table = pa.table({"name": names})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def zipped(content: bytes, path: str = "/v1/labels", kind: str = "application/json") -> bytes:
    """A request with a compressed body."""
    body = gzip.compress(content)
    return request(body, path, kind, "Content-Encoding: gzip", "Connection: close")


def _tensors() -> bytes:
    data = orjson.dumps([text(900)] * 16_000).decode()
    tensor = f'{{"name": "name", "datatype": "BYTES", "shape": [16000], "data": {data}}}'
    return zipped(f'{{"inputs": [{tensor}]}}'.encode(), "/v2/models/small/infer")


def _entities(
    entities: Sequence[Mapping[str, object]], path: str = "/v1/labels", **query: object
) -> bytes:
    return zipped(orjson.dumps({"entities": entities, **query}), path)


def _lists(begin: bytes, item: bytes, end: bytes, path: str = "/v1/labels") -> bytes:
    return zipped(begin + item * 5_000_000 + end, path)


CLOSE = "Connection: close"
COSTLY: Mapping[str, Callable[[], bytes]] = {
    "lists": lambda: _lists(b'{"entities": [', b"[],", b"[]]}"),
    "objects": lambda: _lists(b'{"entities": [', b"{},", b"{}]}"),
    "numbers": lambda: zipped(b'{"entities": [[' + b"1.5," * 4_000_000 + b"1]]}"),
    "texts": lambda: _entities([{"name": text(9_900)}] * 1_000),
    "names": lambda: _entities([{f"n{n}-{m}": 1 for m in range(20)} for n in range(1_000)]),
    "explain": lambda: _entities([{"name": text(9_900)}] * 100, explain=True, top_k=20),
    "review": lambda: _entities([{"name": text(9_900)}] * 1_000, "/v1/review"),
    "labels": lambda: _entities([{"name": "x"}] * 1_000, top_k=1_000),
    "csv": lambda: zipped(
        b"name\n" + (text(1_000).encode() + b"\n") * 16_000, "/invocations", "text/csv"
    ),
    "parquet": lambda: request(
        parquet(16_000, 4_000), "/invocations", "application/vnd.apache.parquet", CLOSE
    ),
    "split": lambda: zipped(
        orjson.dumps({"dataframe_split": {"columns": ["name"], "data": [[text(900)]] * 16_000}}),
        "/invocations",
    ),
    "nested": lambda: _lists(b'{"instances": [', b"[],", b"[]]}", "/invocations"),
    "nan": lambda: _lists(b'{"instances": [', b"[],", b"NaN]}", "/invocations"),
    "tensors": _tensors,
    "feedback": lambda: _lists(b'{"entity": {"name": [', b"[],", b"[]]}}", "/v1/feedback"),
    "arrow": lambda: request(
        arrow(16_000, 9_900), "/v1/labels", "application/vnd.apache.arrow.stream", CLOSE
    ),
    "lines": lambda: request(
        (b'{"name": [' + b"[]," * 340_000 + b"[]]}\n") * 10,
        "/v1/labels",
        "application/x-ndjson",
        CLOSE,
    ),
}
"""Functions that make small requests that take long."""
