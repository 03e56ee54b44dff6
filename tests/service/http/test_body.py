"""Tests of request bodies: compression, limits of size and time, and disconnected clients."""

import asyncio
import gzip
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.types import Message

from labelwright.entities.errors import OverloadedError
from labelwright.service.engine.engine import Engine
from labelwright.service.engine.shares import Shares
from labelwright.service.http.body import BODY_LIMIT, inflate, request_body
from labelwright.service.http.connection import HEAD_SECONDS
from tests.processes import Service
from tests.service.engine.test_shutdown import read_all
from tests.service.registered import manager_of
from tests.service.test_app import PLACES, begin_request, body, connected, post_labels, problem_of

pytest_plugins = ["tests.worlds"]


def post(client: httpx.Client, content: bytes, coding: str) -> httpx.Response:
    return client.post("/v1/labels", content=content, headers={"Content-Encoding": coding})


def raw_deflate(content: bytes) -> bytes:
    """Data without the zlib header, which some clients send as `deflate`."""
    compress = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compress.compress(content) + compress.flush()


@pytest.mark.parametrize(
    ("coding", "content"),
    [
        ("gzip", gzip.compress(body())),
        ("GZIP", gzip.compress(body())),
        ("x-gzip", gzip.compress(body()[:9]) + gzip.compress(body()[9:])),
        ("deflate", zlib.compress(body())),
        ("deflate", raw_deflate(body())),
        ("identity", body()),
    ],
    ids=lambda value: str(len(value)) if isinstance(value, bytes) else None,
)
def test_a_compressed_request_gets_the_same_response(
    client: httpx.Client, coding: str, content: bytes
) -> None:
    response = post(client, content, coding)
    assert response.status_code == 200
    assert response.json() == client.post("/v1/labels", content=body()).json()


@pytest.mark.parametrize(
    ("status", "coding", "content"),
    [
        (400, "gzip", b""),
        (400, "gzip", body()),
        (400, "gzip", gzip.compress(body())[:-1]),
        (400, "gzip", gzip.compress(body()) + b"more"),
        (400, "deflate", b"\xff" * 20),
        (400, "deflate", zlib.compress(body())[:-1]),
        (413, "gzip", gzip.compress(b" " * (BODY_LIMIT + 1))),
        (413, "gzip", 2 * gzip.compress(b" " * (BODY_LIMIT // 2 + 1))),
        (413, "deflate", zlib.compress(b" " * (BODY_LIMIT + 1))),
        (415, "br", body()),
        (415, "gzip, gzip", gzip.compress(gzip.compress(body()))),
    ],
    ids=lambda value: str(len(value)) if isinstance(value, bytes) else None,
)
def test_a_body_that_cannot_be_decompressed_is_refused(
    client: httpx.Client, status: int, coding: str, content: bytes
) -> None:
    response = post(client, content, coding)
    assert problem_of(response)["status"] == status
    if status == 415:
        assert response.headers["accept-encoding"] == "gzip, deflate"  # RFC 9110, 15.5.16
    assert post_labels(client, PLACES)["results"]  # on the same connection


def test_the_time_for_many_gzip_members_is_linear_in_the_size() -> None:
    members = gzip.compress(b"") * 200_000 + gzip.compress(body())
    began = time.thread_time()
    assert inflate(members, "gzip") == body()
    assert time.thread_time() - began < 5


@pytest.fixture
def engine(bundle: Path, tmp_path: Path) -> Iterator[Engine]:
    """An engine without a loaded model: reading bodies needs no model."""
    engine = Engine(manager_of(str(bundle), tmp_path))
    yield engine
    engine.close()


def body_memory(engine: Engine, content: bytes, coding: str) -> tuple[int, int]:
    """The bytes that the queue counts and the bytes that are allocated, while a body is in use."""
    scope = {"type": "http", "headers": [(b"content-encoding", coding.encode())]}

    async def receive() -> Message:
        return {"type": "http.request", "body": content}

    async def work() -> tuple[int, int]:
        async with request_body(Request(scope, receive), engine):
            return engine.memory.total, tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        return asyncio.run(work())
    finally:
        tracemalloc.stop()
        assert engine.memory.total == 0


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_a_body_is_in_memory_only_once_and_its_decompressed_size_is_counted(
    engine: Engine, coding: str
) -> None:
    whole = b" " * (BODY_LIMIT // 2)
    counted, allocated = body_memory(
        engine, gzip.compress(whole) if coding == "gzip" else whole, coding
    )
    assert counted == len(whole)
    assert allocated < 1.5 * len(whole)


def test_the_limit_of_all_bodies_counts_decompressed_bytes(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "memory", Shares(BODY_LIMIT // 4))
    with pytest.raises(OverloadedError):
        body_memory(engine, gzip.compress(b" " * (BODY_LIMIT // 2)), "gzip")


def test_json_may_be_nested_up_to_the_documented_depth(client: httpx.Client) -> None:
    for depth, status in ((1_020, 422), (1_030, 400)):
        nested = b"[" * depth + b"]" * depth
        response = client.post("/v1/labels", content=b'{"entities": ' + nested + b', "x": 1}')
        assert problem_of(response)["status"] == status


def test_a_slow_body_gets_408(service: Service) -> None:
    with connected(service) as connection:
        connection.sendall(
            b"POST /v1/labels HTTP/1.1\r\nHost: localhost\r\nX-Request-Timeout: 0.5\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        assert read_all(connection).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("head", [b"", b"POST /v1/labels HTTP/1.1\r\nHost"])
def test_a_slow_head_closes_the_connection(service: Service, head: bytes) -> None:
    with connected(service) as connection:
        began = time.monotonic()
        connection.sendall(head)
        stop = threading.Event()
        drip = threading.Thread(target=_drip, args=(connection, stop) if head else ())
        if head:
            drip.start()
        assert read_all(connection) == b""
        stop.set()
        assert HEAD_SECONDS - 0.5 < time.monotonic() - began < 6 * HEAD_SECONDS
        if head:
            drip.join()


def _drip(connection: socket.socket, stop: threading.Event) -> None:
    """Send a header slowly, one byte at a time."""
    while not stop.wait(0.2):
        try:
            connection.sendall(b"x")
        except OSError:
            return


def test_a_request_is_cancelled_when_its_client_disconnects(
    service: Service, client: httpx.Client
) -> None:
    many = body(entities=[{"name": f"Place {n}"} for n in range(20)], explain=True)
    before = service.log.stat().st_size
    for _ in range(3):
        with connected(service) as connection:
            begin_request(connection, many)
            connection.sendall(many)
    assert post_labels(client, PLACES)["results"]
    assert "Traceback" not in service.log.read_text()[before:]
