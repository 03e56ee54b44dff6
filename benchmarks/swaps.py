"""Models that are swapped under load: how many answers fail or are mixed, and what a swap costs.

Two versions of one model, which differ in the names of their labels alone, take turns as champion
in a registry made for it, while clients ask without a pause.
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
from benchmarks.versions import PREFIX, URI, point, registered

CLIENTS = 4
PATIENCE = 60.0
BODY = orjson.dumps({"entities": [{"id": "a", "name": "Joe's Pizza", "country": "US"}], "top_k": 3})
FIGURES = tuple(
    tables.Column(title, digits)
    for title, digits in (
        ("swaps", 0),
        ("answers", 0),
        ("failed", 0),
        ("mixed", 0),
        ("half within ms", 1),
        ("99% within ms", 1),
        ("longest ms", 0),
        ("seconds a swap", 2),
        ("MB after a tenth", 0),
        ("MB at the end", 0),
    )
)


@dataclasses.dataclass
class Asked:
    """What one client has seen: seconds of each answer, and how many were wrong."""

    seconds: list[float] = dataclasses.field(default_factory=list)
    failed: int = 0
    mixed: int = 0


def ask(port: int, over: Callable[[], bool]) -> Asked:
    """Ask on one connection until it is over."""
    asked = Asked()
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
    while not over():
        began = time.perf_counter()
        try:
            connection.request("POST", "/v1/labels", BODY, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = orjson.loads(response.read())
        except (OSError, http.client.HTTPException):
            asked.failed += 1
            connection.close()
            continue
        asked.seconds.append(time.perf_counter() - began)
        if response.status != http.client.OK:
            asked.failed += 1
        else:
            asked.mixed += not _whole(answer)
    connection.close()
    return asked


def _whole(answer: dict[str, object]) -> bool:
    """Whether all labels are those of the version that the answer names."""
    text, stated = orjson.dumps(answer["results"]).decode(), orjson.dumps(answer["model"]).decode()
    labels = text.count('"label":')
    return text.count(f'"label":"{PREFIX}') == (labels if '"version":"2"' in stated else 0)


def swap(port: int, swaps: int) -> Iterator[float]:
    """Let the alias move so often; gives the seconds until each new version has answered."""
    for turn, number in zip(range(swaps), itertools.cycle("21")):
        began = time.perf_counter()
        point(number)
        while _serving(port) != number:
            if time.perf_counter() - began > PATIENCE:
                raise TimeoutError(f"swap {turn + 1} did not come about")
            time.sleep(0.01)
        yield time.perf_counter() - began


def _serving(port: int) -> str:
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("GET", "/v1/model")
        return str(orjson.loads(connection.getresponse().read())["version"])


def measure(swaps: int, work: Path) -> tables.Line:
    """One service, its clients, and all swaps."""
    over = threading.Event()
    memory, took = [], []
    with (
        serving(with_options("--poll", "0.05"), URI, work / "server.log") as (pid, port),
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        clients = [pool.submit(ask, port, over.is_set) for _ in range(CLIENTS)]
        try:
            for seconds in swap(port, swaps):
                took.append(seconds)
                memory.append(psutil.Process(pid).memory_full_info().uss)
        finally:
            over.set()
        asked = [client.result() for client in clients]
    milliseconds = 1e3 * np.concatenate([one.seconds for one in asked])
    figures = (
        *(len(took), len(milliseconds), sum(a.failed for a in asked), sum(a.mixed for a in asked)),
        *np.percentile(milliseconds, (50, 99, 100)).tolist(),
        *(float(np.mean(took)), memory[len(memory) // 10] / 1e6, memory[-1] / 1e6),
    )
    titles = (column.title for column in FIGURES)
    return tables.Line("swaps", f"{CLIENTS} clients", dict(zip(titles, figures, strict=True)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and write it down."""
    parser = argparse.ArgumentParser(prog="make bench-swaps", description=__doc__)
    options.add_output(parser, "swaps.md")
    parser.add_argument("--model", required=True, metavar="URI", help="the model that is swapped")
    parser.add_argument("--swaps", type=int, default=1_000, metavar="N", help="default: 1000")
    given = parser.parse_args(arguments)
    with registered(given.model) as work:
        line = measure(given.swaps, work)
    table = tables.markdown(("what", "by"), FIGURES, [line])
    page = (
        f"# Swaps under load\n\nWritten by `make bench-swaps`.\n\n{tables.listed(tables.machine())}"
        f"\n{table}"
    )
    print(page)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(page, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
