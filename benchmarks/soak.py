"""The service for half an hour at 80% of its capacity, while much goes on.

Two versions of a model, which differ in every label, take turns as champion, and a worker is killed
now and then. Every answer is compared with the right one of the version that it names. It fails
where an answer is wrong, a status is none of those expected, or memory grows.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import uvloop

from benchmarks import options
from benchmarks.connections import Pool, closed_loop, open_loop
from benchmarks.environments import ROOT
from benchmarks.kernels import one_record
from benchmarks.mixture import LEAVES, Request, mixture
from benchmarks.over_http import Record, serving, with_options
from benchmarks.processes import resident
from benchmarks.soaked import Outcome, Run, document, faults
from benchmarks.versions import NAME, URI, VERSIONS, point, registered
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import from_table
from labelwright.models.registry import load_model

WORKERS = 2
LOAD = 0.8
CONNECTIONS = 8
"""Of the measurement of capacity."""
WARM_UP = 5.0
MEASURED = 15.0
SWAP_EVERY = 5.0
KILLS = 4
LOOK_EVERY = 1.0
RECOVERED = 10.0
"""Seconds after a killed worker's successor holds a model, until all must be as before."""
LEAVING = 0.03
"""Seconds within which a client leaves."""
PATIENCE = 180.0
RECORDS = 2_000
BRANDS = ROOT / "entities" / "data" / "brands.parquet"


@dataclasses.dataclass
class Soak:
    """A service under load, and what has been seen of it."""

    pid: int
    pool: Pool
    requests: Sequence[Request]
    run: Run
    complete: bool = True
    """Whether all workers are there, and have been for a while."""
    swap: int = 0

    async def capacity(self, seconds: float) -> float:
        """Requests a second, if each comes when an earlier one is answered; none leaves."""
        staying = [request for request in self.requests if request.kind != LEAVES]

        async def ask(number: int) -> bool:
            return (await self.pool.ask(staying[number % len(staying)].sent)).status == 200

        return await closed_loop(ask, CONNECTIONS, seconds)

    async def hold(self, minutes: float) -> None:
        """Measure the capacity, and then load the service while swaps and kills go on."""
        seconds = 60 * minutes
        await self.capacity(WARM_UP)
        self.run.capacity = await self.capacity(MEASURED)
        self.run.rate = LOAD * self.run.capacity
        self.run.began = time.perf_counter()
        beside = [
            asyncio.create_task(work)
            for work in (self._look(), self._swap(), self._kill(seconds / (KILLS + 1)))
        ]
        await open_loop(self._ask, self.run.rate, seconds)
        self.run.capacity_after = await self.capacity(MEASURED) if self.complete else None
        for task in beside:
            task.cancel()
        for ended in await asyncio.gather(*beside, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    async def _ask(self, number: int, due: float) -> None:
        request = self.requests[number % len(self.requests)]
        complete = self.complete
        if request.kind == LEAVES:
            await self.pool.leave(request.sent, random.uniform(0, LEAVING))  # noqa: S311
            self.run.count(request.kind, Outcome.LEFT)
            return
        answer = await self.pool.ask(request.sent)
        seconds = time.perf_counter() - due
        excused = not (complete and self.complete)
        if answer.status == 200:
            version = request.version(answer)
            if self.swap and version == VERSIONS[self.swap % 2]:
                self.run.arrived.add(self.swap)
            outcome = Outcome.WRONG if version is None else Outcome.RIGHT
            self.run.count(request.kind, outcome)
            times = self.run.recovering if excused else self.run.seconds[request.kind]
            times.append(seconds)
        elif excused and answer.status in (0, 503):
            self.run.count(request.kind, Outcome.REFUSED if answer.status else Outcome.CUT)
        else:
            self.run.count(request.kind, Outcome.UNEXPECTED)
            self.run.statuses[answer.status] += 1

    async def _swap(self) -> None:
        for swap in itertools.count(1):
            await asyncio.sleep(SWAP_EVERY)
            await asyncio.to_thread(point, VERSIONS[swap % 2])
            self.swap = self.run.swaps = swap

    async def _look(self) -> None:
        """Note the memory of all processes."""
        while True:
            at = time.perf_counter() - self.run.began
            self.run.memory.append((at, await asyncio.to_thread(resident, self.pid)))
            await asyncio.sleep(LOOK_EVERY)

    async def _kill(self, every: float) -> None:
        """Kill the younger worker from time to time; the elder one lives to the end."""
        for _ in range(KILLS):
            await asyncio.sleep(every)
            victim = workers(self.pid)[-1]
            self.complete, began = False, time.perf_counter()
            os.kill(victim, signal.SIGKILL)
            self.run.killed += 1
            await self._replaced(victim)
            self.run.replaced.append(time.perf_counter() - began)
            await asyncio.sleep(RECOVERED)
            self.complete = True

    async def _replaced(self, victim: int) -> None:
        deadline = time.perf_counter() + PATIENCE
        while len({*await asyncio.to_thread(workers, self.pid)} - {victim}) < WORKERS:
            if time.perf_counter() > deadline:
                raise TimeoutError("a killed worker was not replaced")
            await asyncio.sleep(0.2)


def workers(pid: int) -> list[int]:
    """The processes below a service that hold a model, the eldest first."""
    found = []
    for child in sorted(psutil.Process(pid).children(), key=lambda child: child.create_time()):
        with contextlib.suppress(OSError):
            if ".npy" in Path(f"/proc/{child.pid}/maps").read_text("utf-8"):
                found.append(child.pid)
    return found


def soak(work: Path, minutes: float) -> Run:
    """One run; `work` is the folder of a registry of two versions."""
    models = [load_model(f"models:/{NAME}/{number}") for number in VERSIONS]
    requests = mixture(models, records_of(models[0].bundle.labeler.schema))
    log, way = work / "server.log", with_options("--workers", str(WORKERS), "--poll", "1")
    with serving(way, URI, log) as (pid, port):
        deadline = time.perf_counter() + PATIENCE
        while len(workers(pid)) < WORKERS:
            if time.perf_counter() > deadline:
                raise TimeoutError("not all workers came up")
            time.sleep(0.2)
        held = Soak(pid, Pool(port), requests, Run(minutes))
        uvloop.run(held.hold(minutes))
    held.run.tracebacks = sum("Traceback" in line for line in _lines(log))
    return held.run


def records_of(schema: EntitySchema) -> list[Record]:
    """Entities to ask about: some of the embedded brands."""
    entities = from_table(pq.read_table(BRANDS).slice(0, RECORDS), schema)
    return [one_record(entities.slice(row, 1)) for row in range(RECORDS)]


def _lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8", errors="replace") as log:
        yield from log


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the page and write it down; 1 if the service did not hold."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    options.add_output(parser, "soak.md")
    parser.add_argument("--model", required=True, metavar="URI", help="a model of places")
    parser.add_argument("--minutes", type=float, default=30.0, metavar="N", help="default: 30")
    given = parser.parse_args(arguments)
    with registered(given.model) as work:
        run = soak(work, given.minutes)
    page = document(run)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(page, "utf-8")
    print(page)
    return 1 if faults(run) else 0


if __name__ == "__main__":
    sys.exit(main())
