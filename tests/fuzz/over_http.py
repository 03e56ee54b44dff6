"""Damaged requests to a running service, while another client sends valid requests."""

import dataclasses
import random
import threading
import time

import httpx
import psutil

from tests.fuzz.mutations import mutated
from tests.fuzz.seeds import HEADER, SEEDS
from tests.processes import Service

INTERFACES = {
    "json": ("/v1/labels", "application/json"),
    "review": ("/v1/review", "application/json"),
    "ndjson": ("/v1/labels", "application/x-ndjson"),
    "arrow": ("/v1/labels", "application/vnd.apache.arrow.stream"),
    "v2": ("/v2/models/{name}/infer", "application/octet-stream"),
    "mlflow": ("/invocations", "application/json"),
    "csv": ("/invocations", "text/csv"),
    "parquet": ("/invocations", "application/vnd.apache.parquet"),
}
VALID = {"entities": [{"id": "a", "name": "Joe's Pizza"}]}
INTERVAL = 0.05
"""Seconds between two valid requests."""


@dataclasses.dataclass
class Outcome:
    """The behaviour of the service under damaged requests.

    `failed` counts damaged requests with a status of 500 or above, or with an aborted response.
    `valid` counts the valid requests of another client, and `disturbed` those among them with a
    wrong response. `slowest` and `slowest_valid` are response times in seconds. `grown_bytes` is
    the growth of the service's memory.
    """

    failed: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    valid: int = 0
    disturbed: int = 0
    slowest_valid: float = 0.0
    grown_bytes: int = 0


def send_damaged(service: Service, name: str, inputs: int, seed: int) -> Outcome:
    """Send damaged requests to all interfaces in sequence, and valid requests at the same time."""
    outcome, done = Outcome(), threading.Event()
    process, chance = psutil.Process(service.process.pid), random.Random(seed)
    other_client = threading.Thread(target=_send_valid, args=(service, outcome, done))
    other_client.start()
    began, before = time.perf_counter(), 0
    with service.client() as client:
        for number in range(inputs):
            if number == min(inputs // 5, 5_000):
                before = process.memory_info().rss
            interface = chance.choice(list(INTERFACES))
            since = time.perf_counter()
            outcome.failed += not _is_handled(client, interface, name, chance)
            outcome.slowest = max(outcome.slowest, time.perf_counter() - since)
    outcome.grown_bytes = process.memory_info().rss - before
    outcome.seconds = time.perf_counter() - began
    done.set()
    other_client.join()
    return outcome


def _is_handled(client: httpx.Client, interface: str, name: str, chance: random.Random) -> bool:
    """Send one damaged request; returns whether the service handles it as it should.

    The status must be below 500. A stream may also be aborted.
    """
    path, kind = INTERFACES[interface]
    headers = {"Content-Type": kind}
    if interface == "v2":
        headers["Inference-Header-Content-Length"] = str(chance.randrange(4 * len(str(HEADER))))
    body = mutated(chance.choice(SEEDS[interface]), chance)
    try:
        response = client.post(path.format(name=name), content=body, headers=headers)
    except httpx.RemoteProtocolError:
        return interface in ("arrow", "ndjson")
    return response.status_code < 500


def _send_valid(service: Service, outcome: Outcome, done: threading.Event) -> None:
    """Send valid requests until `done` is set, and compare each response with the first one."""
    with service.client() as client:
        expected = client.post("/v1/labels", json=VALID).content
        while not done.wait(INTERVAL):
            since = time.perf_counter()
            outcome.disturbed += client.post("/v1/labels", json=VALID).content != expected
            outcome.valid += 1
            seconds = time.perf_counter() - since
            outcome.slowest_valid = max(outcome.slowest_valid, seconds)
