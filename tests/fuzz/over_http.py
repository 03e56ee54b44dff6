"""Sends damaged requests to a running service, together with valid ones."""

import dataclasses
import random
import threading
import time

import httpx
import psutil

from tests.fuzz.mutations import mutated
from tests.fuzz.seeds import HEADER, SEEDS
from tests.processes import Service

WAYS = {
    "json": ("/v1/labels", "application/json"),
    "review": ("/v1/review", "application/json"),
    "ndjson": ("/v1/labels", "application/x-ndjson"),
    "arrow": ("/v1/labels", "application/vnd.apache.arrow.stream"),
    "v2": ("/v2/models/{name}/infer", "application/octet-stream"),
    "mlflow": ("/invocations", "application/json"),
    "csv": ("/invocations", "text/csv"),
    "parquet": ("/invocations", "application/vnd.apache.parquet"),
}
IN_ORDER = {"entities": [{"id": "a", "name": "Joe's Pizza"}]}
BEAT = 0.05


@dataclasses.dataclass
class Survived:
    """Behaviour of the service: responses of 500 and above, slowest response, memory growth.

    `disturbed` counts valid requests with a changed or missing response.
    """

    failed: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    neighbours: int = 0
    disturbed: int = 0
    slowest_neighbour: float = 0.0
    grown_bytes: int = 0


def bombard(service: Service, name: str, inputs: int, seed: int) -> Survived:
    """Send damaged requests of all kinds in sequence, and valid ones at the same time."""
    survived, done = Survived(), threading.Event()
    process, chance = psutil.Process(service.process.pid), random.Random(seed)
    neighbour = threading.Thread(target=_neighbour, args=(service, survived, done))
    neighbour.start()
    began, before = time.perf_counter(), 0
    with service.client() as client:
        for number in range(inputs):
            if number == min(inputs // 5, 5_000):
                before = process.memory_info().rss
            way = chance.choice(list(WAYS))
            since = time.perf_counter()
            survived.failed += not _sent(client, way, name, chance)
            survived.slowest = max(survived.slowest, time.perf_counter() - since)
    survived.grown_bytes = process.memory_info().rss - before
    survived.seconds = time.perf_counter() - began
    done.set()
    neighbour.join()
    return survived


def _sent(client: httpx.Client, way: str, name: str, chance: random.Random) -> bool:
    """Send one request; returns whether its status was below 500 or its stream was aborted."""
    path, kind = WAYS[way]
    headers = {"Content-Type": kind}
    if way == "v2":
        headers["Inference-Header-Content-Length"] = str(chance.randrange(4 * len(str(HEADER))))
    body = mutated(chance.choice(SEEDS[way]), chance)
    try:
        response = client.post(path.format(name=name), content=body, headers=headers)
    except httpx.RemoteProtocolError:
        return way in ("arrow", "ndjson")
    return response.status_code < 500


def _neighbour(service: Service, survived: Survived, done: threading.Event) -> None:
    with service.client() as client:
        expected = client.post("/v1/labels", json=IN_ORDER).content
        while not done.wait(BEAT):
            since = time.perf_counter()
            survived.disturbed += client.post("/v1/labels", json=IN_ORDER).content != expected
            survived.neighbours += 1
            taken = time.perf_counter() - since
            survived.slowest_neighbour = max(survived.slowest_neighbour, taken)
