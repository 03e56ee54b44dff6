"""Model swaps under load: failed and mixed responses, and the time and memory of a swap.

The alias of a model alternates between two versions, while clients send requests without a pause.
The versions differ only in the names of their labels. A response is mixed if it names one version
but has labels of the other version.
"""

import argparse
import contextlib
import dataclasses
import http.client
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import orjson
import psutil

from benchmarks import options, tables
from benchmarks.over_http import HOST, serving, with_options
from benchmarks.two_versions import PREFIX, URI, registered, set_champion

CLIENTS = 4
TIMEOUT = 60.0
BODY = orjson.dumps({"entities": [{"id": "a", "name": "Joe's Pizza", "country": "US"}], "top_k": 3})
COLUMNS = (
    tables.Column("swaps", 0),
    tables.Column("responses", 0),
    tables.Column("failed", 0),
    tables.Column("mixed", 0),
    tables.Column("median ms", 1),
    tables.Column("p99 ms", 1),
    tables.Column("longest ms", 0),
    tables.Column("seconds a swap", 2),
    tables.Column("MB after a tenth", 0),
    tables.Column("MB at the end", 0),
)


@dataclasses.dataclass
class Responses:
    """Responses to one client: response times in seconds, and numbers of failed and mixed ones."""

    seconds: list[float] = dataclasses.field(default_factory=list)
    failed: int = 0
    mixed: int = 0


def send_until(port: int, stopped: Callable[[], bool]) -> Responses:
    """Send requests over one connection until `stopped` returns True."""
    responses = Responses()
    connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT)
    while not stopped():
        began = time.perf_counter()
        try:
            connection.request("POST", "/v1/labels", BODY, {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = orjson.loads(response.read())
        except (OSError, http.client.HTTPException):
            responses.failed += 1
            connection.close()
            continue
        responses.seconds.append(time.perf_counter() - began)
        if response.status != http.client.OK:
            responses.failed += 1
        else:
            responses.mixed += not _consistent(content)
    connection.close()
    return responses


def _consistent(content: dict[str, object]) -> bool:
    """Whether all labels belong to the version that the response names."""
    text, model = orjson.dumps(content["results"]).decode(), orjson.dumps(content["model"]).decode()
    labels = text.count('"label":')
    return text.count(f'"label":"{PREFIX}') == (labels if '"version":"2"' in model else 0)


def swap(port: int, swaps: int) -> Iterator[float]:
    """Move the alias `swaps` times; for each swap, yield the seconds until the service uses it.

    Raises TimeoutError if a swap takes longer than TIMEOUT.
    """
    for turn, number in zip(range(swaps), itertools.cycle("21")):
        began = time.perf_counter()
        set_champion(number)
        while _served_version(port) != number:
            if time.perf_counter() - began > TIMEOUT:
                raise TimeoutError(
                    f"swap {turn + 1}: version {number} is not served after {TIMEOUT:g} seconds"
                )
            time.sleep(0.01)
        yield time.perf_counter() - began


def _served_version(port: int) -> str:
    connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT)
    with contextlib.closing(connection):
        connection.request("GET", "/v1/model")
        return str(orjson.loads(connection.getresponse().read())["version"])


def measure(swaps: int, work: Path) -> tables.Line:
    """Run the service and its clients during all swaps; returns the line of the table."""
    stop = threading.Event()
    memory, seconds = [], []
    with (
        serving(with_options("--poll", "0.05"), URI, work / "server.log") as (pid, port),
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        clients = [pool.submit(send_until, port, stop.is_set) for _ in range(CLIENTS)]
        try:
            for one in swap(port, swaps):
                seconds.append(one)
                memory.append(psutil.Process(pid).memory_full_info().uss)
        finally:
            stop.set()
        found = [client.result() for client in clients]
    milliseconds = 1e3 * np.concatenate([one.seconds for one in found])
    failed, mixed = sum(one.failed for one in found), sum(one.mixed for one in found)
    figures = (
        *(len(seconds), len(milliseconds), failed, mixed),
        *np.percentile(milliseconds, (50, 99, 100)).tolist(),
        *(float(np.mean(seconds)), memory[len(memory) // 10] / 1e6, memory[-1] / 1e6),
    )
    return tables.Line("swaps", f"{CLIENTS} clients", tables.by_title(COLUMNS, figures))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write and print the page."""
    parser = argparse.ArgumentParser(prog="make bench-swaps", description=__doc__)
    options.add_output(parser, "swaps.md")
    parser.add_argument("--model", required=True, metavar="URI", help="the model to swap")
    parser.add_argument("--swaps", type=int, default=1_000, metavar="N", help="default: 1000")
    given = parser.parse_args(arguments)
    with registered(given.model) as work:
        line = measure(given.swaps, work)
    page = "\n".join(
        [
            "# Swaps under load\n",
            "Written by `make bench-swaps`.\n",
            tables.listed(tables.machine()),
            tables.markdown(("test", "load"), COLUMNS, [line]),
        ]
    )
    tables.write_page(given.output, page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
