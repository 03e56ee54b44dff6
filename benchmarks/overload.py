"""What the service does when it is asked for many times what it can do.

Client and server have one core each. Requests come at a steady rate whether or not earlier ones
have been answered, as from clients who know nothing of one another; an answer counts if it came
within the default deadline. At first nobody has a connection; when a deadline has passed, those who
were refused have theirs, and ask again over it.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
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
from benchmarks.kernels import one_record
from benchmarks.over_http import HOST, WAYS, Record, serving
from benchmarks.perturbed import perturbed
from labelwright.entities.tables import from_table
from labelwright.models.registry import load_model
from labelwright.service.http.body import TIMEOUT

ROWS = 100
RECORDS = 4_000
CONNECTIONS = 4
"""Of the measurement of capacity."""
TIMES = (1, 2, 10)
SECONDS = 20.0
ROUNDS = 3

RATES = (
    tables.Column("asked for, rows/s", 0),
    tables.Column(f"answered in the first {TIMEOUT:g} s, % of capacity", 1),
    tables.Column("then, rows/s", 0),
    tables.Column("then, % of capacity", 1),
    tables.Column("answered too late", 0),
    tables.Column("refused", 0),
    tables.Column("refused within ms (99%)", 1),
    tables.Column("health within ms (99%)", 1),
    tables.Column("server MB", 0),
)


@dataclasses.dataclass
class Load:
    """What became of requests that came so many times as fast as they could be answered."""

    times: int
    capacity: float
    asked: float
    at_first: float
    answered: float
    late: int
    refused: int
    refusal: float
    health: float
    megabytes: float

    @property
    def shares(self) -> tuple[float, float]:
        """Of the capacity, what was answered in time: at first, and when a deadline had passed."""
        return self.at_first / self.capacity, self.answered / self.capacity


async def _health(port: int, taken: list[float]) -> None:
    """Ask for the service's health on new connections until cancelled."""
    while True:
        began = time.perf_counter()
        await asyncio.to_thread(_get, f"http://{HOST}:{port}/livez")
        taken.append(time.perf_counter() - began)
        await asyncio.sleep(0.1)


def _get(url: str) -> None:
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310
        answer.read()


async def measure(
    process: psutil.Process, port: int, requests: Sequence[bytes], seconds: float
) -> list[Load]:
    """One round: the capacity, and what is done of several times as much."""
    pool = Pool(port)
    await capacity(pool, requests, 1.0)
    before, found = await capacity(pool, requests, seconds / 3), []
    for times in TIMES:
        taken: list[float] = []
        asking = asyncio.create_task(_health(port, taken))
        said = await load(pool, requests, times * before / ROWS, seconds)
        asking.cancel()
        size = process.memory_info().rss
        after = await capacity(pool, requests, seconds / 3)
        found.append(_summary(times, (before + after) / 2, said, taken, seconds, size))
        before = after
    return found


async def capacity(pool: Pool, requests: Sequence[bytes], seconds: float) -> float:
    """Rows a second, if each request comes when an earlier one is answered."""

    async def ask(number: int) -> bool:
        return (await pool.ask(requests[number % len(requests)])).status == 200

    return ROWS * await closed_loop(ask, CONNECTIONS, seconds)


async def load(
    pool: Pool, requests: Sequence[bytes], rate: float, seconds: float
) -> list[tuple[float, int, float]]:
    """When each request was due, its status and its seconds, at so many requests a second."""
    said: list[tuple[float, int, float]] = []

    async def ask(number: int, _: float) -> None:
        began = time.perf_counter()
        answer = await pool.ask(requests[number % len(requests)])
        said.append((number / rate, answer.status, time.perf_counter() - began))

    await open_loop(ask, rate, seconds)
    return said


def _summary(
    times: int,
    capacity: float,
    said: Sequence[tuple[float, int, float]],
    health: Sequence[float],
    seconds: float,
    size: int,
) -> Load:
    """Answers are counted over the time in which requests come and those that waited are done."""
    done = [(due + took, took) for due, status, took in said if status == 200]
    refused = [took for _, status, took in said if status == 503]
    ends = np.array([end for end, took in done if took <= TIMEOUT])
    return Load(
        times,
        capacity,
        len(said) * ROWS / seconds,
        float(np.sum(ends <= TIMEOUT)) * ROWS / TIMEOUT,
        float(np.sum((ends > TIMEOUT) & (ends <= seconds))) * ROWS / (seconds - TIMEOUT),
        sum(took > TIMEOUT for _, took in done),
        len(refused),
        1e3 * float(np.percentile(refused, 99)) if refused else 0.0,
        1e3 * float(np.percentile(health, 99)),
        size / 1e6,
    )


def document(facts: dict[str, str], rounds: Sequence[Sequence[Load]]) -> str:
    """The whole page."""
    lines = [
        tables.Line(f"{load.times} times", f"round {number}", _figures(load))
        for loads in zip(*rounds, strict=True)
        for number, load in enumerate(loads, 1)
    ]
    return "\n".join(
        [
            "# Overload\n",
            f"Written by `make bench-overload`: client and server on one core each, {ROWS} rows a "
            f"request, {SECONDS:g} seconds each, and a deadline of {TIMEOUT:g} seconds. At first "
            "nobody has a connection. The capacity is measured before and after each line.\n",
            tables.listed(facts),
            tables.markdown(("of the capacity", "round"), RATES, lines),
        ]
    )


def _figures(load: Load) -> dict[str, tables.Figure]:
    at_first, then = load.shares
    figures = (
        load.asked,
        100 * at_first,
        load.answered,
        100 * then,
        load.late,
        load.refused,
        load.refusal,
        load.health,
        load.megabytes,
    )
    return {column.title: figure for column, figure in zip(RATES, figures, strict=True)}


@contextlib.contextmanager
def pinned(uri: str, log: Path) -> Iterator[tuple[int, int]]:
    """A server on the first core, and this process on the last one."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    try:
        with serving(WAYS[0], uri, log) as (pid, port):
            os.sched_setaffinity(0, cores[-1:])
            yield pid, port
    finally:
        os.sched_setaffinity(0, cores)


def requests_of(records: Sequence[Record]) -> list[bytes]:
    """Requests of ROWS records each, as they are sent."""
    found = []
    for start in range(0, len(records) - ROWS + 1, ROWS):
        body = orjson.dumps({"entities": records[start : start + ROWS]})
        head = f"POST /v1/labels HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n\r\n"
        found.append(head.encode() + body)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, and beside it all figures as JSON."""
    parser = argparse.ArgumentParser(prog="make bench-overload", description=__doc__)
    options.add_data(parser)
    options.add_output(parser, "overload.md")
    parser.add_argument("--model", required=True, metavar="URI", help="a model of real places")
    given = parser.parse_args(arguments)
    schema = load_model(given.model).bundle.labeler.schema
    real = pq.read_table(given.data / "places" / "maine.parquet")
    made = from_table(perturbed(real, 0, RECORDS, np.random.default_rng(1)), schema)
    requests = requests_of([one_record(made.slice(row, 1)) for row in range(RECORDS)])
    facts = tables.machine()
    with (
        tempfile.TemporaryDirectory() as folder,
        pinned(given.model, Path(folder) / "server.log") as (pid, port),
    ):
        process = psutil.Process(pid)
        rounds = [uvloop.run(measure(process, port, requests, SECONDS)) for _ in range(ROUNDS)]
    text = document(facts, rounds)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(text, "utf-8")
    figures = [[dataclasses.asdict(load) for load in loads] for loads in rounds]
    given.output.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
