"""Soak test: half an hour of requests at 80% of the capacity, with model swaps and killed workers.

Two versions of a model alternate as champion. The versions differ in the name of every label. A
worker is killed KILLS times. Every response is compared with the right response of the version that
it names. The test fails if a response is wrong, a status is unexpected, or memory grows.
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

from benchmarks import options, tables
from benchmarks.connections import Pool, closed_loop, open_loop
from benchmarks.environments import ROOT
from benchmarks.mixture import DISCONNECTS, Request, mixture
from benchmarks.over_http import Record, serving, with_options
from benchmarks.processes import resident_bytes
from benchmarks.soak_page import Outcome, Run, document, faults
from benchmarks.stage_times import first_record
from benchmarks.two_versions import NAME, URI, VERSIONS, registered, set_champion
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import from_table
from labelwright.models.registry import load_model

WORKERS = 2
LOAD = 0.8
"""Offered load as a share of the capacity."""
CONNECTIONS = 8
"""Number of connections during the measurement of the capacity."""
WARM_UP_SECONDS = 5.0
CAPACITY_SECONDS = 15.0
SWAP_INTERVAL = 5.0
KILLS = 4
SAMPLING_INTERVAL = 1.0
RECOVERY_SECONDS = 10.0
"""Seconds of recovery after a new worker has loaded the model; response times in this time are
recorded separately."""
DISCONNECT_SECONDS = 0.03
"""Maximum seconds until a disconnecting client closes its connection."""
START_TIMEOUT = 180.0
RECORDS = 2_000
BRANDS = ROOT / "entities" / "data" / "brands.parquet"


@dataclasses.dataclass
class Soak:
    """A service under load, and the recorded results."""

    pid: int
    pool: Pool
    requests: Sequence[Request]
    run: Run
    recovered: bool = True
    """Whether all workers have run for at least RECOVERY_SECONDS."""
    swap: int = 0

    async def capacity(self, seconds: float) -> float:
        """Requests per second over CONNECTIONS connections, without disconnecting clients."""
        requests = [request for request in self.requests if request.kind != DISCONNECTS]

        async def send(number: int) -> bool:
            return (await self.pool.send(requests[number % len(requests)].content)).status == 200

        return await closed_loop(send, CONNECTIONS, seconds)

    async def hold(self, minutes: float) -> None:
        """Measure the capacity; then send LOAD of it as requests, during swaps and kills."""
        seconds = 60 * minutes
        await self.capacity(WARM_UP_SECONDS)
        self.run.capacity = await self.capacity(CAPACITY_SECONDS)
        self.run.rate = LOAD * self.run.capacity
        self.run.began = time.perf_counter()
        tasks = [
            asyncio.create_task(work)
            for work in (self._sample(), self._swap(), self._kill(seconds / (KILLS + 1)))
        ]
        await open_loop(self._send, self.run.rate, seconds)
        self.run.capacity_after = await self.capacity(CAPACITY_SECONDS) if self.recovered else None
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def _send(self, number: int, due: float) -> None:
        request = self.requests[number % len(self.requests)]
        recovered = self.recovered
        if request.kind == DISCONNECTS:
            seconds = random.uniform(0, DISCONNECT_SECONDS)  # noqa: S311
            await self.pool.abandon(request.content, seconds)
            self.run.count(request.kind, Outcome.ABANDONED)
            return
        response = await self.pool.send(request.content)
        seconds = time.perf_counter() - due
        recovering = not (recovered and self.recovered)
        if response.status == 200:
            version = request.version(response)
            if self.swap and version == VERSIONS[self.swap % 2]:
                self.run.completed.add(self.swap)
            outcome = Outcome.WRONG if version is None else Outcome.RIGHT
            self.run.count(request.kind, outcome)
            times = self.run.recovering if recovering else self.run.seconds[request.kind]
            times.append(seconds)
        elif recovering and response.status in (0, 503):
            self.run.count(request.kind, Outcome.REFUSED if response.status else Outcome.CUT)
        else:
            self.run.count(request.kind, Outcome.UNEXPECTED)
            self.run.statuses[response.status] += 1

    async def _swap(self) -> None:
        for swap in itertools.count(1):
            await asyncio.sleep(SWAP_INTERVAL)
            await asyncio.to_thread(set_champion, VERSIONS[swap % 2])
            self.swap = self.run.swaps = swap

    async def _sample(self) -> None:
        """Record the memory of all processes."""
        while True:
            at = time.perf_counter() - self.run.began
            self.run.memory.append((at, await asyncio.to_thread(resident_bytes, self.pid)))
            await asyncio.sleep(SAMPLING_INTERVAL)

    async def _kill(self, interval: float) -> None:
        """Kill the newest worker after each interval; the oldest worker runs to the end."""
        for _ in range(KILLS):
            await asyncio.sleep(interval)
            victim = workers(self.pid)[-1]
            self.recovered, began = False, time.perf_counter()
            os.kill(victim, signal.SIGKILL)
            self.run.killed += 1
            await self._wait_for_replacement(victim)
            self.run.replaced.append(time.perf_counter() - began)
            await asyncio.sleep(RECOVERY_SECONDS)
            self.recovered = True

    async def _wait_for_replacement(self, victim: int) -> None:
        deadline = time.perf_counter() + START_TIMEOUT
        while len({*await asyncio.to_thread(workers, self.pid)} - {victim}) < WORKERS:
            if time.perf_counter() > deadline:
                raise TimeoutError(
                    f"a killed worker was not replaced within {START_TIMEOUT:g} seconds"
                )
            await asyncio.sleep(0.2)


def workers(pid: int) -> list[int]:
    """Ids of the child processes of a service that have loaded a model, the oldest first."""
    found = []
    for child in sorted(psutil.Process(pid).children(), key=lambda child: child.create_time()):
        with contextlib.suppress(OSError):
            if ".npy" in Path(f"/proc/{child.pid}/maps").read_text("utf-8"):
                found.append(child.pid)
    return found


def soak(work: Path, minutes: float) -> Run:
    """Run the test; `work` is the folder that `two_versions.registered` yields."""
    models = [load_model(f"models:/{NAME}/{number}") for number in VERSIONS]
    requests = mixture(models, records_of(models[0].bundle.labeler.schema))
    log, server = work / "server.log", with_options("--workers", str(WORKERS), "--poll", "1")
    with serving(server, URI, log) as (pid, port):
        deadline = time.perf_counter() + START_TIMEOUT
        while len(workers(pid)) < WORKERS:
            if time.perf_counter() > deadline:
                raise TimeoutError(
                    f"fewer than {WORKERS} workers are ready after {START_TIMEOUT:g} seconds"
                )
            time.sleep(0.2)
        test = Soak(pid, Pool(port), requests, Run(minutes))
        uvloop.run(test.hold(minutes))
    test.run.tracebacks = sum("Traceback" in line for line in _lines(log))
    return test.run


def records_of(schema: EntitySchema) -> list[Record]:
    """Entities for requests: RECORDS of the brands in the package."""
    entities = from_table(pq.read_table(BRANDS).slice(0, RECORDS), schema)
    return [first_record(entities.slice(row, 1)) for row in range(RECORDS)]


def _lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8", errors="replace") as log:
        yield from log


def main(arguments: Sequence[str] | None = None) -> int:
    """Write and print the page; returns 1 if the test failed."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    options.add_output(parser, "soak.md")
    parser.add_argument("--model", required=True, metavar="URI", help="a model of places")
    parser.add_argument("--minutes", type=float, default=30.0, metavar="N", help="default: 30")
    given = parser.parse_args(arguments)
    with registered(given.model) as work:
        run = soak(work, given.minutes)
    tables.write_page(given.output, document(run))
    return 1 if faults(run) else 0


if __name__ == "__main__":
    sys.exit(main())
