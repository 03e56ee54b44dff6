"""Behaviour of the service if clients send several times more requests than its capacity.

Client and server have one core each. Like many independent clients, the client sends requests at a
constant rate, without waiting for earlier responses. A response counts if it is received within
the default deadline. At the start the client has no connection. After the first deadline, it has
connections from refused requests and reuses them.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import orjson
import psutil
import pyarrow.parquet as pq
import uvloop

from benchmarks import options, tables
from benchmarks.connections import Pool, closed_loop, open_loop
from benchmarks.over_http import HOST, OWN, Record, post, serving
from benchmarks.perturbed import perturbed
from benchmarks.stage_times import first_record
from labelwright.entities.tables import from_table
from labelwright.models.registry import load_model
from labelwright.service.http.body import TIMEOUT

ROWS = 100
"""Number of entities in a request."""
RECORDS = 4_000
CONNECTIONS = 4
"""Number of connections during the measurement of the capacity."""
MULTIPLES = (1, 2, 10)
"""Offered loads, as multiples of the capacity."""
SECONDS = 20.0
ROUNDS = 3

COLUMNS = (
    tables.Column("offered, rows/s", 0),
    tables.Column(f"in time in the first {TIMEOUT:g} s, % of capacity", 1),
    tables.Column("in time afterwards, rows/s", 0),
    tables.Column("in time afterwards, % of capacity", 1),
    tables.Column("late responses", 0),
    tables.Column("refused", 0),
    tables.Column("refusals, p99 ms", 1),
    tables.Column("health, p99 ms", 1),
    tables.Column("server MB", 0),
)


@dataclasses.dataclass(frozen=True)
class Result:
    """Result of a request: status, due time since the start, and response time, in seconds."""

    due: float
    status: int
    seconds: float

    @property
    def in_time(self) -> bool:
        """Whether the request succeeded within the default deadline."""
        return self.status == 200 and self.seconds <= TIMEOUT


@dataclasses.dataclass
class Load:
    """Results at one multiple of the capacity; rates are rows per second, times milliseconds."""

    multiple: int
    capacity: float
    offered: float
    in_time_at_first: float
    in_time_afterwards: float
    late: int
    refused: int
    refusal_p99: float
    health_p99: float
    megabytes: float

    @property
    def shares(self) -> tuple[float, float]:
        """Rate of rows within the deadline as a share of the capacity.

        The first value is before the first deadline, the second value after it.
        """
        return self.in_time_at_first / self.capacity, self.in_time_afterwards / self.capacity


async def _poll_health(port: int, seconds: list[float]) -> None:
    """Send health checks over new connections until cancelled; record the response times."""
    while True:
        began = time.perf_counter()
        await asyncio.to_thread(_get, f"http://{HOST}:{port}/livez")
        seconds.append(time.perf_counter() - began)
        await asyncio.sleep(0.1)


def _get(url: str) -> None:
    with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310
        response.read()


async def measure(
    process: psutil.Process, port: int, requests: Sequence[bytes], seconds: float
) -> list[Load]:
    """One round: offer each multiple of the capacity; the capacity is measured before and after."""
    pool = Pool(port)
    await capacity(pool, requests, 1.0)
    before, found = await capacity(pool, requests, seconds / 3), []
    for multiple in MULTIPLES:
        health: list[float] = []
        polling = asyncio.create_task(_poll_health(port, health))
        results = await offer(pool, requests, multiple * before / ROWS, seconds)
        polling.cancel()
        size = process.memory_info().rss
        after = await capacity(pool, requests, seconds / 3)
        found.append(_load(multiple, (before + after) / 2, results, health, seconds, size))
        before = after
    return found


async def capacity(pool: Pool, requests: Sequence[bytes], seconds: float) -> float:
    """Rows per second over CONNECTIONS connections that are always busy."""

    async def send(number: int) -> bool:
        return (await pool.send(requests[number % len(requests)])).status == 200

    return ROWS * await closed_loop(send, CONNECTIONS, seconds)


async def offer(pool: Pool, requests: Sequence[bytes], rate: float, seconds: float) -> list[Result]:
    """Send `rate` requests a second; returns their results."""
    results: list[Result] = []

    async def send(number: int, _: float) -> None:
        began = time.perf_counter()
        response = await pool.send(requests[number % len(requests)])
        results.append(Result(number / rate, response.status, time.perf_counter() - began))

    await open_loop(send, rate, seconds)
    return results


def _load(
    multiple: int,
    capacity: float,
    results: Sequence[Result],
    health: Sequence[float],
    seconds: float,
    size: int,
) -> Load:
    """Summarise one load; rates only count responses that end while requests are being sent."""
    ends = np.array([one.due + one.seconds for one in results if one.in_time])
    refusals = [one.seconds for one in results if one.status == 503]
    return Load(
        multiple,
        capacity,
        len(results) * ROWS / seconds,
        float(np.sum(ends <= TIMEOUT)) * ROWS / TIMEOUT,
        float(np.sum((ends > TIMEOUT) & (ends <= seconds))) * ROWS / (seconds - TIMEOUT),
        sum(one.status == 200 and not one.in_time for one in results),
        len(refusals),
        1e3 * float(np.percentile(refusals, 99)) if refusals else 0.0,
        1e3 * float(np.percentile(health, 99)),
        size / 1e6,
    )


def document(facts: dict[str, str], rounds: Sequence[Sequence[Load]]) -> str:
    """The page in Markdown."""
    lines = [
        tables.Line(f"{load.multiple} times", f"round {number}", _figures(load))
        for loads in zip(*rounds, strict=True)
        for number, load in enumerate(loads, 1)
    ]
    return "\n".join(
        [
            "# Overload\n",
            f"Written by `make bench-overload`: client and server on one core each, {ROWS} rows a "
            f"request, {SECONDS:g} seconds for each load, and a deadline of {TIMEOUT:g} seconds. "
            "At the start the client has no connection. The capacity is measured before and after "
            "each load.\n",
            tables.listed(facts),
            tables.markdown(("load, of the capacity", "round"), COLUMNS, lines),
        ]
    )


def _figures(load: Load) -> dict[str, tables.Figure]:
    at_first, afterwards = load.shares
    figures = (
        load.offered,
        100 * at_first,
        load.in_time_afterwards,
        100 * afterwards,
        load.late,
        load.refused,
        load.refusal_p99,
        load.health_p99,
        load.megabytes,
    )
    return tables.by_title(COLUMNS, figures)


@contextlib.contextmanager
def pinned(uri: str, log: Path) -> Iterator[tuple[int, int]]:
    """Run the service on the first core, and this process on the last core."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    try:
        with serving(OWN, uri, log) as (pid, port):
            os.sched_setaffinity(0, cores[-1:])
            yield pid, port
    finally:
        os.sched_setaffinity(0, cores)


def requests_of(records: Sequence[Record], rows: int = ROWS, *headers: str) -> list[bytes]:
    """Requests as bytes; each request has `rows` different entities."""
    starts = range(0, len(records) - rows + 1, rows)
    bodies = [orjson.dumps({"entities": records[start : start + rows]}) for start in starts]
    return [post(OWN.path, body, *headers) for body in bodies]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, and a JSON file with all figures in the folder of the page."""
    parser = argparse.ArgumentParser(prog="make bench-overload", description=__doc__)
    options.add_data(parser)
    options.add_output(parser, "overload.md")
    parser.add_argument("--model", required=True, metavar="URI", help="a model of real places")
    given = parser.parse_args(arguments)
    schema = load_model(given.model).bundle.labeler.schema
    real = pq.read_table(given.data / "places" / "maine.parquet")
    made = from_table(perturbed(real, 0, RECORDS, np.random.default_rng(1)), schema)
    requests = requests_of([first_record(made.slice(row, 1)) for row in range(RECORDS)])
    facts = tables.machine()
    with (
        tempfile.TemporaryDirectory() as folder,
        pinned(given.model, Path(folder) / "server.log") as (pid, port),
    ):
        process = psutil.Process(pid)
        rounds = [uvloop.run(measure(process, port, requests, SECONDS)) for _ in range(ROUNDS)]
    figures = [[dataclasses.asdict(load) for load in loads] for loads in rounds]
    tables.write_page(given.output, document(facts, rounds), figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
