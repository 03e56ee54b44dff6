"""Tests of HTTP connections: limits of the head, slow clients, and refusals under overload."""

import contextlib
import dataclasses
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from labelwright.entities.corrections import CorrectionStore
from labelwright.service.app import create_app
from labelwright.service.engine.engine import Engine
from labelwright.service.engine.queue import JobQueue
from labelwright.service.http.connection import HEAD_LIMIT, Connection
from labelwright.service.middleware.access import Access
from labelwright.service.telemetry.request_record import Client
from tests.processes import HOST, Service, await_ready
from tests.service.engine.test_shutdown import read_all
from tests.service.registered import manager_of
from tests.service.test_app import body, connected
from tests.service.waiting import wait_until

pytest_plugins = ["tests.worlds"]

GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v1/labels HTTP/1.1\r\nHost: localhost\r\nX-Request-Timeout: 60\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SECONDS = 1.0
"""Timeouts of the service in this process: for the head of a request, and for slow readers."""


def chunks(content: bytes, size: int) -> bytes:
    """A chunked body without the last chunk."""
    parts = (content[at : at + size] for at in range(0, len(content), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


def flood(connection: socket.socket, part: bytes) -> None:
    """Send at least 12 MiB."""
    for _ in range(200):
        connection.sendall(part)


@pytest.mark.parametrize(
    ("begin", "more"),
    [(GET + b"X: ", b"x"), (GET, b"a:b\r\n"), (b"GET /", b"x"), (b"", b"\r\n")],
    ids=["a long value", "many headers", "a long path", "blank lines"],
)
def test_a_head_that_is_too_long_gets_431(service: Service, begin: bytes, more: bytes) -> None:
    with connected(service) as connection:
        connection.sendall((begin + more * HEAD_LIMIT)[: HEAD_LIMIT + 1])
        response = read_all(connection)
    assert response.startswith(b"HTTP/1.1 431 ")
    assert b"application/problem+json" in response


def test_a_head_of_the_largest_size_may_arrive_in_parts(service: Service) -> None:
    end = b"\r\nConnection: close\r\n\r\n"
    head = (GET + b"X: ").ljust(HEAD_LIMIT - len(end), b"x") + end
    with connected(service) as connection:
        for at in range(0, len(head), 10_000):
            connection.sendall(head[at : at + 10_000])
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("begin", "more"),
    [(b"0\r\n", b"a:b\r\n"), (b"0\r\na: ", b"x"), (b"1;", b"x")],
    ids=["trailers", "a long trailer", "an extension of a chunk"],
)
def test_endless_trailers_and_chunk_extensions_close_the_connection(
    service: Service, begin: bytes, more: bytes
) -> None:
    with connected(service) as connection:
        connection.sendall(CHUNKED + chunks(body(), 100) + begin)
        with pytest.raises(ConnectionError):
            flood(connection, more * (HEAD_LIMIT // len(more)))


@pytest.mark.parametrize("size", [1, 1_000, 1 << 20])
def test_the_limit_of_the_head_does_not_apply_to_bodies(service: Service, size: int) -> None:
    whole = body().ljust(8 * HEAD_LIMIT)
    with connected(service) as connection:
        connection.sendall(CHUNKED + chunks(whole, size) + b"0\r\nX: trailer\r\n\r\n")
        connection.sendall(GET + b"Connection: close\r\n\r\n")
        responses = read_all(connection)
    assert responses.startswith(b"HTTP/1.1 200 ")
    assert responses.count(b"HTTP/1.1 200 ") == 2


def test_trailers_do_not_become_headers(service: Service) -> None:
    request = CHUNKED + chunks(body(), 100) + b"0\r\nX-Request-ID: trailer\r\n\r\n"
    with connected(service) as connection:
        connection.sendall(request + GET + b"Connection: close\r\n\r\n")
        assert b"trailer" not in read_all(connection)


# requests that are not valid

CHUNK = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body()), body())
INVALID = {
    "two hosts": (b"400", GET + b"HOST: example.com\r\n\r\n"),
    "gzip": (b"501", POST + b"Transfer-Encoding: gzip\r\n\r\n"),
    "gzip and chunked": (b"501", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNK),
    "two codings": (
        b"501",
        POST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNK,
    ),
    "a parameter": (b"501", POST + b"Transfer-Encoding: chunked;a=b\r\n\r\n" + CHUNK),
    "two times chunked": (b"400", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + CHUNK),
    "a chunk": (b"400", CHUNKED + b"x\r\n"),
    "HTTP/2": (b"400", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "TLS": (b"400", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
}
"""For each request that is not valid, the status of its response."""


@pytest.mark.parametrize(("status", "request_"), INVALID.values(), ids=INVALID)
def test_an_invalid_request_gets_a_problem_document(
    service: Service, status: bytes, request_: bytes
) -> None:
    with connected(service) as connection:
        connection.sendall(request_)
        response = read_all(connection)
    assert response.startswith(b"HTTP/1.1 %b " % status)
    assert response.count(b"\r\n\r\n") == 1
    assert b"\r\nconnection: close\r\n" in response.lower()
    assert json.loads(response.partition(b"\r\n\r\n")[2])["status"] == int(status)


@pytest.mark.parametrize("name", sorted(INVALID.keys() - {"a chunk"}))  # its head is valid
def test_the_requests_before_an_invalid_one_get_their_responses(
    service: Service, name: str
) -> None:
    _, request_ = INVALID[name]
    whole = POST + b"Content-Length: %d\r\n\r\n%b" % (len(body()), body())
    with connected(service) as connection:
        connection.sendall(whole + request_)
        response = read_all(connection)
    assert response.startswith(b"HTTP/1.1 200 ")
    assert response.count(b"\r\n\r\n") == 1
    assert len(json.loads(response.partition(b"\r\n\r\n")[2])["results"]) == 1


def test_a_stream_with_an_invalid_chunk_has_no_proper_end(service: Service) -> None:
    head = CHUNKED.replace(b"Host", b"Content-Type: application/x-ndjson\r\nHost")
    with connected(service) as connection:
        connection.sendall(head + chunks(b'{"name": "Cafe"}\n' * 10_000, 1 << 12))
        assert connection.recv(1) == b"H"  # the response has begun
        connection.sendall(b"x\r\n")
        with contextlib.suppress(ConnectionError):
            response = read_all(connection)
            assert b"HTTP/1.1 400" not in response
            assert not response.endswith(b"0\r\n\r\n")


# the header `Upgrade`


UPGRADES = {
    "HTTP/2": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAA\r\n",
    "WebSocket": b"Upgrade: websocket\r\nconnection: keep-alive, upgrade\r\nX-Empty:\r\n",
}


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("size", [1, 50, 1 << 20])
def test_a_request_to_upgrade_the_connection_is_ignored(
    service: Service, upgrade: bytes, size: int
) -> None:
    post, content = POST + upgrade, body()
    whole = b"".join(
        (
            post + b"Content-Length: %d\r\n\r\n%b" % (len(content), content),
            post + b"Transfer-Encoding: chunked\r\n\r\n" + chunks(content, 30) + b"0\r\n\r\n",
            post + b"Content-Length: 0\r\n\r\n",
            GET + upgrade + b"\r\n",
            GET + b"Connection: close\r\n\r\n",
        )
    )
    with connected(service) as connection:
        for at in range(0, len(whole), size):
            connection.sendall(whole[at : at + size])
        responses = read_all(connection)
    statuses = re.findall(rb"HTTP/1.1 (\d+) ", responses)
    assert statuses == [b"200", b"200", b"400", b"200", b"200"]
    assert responses.count(b'"labels"') == 2


def test_curl_may_ask_for_http_2(service: Service) -> None:
    if shutil.which("curl") is None:
        pytest.skip("this test needs curl: apt-get install curl")
    command = ["curl", "--silent", "--http2", "--data-binary", "@-", f"{service.url}/v1/labels"]
    for content in (body(), body().ljust(2 << 20)):
        done = subprocess.run(command, input=content, capture_output=True, check=True, timeout=60)
        assert len(json.loads(done.stdout)["results"]) == 1


def test_connect_is_refused(service: Service) -> None:
    with connected(service) as connection:
        connection.sendall(b"CONNECT example.com:80 HTTP/1.1\r\nHost: localhost\r\n\r\nx")
        assert read_all(connection).startswith(b"HTTP/1.1 400 ")


# a service with short timeouts


PLAIN = b"POST /v1/labels HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n"


@dataclasses.dataclass(frozen=True)
class ShortTimeouts:
    """A service in this process with short timeouts and small buffers."""

    server: uvicorn.Server
    port: int
    queue: JobQueue

    def connected(self) -> socket.socket:
        """A connection with a small receive buffer."""
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        connection.settimeout(20 * SECONDS)
        connection.connect((HOST, self.port))
        return connection


@pytest.fixture(scope="module")
def short_timeouts(
    bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ShortTimeouts]:
    folder = tmp_path_factory.mktemp("short_timeouts")
    corrections = CorrectionStore(f"sqlite:///{folder}/corrections.db")
    engine = Engine(manager_of(str(bundle), folder))
    app = create_app(engine, Access(), corrections)
    server = uvicorn.Server(uvicorn.Config(app, http=Connection, log_level="warning"))
    with pytest.MonkeyPatch.context() as patch, socket.create_server((HOST, 0)) as listener:
        for name in ("HEAD_SECONDS", "IDLE_SECONDS"):
            patch.setattr(f"labelwright.service.http.connection.{name}", SECONDS)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        port = int(listener.getsockname()[1])
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        await_ready(f"http://{HOST}:{port}/readyz", thread.is_alive)
        yield ShortTimeouts(server, port, engine.queue)
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize(
    ("request_", "status", "more"),
    [
        (POST + b"Content-Encoding: br\r\nContent-Length: 1000\r\n\r\n", b"415", b"x"),
        (GET + b"\r\n", b"200", b"\r\n"),
    ],
    ids=["the rest of a body", "a blank line"],
)
def test_a_connection_is_closed_if_a_request_stays_incomplete_after_a_response(
    short_timeouts: ShortTimeouts, request_: bytes, status: bytes, more: bytes
) -> None:
    with short_timeouts.connected() as connection:
        connection.sendall(request_)
        assert connection.recv(1 << 14).split()[1] == status
        connection.sendall(more)
        read_all(connection)  # the service closes the connection


def test_the_timeout_of_a_head_does_not_interrupt_the_body_of_the_next_request(
    short_timeouts: ShortTimeouts,
) -> None:
    with short_timeouts.connected() as connection:
        for head in (
            POST + b"Content-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
            GET + b"\r\n",
        ):
            connection.sendall(head)
            assert connection.recv(1 << 14)
        end = b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body())
        connection.sendall(POST + end)
        time.sleep(2 * SECONDS)
        connection.sendall(body())
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")


def long_request(*headers: bytes) -> bytes:
    """A request whose response is larger than all buffers."""
    content = body(entities=[{"name": f"Place {n}"} for n in range(300)], top_k=1_000)
    length = b"Content-Length: %d" % len(content)
    return POST + b"\r\n".join((length, *headers, b"", content))


@pytest.mark.parametrize("header", [b"Connection: close", b"Connection: keep-alive"])
def test_a_client_that_reads_nothing_is_disconnected(
    short_timeouts: ShortTimeouts, header: bytes
) -> None:
    connections = short_timeouts.server.server_state.connections
    before = connections.copy()
    with short_timeouts.connected() as connection:
        connection.sendall(long_request(header))
        assert connection.recv(1)  # the response has started
        opened = connections - before
        assert opened
        wait_until(lambda: not opened & connections, 20 * SECONDS)


def test_a_slow_reader_gets_the_whole_response(short_timeouts: ShortTimeouts) -> None:
    began, response = time.monotonic(), bytearray()
    with short_timeouts.connected() as connection:
        connection.sendall(long_request(b"Connection: close"))
        while part := connection.recv(1 << 20):
            response += part
            if time.monotonic() - began < 4 * SECONDS:
                time.sleep(0.05)
    assert time.monotonic() - began > 4 * SECONDS
    assert len(json.loads(response.partition(b"\r\n\r\n")[2])["results"]) == 300


# an overloaded service


@pytest.fixture
def overloaded(short_timeouts: ShortTimeouts) -> Iterator[ShortTimeouts]:
    reservation = short_timeouts.queue.reserve(1_000_000_000, Client(HOST))
    yield short_timeouts
    reservation.release()


@pytest.mark.parametrize("size", [1, 50, 1_000, 1 << 20])
def test_refused_requests_do_not_affect_other_requests_on_the_connection(
    overloaded: ShortTimeouts, size: int
) -> None:
    refused = [
        PLAIN + b"Content-Length: %d\r\nX: GET / HTTP/1.1\r\n\r\n%b" % (len(rest), rest)
        for rest in (b"", b"{}", PLAIN + b"\r\n\r\n", body().ljust(3_000))
    ]
    refused += [
        CHUNKED + chunks(body(), 100) + b"0\r\n\r\n",
        POST + b"Content-Length: 2\r\n\r\n{}",
        PLAIN + b"content-length:0\r\n\r\n",
    ]
    whole = b"".join([*refused, GET + b"\r\n", *refused, GET + b"Connection: close\r\n\r\n"])
    with overloaded.connected() as connection:
        for at in range(0, len(whole), size):
            connection.sendall(whole[at : at + size])
        statuses = re.findall(rb"HTTP/1.1 (\d+) ", read_all(connection))
    assert statuses == 2 * [*len(refused) * [b"503"], b"200"]


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 2\r\nContent-Length: 3\r\n",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length : 2\r\n",
        b"Content-Length: 2\nX: y\r\n",
        b"Content-Length: -2\r\n",
        b"Content-Length: 2\r\nX\0: y\r\n",
    ],
)
def test_an_invalid_head_gets_400_under_overload(overloaded: ShortTimeouts, fields: bytes) -> None:
    with overloaded.connected() as connection:
        connection.sendall(PLAIN + fields + b"\r\n{}")
        assert read_all(connection).startswith(b"HTTP/1.1 400 ")


def test_a_connection_is_closed_if_the_body_of_a_refused_request_does_not_arrive(
    overloaded: ShortTimeouts,
) -> None:
    with overloaded.connected() as connection:
        connection.sendall(PLAIN + b"Content-Length: 1000\r\n\r\n{")
        assert read_all(connection).startswith(
            b"HTTP/1.1 503 "
        )  # the service closes the connection


def test_a_client_that_does_not_read_refusals_is_disconnected(overloaded: ShortTimeouts) -> None:
    with overloaded.connected() as connection, pytest.raises(ConnectionError):
        flood(connection, 1_000 * (PLAIN + b"Content-Length: 0\r\n\r\n"))
