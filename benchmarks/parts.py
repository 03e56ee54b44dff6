"""Gain of each hand-written part of the service over the alternative that a library offers.

The service runs several times: as it is, and for each part with its alternative
(`benchmarks.alternatives`). Both are measured in turn, and the order changes each time.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import functools
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import psutil
import uvloop

from benchmarks import options, tables
from benchmarks.alternatives import ALTERNATIVES, NONE
from benchmarks.connections import Pool, open_loop
from benchmarks.over_http import OWN, Record, Server, serving
from benchmarks.overload import requests_of
from benchmarks.parts_page import (
    CPU,
    FIGURES,
    GOODPUT,
    MEMORY,
    START,
    START_CPU,
    THROUGHPUT,
    Comparison,
    Figure,
    document,
)
from benchmarks.soak import records_of
from labelwright.models.registry import load_model

ROUNDS = 7
ROUNDS_A_START = 4
"""Rounds after which the servers are restarted."""
CLIENTS = 8
WARM_UP = 500
BLOCK, BLOCKS = 100, 15
"""Requests of each measurement of throughput and CPU time, and measurements of a round."""
OVERLOAD = 10
"""Offered load while goodput is measured, in multiples of the capacity."""
OVERLOAD_ROWS = 100
CAPACITY_REQUESTS = 200
OVERLOAD_SECONDS = 4.0
DEADLINE = 1.0
"""Deadline of the requests under overload, in seconds."""
WORKERS = 2
SETTLING_SECONDS = 1.0
"""Workers have started when they use no CPU time for this many seconds."""
SETUP = (
    f"requests of 1 entity: {CLIENTS} clients",
    f"overload: {OVERLOAD} times the capacity offered, {OVERLOAD_ROWS} entities a request, a "
    f"deadline of {DEADLINE:g} s",
)

Figures = dict[Figure, float]


def variant(part: str, *options: str) -> Server:
    """The service with the alternative of a part, started with more options."""

    def command(uri: str, port: int) -> Sequence[str]:
        return "benchmarks.alternatives", part, *OWN.command(uri, port)[1:], *options

    return dataclasses.replace(OWN, command=command)


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process, in user and kernel mode (Linux)."""
    clock = ~pid << 3 | 2  # as clock_getcpuclockid(3) gives it; psutil counts in hundredths
    return time.clock_gettime(clock)


class Client:
    """Client of one service, whose process is measured; its connections need one event loop."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.pool = Pool(port)

    async def throughput(self, requests: Sequence[bytes], count: int) -> Figures:
        """Send `count` requests over CLIENTS connections, which are always busy.

        Raises ValueError if a request fails.
        """
        numbers = iter(range(count))

        async def send_in_turn() -> None:
            for number in numbers:
                response = await self.pool.send(requests[number % len(requests)])
                if response.status != 200:
                    raise ValueError(f"status {response.status}: expected 200")

        before, began = cpu_seconds(self.pid), time.perf_counter()
        await asyncio.gather(*(send_in_turn() for _ in range(CLIENTS)))
        rate = count / (time.perf_counter() - began)
        return {CPU: 1e6 * (cpu_seconds(self.pid) - before) / count, THROUGHPUT: rate}

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
    """Measure two services in turn, `times` times each; returns the best figures of each.

    The best is taken because other processes of the machine can only add to a cost. The first
    measurement is of service `first % 2`; the order changes each time.
    """
    found: tuple[list[Figures], list[Figures]] = ([], [])
    for turn in range(first, first + times):
        for side in (turn % 2, 1 - turn % 2):
            found[side].append(await measure(pair[side]))
    return [
        {figure: figure.best(one[figure] for one in side) for figure in side[0]} for side in found
    ]


async def measure_round(
    servers: Mapping[str, tuple[int, int]], records: Sequence[Record], number: int
) -> dict[str, list[Figures]]:
    """For each part, the figures of the current service and of that with the alternative.

    `servers` has the process id and the port of each variant.
    """
    clients = {part: Client(*server) for part, server in servers.items()}
    try:
        return await _measure(clients, records, number)
    finally:
        for client in clients.values():
            await client.pool.close()


async def _measure(
    clients: Mapping[str, Client], records: Sequence[Record], number: int
) -> dict[str, list[Figures]]:
    single = requests_of(records, 1)
    if number % ROUNDS_A_START == 0:
        for client in clients.values():
            await client.throughput(single, WARM_UP)
    found = {}
    for part in (part for part in clients if part != NONE):
        pair = [clients[NONE], clients[part]]
        measures: list[tuple[Measure, int]] = []
        if CPU in FIGURES[part]:
            block = functools.partial(Client.throughput, requests=single, count=BLOCK)
            measures.append((block, BLOCKS))
        if GOODPUT in FIGURES[part]:
            measures.append((await _overload(clients[NONE], records), 1))
        sides: list[Figures] = [{}, {}]
        for measure, times in measures:
            results = await alternate(pair, measure, times, number)
            for side, figures in zip(sides, results, strict=True):
                side.update(figures)
        found[part] = sides
    return found


async def _overload(client: Client, records: Sequence[Record]) -> Measure:
    """A measurement of goodput at OVERLOAD times the capacity of a service."""
    capacity = await client.throughput(requests_of(records, OVERLOAD_ROWS), CAPACITY_REQUESTS)
    requests = requests_of(records, OVERLOAD_ROWS, f"X-Request-Timeout: {DEADLINE:g}")
    rate = OVERLOAD * capacity[THROUGHPUT]
    return functools.partial(Client.goodput, requests=requests, rate=rate)


def measure_start(part: str, uri: str, request: bytes, folder: Path) -> Figures:
    """Time to start a service with several workers, and the memory of a worker."""
    began = time.perf_counter()
    server = variant(part, "--workers", str(WORKERS))
    with serving(server, uri, folder / "server.log") as (pid, port):
        uvloop.run(_send_all(port, request, 1))
        first = time.perf_counter() - began
        workers = settled_workers(pid)
        cpu = [cpu_seconds(worker.pid) for worker in workers]
        uvloop.run(_send_all(port, request, 64))  # 64 connections reach all workers
        memory = [worker.memory_full_info().uss for worker in workers]
    return {START: first, START_CPU: float(np.mean(cpu)), MEMORY: float(np.mean(memory)) / 1e6}


async def _send_all(port: int, request: bytes, connections: int) -> None:
    """Send a request over each of some new connections; raises ValueError if one fails."""
    pool = Pool(port)
    responses = await asyncio.gather(*(pool.send(request) for _ in range(connections)))
    await pool.close()
    if failed := {one.status for one in responses if one.status != 200}:
        raise ValueError(f"statuses {sorted(failed)}: expected 200")


def settled_workers(pid: int) -> list[psutil.Process]:
    """Wait until the workers of a service have started; returns their processes."""
    before: list[float] = []
    while True:
        children = psutil.Process(pid).children()
        # The smallest child is the resource tracker of multiprocessing.
        workers = sorted(children, key=lambda child: child.memory_info().rss)[-WORKERS:]
        now = [cpu_seconds(worker.pid) for worker in workers]
        if len(now) == len(before) == WORKERS and sum(now) - sum(before) < 0.02 * SETTLING_SECONDS:
            return workers
        before = now
        time.sleep(SETTLING_SECONDS)


def compare(
    uri: str, parts: Sequence[str], rounds: int, folder: Path
) -> Iterator[list[Comparison]]:
    """Compare parts with their alternatives; yields all comparisons so far after each round.

    Kernels are compiled before the first round.
    """
    labeler = load_model(uri).bundle.labeler
    labeler.warm_up()
    records = records_of(labeler.schema)
    at_start = [part for part in parts if MEMORY in FIGURES[part]]
    pairs: dict[tuple[str, Figure], list[tuple[float, float]]] = {}

    def record(part: str, sides: Sequence[Figures]) -> None:
        for figure in FIGURES[part]:
            pairs.setdefault((part, figure), []).append((sides[0][figure], sides[1][figure]))

    def comparisons() -> list[Comparison]:
        return [
            Comparison(part, figure, *map(list, zip(*values, strict=True)))
            for (part, figure), values in pairs.items()
            if len(values) > 1
        ]

    for first in range(0, rounds, ROUNDS_A_START) if set(parts) - set(at_start) else ():
        with contextlib.ExitStack() as stack:
            servers: dict[str, tuple[int, int]] = {}
            for part in (NONE, *(part for part in parts if part not in at_start)):
                log = folder / f"{part}.log"
                servers[part] = stack.enter_context(serving(variant(part), uri, log))
            for number in range(first, min(first + ROUNDS_A_START, rounds)):
                _log(f"over HTTP: round {number + 1} of {rounds}")
                for part, sides in uvloop.run(measure_round(servers, records, number)).items():
                    record(part, sides)
                yield comparisons()
    request = requests_of(records, 1)[0]
    for part in at_start:
        for number in range(rounds):
            _log(f"start of workers: round {number + 1} of {rounds}")
            order = (NONE, part)[:: -1 if number % 2 else 1]
            by_part = {name: measure_start(name, uri, request, folder) for name in order}
            record(part, [by_part[NONE], by_part[part]])
            yield comparisons()


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page after each round, and a JSON file with all measurements beside it."""
    parser = argparse.ArgumentParser(prog="make bench-parts", description=__doc__)
    options.add_output(parser, "parts.md")
    parser.add_argument("--model", required=True, metavar="URI", help="a model of the brands")
    parser.add_argument(
        "--parts", nargs="+", choices=ALTERNATIVES, default=list(ALTERNATIVES), help="default: all"
    )
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, metavar="N", help=f"at least 2 (default: {ROUNDS})"
    )
    given = parser.parse_args(arguments)
    if given.rounds < 2:
        parser.error(f"--rounds {given.rounds}: expected at least 2, for an interval")
    facts = tables.machine()
    with tempfile.TemporaryDirectory() as folder:
        for found in compare(given.model, given.parts, given.rounds, Path(folder)):
            content = {"facts": facts, "comparisons": [dataclasses.asdict(one) for one in found]}
            tables.write_page(given.output, document(facts, SETUP, found), content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
