"""Gain of each hand-written part of the service over the plain way that a library offers.

The service runs several times: once as it is, and once for each part with the plain way in its
place (`benchmarks.plain_parts`). Both sides of a pair are measured in turn, in an order that
changes each time. A ratio is the geometric mean over all rounds of
`as it is / plain way`, with its 95% interval (Student's t of the logarithms).
"""

import argparse
import asyncio
import contextlib
import dataclasses
import functools
import math
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import psutil
import scipy.stats
import uvloop

from benchmarks import options, tables
from benchmarks.connections import Pool, open_loop
from benchmarks.over_http import OWN, Record, Server, serving
from benchmarks.overload import requests_of
from benchmarks.plain_parts import NONE, PARTS
from benchmarks.soak import records_of
from labelwright.models.registry import load_model

ROUNDS = 8
ROUNDS_A_START = 4
"""Rounds after which the servers are started anew."""
CLIENTS = 8
WARM_UP = 500
BLOCK, BLOCKS = 200, 12
"""Requests of each measurement of throughput and processor time, and measurements of a round."""
RATE = 100
"""Requests a second, of one entity each, while latency is measured."""
PACED_SECONDS = 3.0
OVERLOAD = 10
"""Load offered while refusals are measured, in multiples of the capacity."""
OVERLOAD_ROWS = 100
CAPACITY_REQUESTS = 200
OVERLOAD_SECONDS = 4.0
DEADLINE = 1.0
"""Deadline of the requests under overload, in seconds."""
WORKERS = 2
SETTLED = 1.0
"""Seconds without use of the processor after which the workers are taken to have started."""
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Figure:
    """A measured quantity; `better` is -1 where less is better and 1 where more is better."""

    title: str
    digits: int
    better: int


CPU = Figure("server CPU, us a request of 1 entity", 0, -1)
THROUGHPUT = Figure(f"requests of 1 entity a second, {CLIENTS} clients", 0, 1)
LATENCY = Figure(f"p99 ms, {RATE} requests a second", 2, -1)
GOODPUT = Figure(
    f"entities in time per second of server CPU, {OVERLOAD} times the capacity offered", 0, 1
)
MEMORY = Figure("own memory of a worker, MB", 0, -1)
START_CPU = Figure("CPU seconds of a worker until it is ready", 2, -1)
START = Figure("seconds until the first response", 2, -1)
FIGURES: Mapping[str, Sequence[Figure]] = {
    "skipped_imports": (MEMORY, START_CPU, START),
    "write_coalescing": (CPU, THROUGHPUT, LATENCY),
    "connection": (GOODPUT, CPU, THROUGHPUT),
    "direct_route": (CPU, THROUGHPUT),
}
"""The figures of each part; it exists for the first."""
Figures = dict[Figure, float]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Measurements of one figure in pairs: the service as it is, and with the plain way."""

    part: str
    figure: Figure
    as_is: Sequence[float]
    plain: Sequence[float]

    @property
    def interval(self) -> tuple[float, float, float]:
        """The geometric mean of the ratios, and the bounds of its confidence interval."""
        logarithms = np.log(np.array(self.as_is) / np.array(self.plain))
        mean, rounds = float(logarithms.mean()), len(logarithms)
        error = float(logarithms.std(ddof=1)) / math.sqrt(rounds) if rounds > 1 else math.inf
        margin = error * float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, max(rounds - 1, 1)))
        return math.exp(mean), math.exp(mean - margin), math.exp(mean + margin)

    @property
    def verdict(self) -> str:
        """Whether the interval lies on the better side of 1, on the worse side, or around it."""
        _, low, high = self.interval
        if low <= 1 <= high:
            return "no difference shown"
        return "gain" if (low > 1) == (self.figure.better > 0) else "loss"

    @property
    def decides(self) -> bool:
        """Whether the part exists for this figure."""
        return self.figure == FIGURES[self.part][0]


def variant(part: str, *given: str) -> Server:
    """The service with the plain way in the place of a part, started with more options."""

    def command(uri: str, port: int) -> Sequence[str]:
        return "benchmarks.plain_parts", part, *OWN.command(uri, port)[1:], *given

    return dataclasses.replace(OWN, command=command)


def cpu_seconds(pid: int) -> float:
    """Processor time of all threads of a process, in its own code and in the system's (Linux)."""
    nanoseconds = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        nanoseconds += int((thread / "schedstat").read_text("ascii").split()[0])
    return nanoseconds / 1e9


class Client:
    """Requests to one service, whose process is measured; connections belong to one event loop."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.pool = Pool(port)

    def close(self) -> None:
        """Close all connections that are free."""
        for connection in self.pool.free:
            connection.transport.close()

    async def throughput(self, requests: Sequence[bytes], count: int) -> Figures:
        """Send so many requests over CLIENTS connections, each as soon as one is free."""
        numbers = iter(range(count))

        async def work() -> None:
            for number in numbers:
                response = await self.pool.send(requests[number % len(requests)])
                if response.status != 200:
                    raise ValueError(f"status {response.status}: expected 200")

        before, began = cpu_seconds(self.pid), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(CLIENTS)))
        rate = count / (time.perf_counter() - began)
        return {CPU: 1e6 * (cpu_seconds(self.pid) - before) / count, THROUGHPUT: rate}

    async def latency(self, requests: Sequence[bytes]) -> Figures:
        """Milliseconds from the due time of a request until its response, at a constant rate."""
        seconds: list[float] = []

        async def send(number: int, due: float) -> None:
            await self.pool.send(requests[number % len(requests)])
            seconds.append(time.perf_counter() - due)

        await open_loop(send, RATE, PACED_SECONDS)
        return {LATENCY: 1e3 * float(np.percentile(seconds, 99))}

    async def goodput(self, requests: Sequence[bytes], rate: float) -> Figures:
        """Offer a rate far above the capacity, and count the entities within the deadline."""
        in_time = 0

        async def send(number: int, due: float) -> None:
            nonlocal in_time
            response = await self.pool.send(requests[number % len(requests)])
            in_time += response.status == 200 and time.perf_counter() - due <= DEADLINE

        before = cpu_seconds(self.pid)
        await open_loop(send, rate, OVERLOAD_SECONDS)
        return {GOODPUT: OVERLOAD_ROWS * in_time / (cpu_seconds(self.pid) - before)}


Measure = Callable[[Client], Awaitable[Figures]]


async def alternate(
    pair: Sequence[Client], measure: Measure, times: int, first: int
) -> list[Figures]:
    """Measure two services in turn so many times; returns the median figures of each.

    `first` is the service to begin with; the order changes each time.
    """
    found: tuple[list[Figures], list[Figures]] = ([], [])
    for turn in range(first, first + times):
        for side in (turn % 2, 1 - turn % 2):
            found[side].append(await measure(pair[side]))
    return [
        {figure: float(np.median([one[figure] for one in side])) for figure in side[0]}
        for side in found
    ]


async def http_round(
    servers: Mapping[str, tuple[int, int]], records: Sequence[Record], number: int
) -> dict[str, list[Figures]]:
    """For each part the figures of the service as it is, and of the plain way.

    `servers` are the process and the port of each variant.
    """
    clients = {part: Client(*server) for part, server in servers.items()}
    single = requests_of(records, 1)
    if number % ROUNDS_A_START == 0:
        for client in clients.values():
            await client.throughput(single, WARM_UP)
    found = {}
    for part in (part for part in servers if part != NONE):
        pair = [clients[NONE], clients[part]]
        block = functools.partial(Client.throughput, requests=single, count=BLOCK)
        sides = await alternate(pair, block, BLOCKS, number)
        measures: list[Measure] = []
        if LATENCY in FIGURES[part]:
            measures.append(functools.partial(Client.latency, requests=single))
        if GOODPUT in FIGURES[part]:
            measures.append(await _overload(clients[NONE], records))
        for measure in measures:
            for side, figures in zip(sides, await alternate(pair, measure, 1, number), strict=True):
                side.update(figures)
        found[part] = sides
    for client in clients.values():
        client.close()
    return found


async def _overload(client: Client, records: Sequence[Record]) -> Measure:
    """A measurement at OVERLOAD times the capacity of a service."""
    capacity = await client.throughput(requests_of(records, OVERLOAD_ROWS), CAPACITY_REQUESTS)
    urgent = requests_of(records, OVERLOAD_ROWS, f"X-Request-Timeout: {DEADLINE:g}")
    rate = OVERLOAD * capacity[THROUGHPUT]
    return functools.partial(Client.goodput, requests=urgent, rate=rate)


def start_of_workers(part: str, uri: str, request: bytes, folder: Path) -> Figures:
    """What the start of a service of several workers takes: time, and memory of a worker."""
    began = time.perf_counter()
    way = variant(part, "--workers", str(WORKERS))
    with serving(way, uri, folder / "server.log") as (pid, port):
        uvloop.run(_send_all(port, request, 1))
        first = time.perf_counter() - began
        workers = settled_workers(pid)
        used = [cpu_seconds(worker.pid) for worker in workers]
        uvloop.run(_send_all(port, request, 64))  # so many connections reach all workers
        memory = [worker.memory_full_info().uss for worker in workers]
    return {
        START: first,
        START_CPU: float(np.mean(used)),
        MEMORY: float(np.mean(memory)) / 1e6,
    }


async def _send_all(port: int, request: bytes, connections: int) -> None:
    """Send a request over each of some new connections; raises ValueError unless all succeed."""
    pool = Pool(port)
    responses = await asyncio.gather(*(pool.send(request) for _ in range(connections)))
    if any(one.status != 200 for one in responses):
        raise ValueError(f"statuses {sorted({one.status for one in responses})}: expected 200")


def settled_workers(pid: int) -> list[psutil.Process]:
    """The workers of a service, when they have stopped using the processor."""
    before: list[float] = []
    while True:
        children = psutil.Process(pid).children()
        # Beside the workers there is a small process that tracks resources of multiprocessing.
        largest = sorted(children, key=lambda child: child.memory_info().rss)[-WORKERS:]
        now = [cpu_seconds(child.pid) for child in largest]
        if len(now) == len(before) == WORKERS and sum(now) - sum(before) < 0.02 * SETTLED:
            return largest
        before = now
        time.sleep(SETTLED)


def compare(uri: str, parts: Sequence[str], rounds: int, folder: Path) -> list[Comparison]:
    """Measure all parts in so many rounds; kernels are compiled before."""
    labeler = load_model(uri).bundle.labeler
    labeler.warm_up()
    records = records_of(labeler.schema)
    request = requests_of(records, 1)[0]
    over_http = [part for part in parts if MEMORY not in FIGURES[part]]
    at_start = [part for part in parts if MEMORY in FIGURES[part]]
    pairs: dict[tuple[str, Figure], list[tuple[float, float]]] = {}

    def book(part: str, sides: Sequence[Figures]) -> None:
        for figure in sides[0]:
            pairs.setdefault((part, figure), []).append((sides[0][figure], sides[1][figure]))

    for first in range(0, rounds, ROUNDS_A_START):
        with contextlib.ExitStack() as stack:
            servers: dict[str, tuple[int, int]] = {}
            for part in (NONE, *over_http) if over_http else ():
                log = folder / f"{part}.log"
                servers[part] = stack.enter_context(serving(variant(part), uri, log))
            for number in range(first, min(first + ROUNDS_A_START, rounds)):
                _say(f"over HTTP: round {number + 1} of {rounds}")
                for part, sides in uvloop.run(http_round(servers, records, number)).items():
                    book(part, sides)
    for part in at_start:
        for number in range(rounds):
            _say(f"start of workers: round {number + 1} of {rounds}")
            order = (NONE, part)[:: -1 if number % 2 else 1]
            by_part = {name: start_of_workers(name, uri, request, folder) for name in order}
            book(part, [by_part[NONE], by_part[part]])
    return [
        Comparison(part, figure, *map(list, zip(*values, strict=True)))
        for (part, figure), values in pairs.items()
    ]


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def document(facts: Mapping[str, str], found: Sequence[Comparison]) -> str:
    """The whole page."""
    heads = "| part | figure | as it is | plain way | ratio | 95% interval | verdict |\n"
    rows = [heads, "|---|---|---:|---:|---:|---:|---|\n"]
    for one in found:
        ratio, low, high = one.interval
        median = [
            f"{np.median(values):,.{one.figure.digits}f}" for values in (one.as_is, one.plain)
        ]
        name = f"**{one.figure.title}**" if one.decides else one.figure.title
        rows.append(
            f"| {one.part} | {name} | {median[0]} | {median[1]} | {ratio:.3f} | "
            f"{low:.3f} to {high:.3f} | {one.verdict} |\n"
        )
    rounds = len(found[0].as_is) if found else 0
    return "\n".join(
        [
            "# Hand-written parts\n",
            "Written by `make bench-parts`: the service as it is, and with the plain way in the "
            "place of one part. Client and server share the machine. Figures are medians of "
            f"{rounds} rounds; the ratio is `as it is / plain way`, a geometric mean over pairs "
            "that were measured in turn. Bold: the figure that a part exists for.\n",
            tables.listed(facts),
            "".join(rows),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, and beside it all measurements as JSON."""
    parser = argparse.ArgumentParser(prog="make bench-parts", description=__doc__)
    options.add_output(parser, "parts.md")
    parser.add_argument("--model", required=True, metavar="URI", help="a model of the brands")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all"
    )
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, metavar="N", help=f"at least 2 (default: {ROUNDS})"
    )
    given = parser.parse_args(arguments)
    if given.rounds < 2:
        parser.error("--rounds: an interval needs at least 2")
    facts = tables.machine()
    with tempfile.TemporaryDirectory() as folder:
        found = compare(given.model, given.parts, given.rounds, Path(folder))
    page = document(facts, found)
    content = {"facts": facts, "comparisons": [dataclasses.asdict(one) for one in found]}
    tables.write_page(given.output, page, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
