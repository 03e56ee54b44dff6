"""One connection: how long what is no body may be, and for how long a client may do nothing."""

import dataclasses
import json
import re
import socket
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
from tests.processes import HOST, Service, await_answer
from tests.service.engine.test_shutdown import everything
from tests.service.registered import serving_of
from tests.service.test_app import body, connected

pytest_plugins = ["tests.worlds"]

GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v1/labels HTTP/1.1\r\nHost: localhost\r\nX-Request-Timeout: 60\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SECONDS = 1.0
"""For which the impatient service waits for a client."""


def chunks(content: bytes, size: int) -> bytes:
    """A body in chunks of that size, without its end."""
    parts = (content[at : at + size] for at in range(0, len(content), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


def flood(caller: socket.socket, part: bytes) -> None:
    """Send 12 MiB and more."""
    for _ in range(200):
        caller.sendall(part)


@pytest.mark.parametrize(
    ("begin", "more"),
    [(GET + b"X: ", b"x"), (GET, b"a:b\r\n"), (b"GET /", b"x"), (b"", b"\r\n")],
    ids=["a long value", "many headers", "a long path", "blank lines"],
)
def test_a_head_that_does_not_end_is_refused(service: Service, begin: bytes, more: bytes) -> None:
    with connected(service) as caller:
        caller.sendall((begin + more * HEAD_LIMIT)[: HEAD_LIMIT + 1])
        answer = everything(caller)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"application/problem+json" in answer


def test_a_head_up_to_the_limit_is_read_however_it_comes(service: Service) -> None:
    end = b"\r\nConnection: close\r\n\r\n"
    head = (GET + b"X: ").ljust(HEAD_LIMIT - len(end), b"x") + end
    with connected(service) as caller:
        for at in range(0, len(head), 10_000):
            caller.sendall(head[at : at + 10_000])
        assert everything(caller).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("begin", "more"),
    [(b"0\r\n", b"a:b\r\n"), (b"0\r\na: ", b"x"), (b"1;", b"x")],
    ids=["trailers", "a long trailer", "an extension of a chunk"],
)
def test_what_is_no_body_has_an_end(service: Service, begin: bytes, more: bytes) -> None:
    with connected(service) as caller:
        caller.sendall(CHUNKED + chunks(body(), 100) + begin)
        with pytest.raises(ConnectionError):
            flood(caller, more * (HEAD_LIMIT // len(more)))


@pytest.mark.parametrize("size", [1, 1_000, 1 << 20])
def test_a_body_is_no_head_however_it_is_cut(service: Service, size: int) -> None:
    whole = body().ljust(8 * HEAD_LIMIT)
    with connected(service) as caller:
        caller.sendall(CHUNKED + chunks(whole, size) + b"0\r\nX: trailer\r\n\r\n")
        caller.sendall(GET + b"Connection: close\r\n\r\n")
        predictions = everything(caller)
    assert predictions.startswith(b"HTTP/1.1 200 ")
    assert predictions.count(b"HTTP/1.1 200 ") == 2


def test_trailers_are_no_headers(service: Service) -> None:
    request = CHUNKED + chunks(body(), 100) + b"0\r\nX-Request-ID: trailer\r\n\r\n"
    with connected(service) as caller:
        caller.sendall(request + GET + b"Connection: close\r\n\r\n")
        assert b"trailer" not in everything(caller)


# a service that waits only SECONDS


PLAIN = b"POST /v1/labels HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n"


@dataclasses.dataclass(frozen=True)
class Impatient:
    """A service in this process with small buffers."""

    server: uvicorn.Server
    port: int
    queue: JobQueue

    def connected(self) -> socket.socket:
        """A connection that holds little of what was not read."""
        caller = socket.socket()
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        caller.settimeout(20 * SECONDS)
        caller.connect((HOST, self.port))
        return caller


@pytest.fixture(scope="module")
def impatient(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Impatient]:
    folder = tmp_path_factory.mktemp("impatient")
    corrections = CorrectionStore(f"sqlite:///{folder}/corrections.db")
    engine = Engine(serving_of(str(bundle), folder))
    app = create_app(engine, Access(), corrections)
    server = uvicorn.Server(uvicorn.Config(app, http=Connection, log_level="warning"))
    with pytest.MonkeyPatch.context() as patch, socket.create_server((HOST, 0)) as listener:
        for waits in ("HEAD_SECONDS", "IDLE_SECONDS"):
            patch.setattr(f"labelwright.service.http.connection.{waits}", SECONDS)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        port = int(listener.getsockname()[1])
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        await_answer(f"http://{HOST}:{port}/readyz", thread.is_alive)
        yield Impatient(server, port, engine.queue)
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
def test_nobody_is_waited_for_after_an_answer(
    impatient: Impatient, request_: bytes, status: bytes, more: bytes
) -> None:
    with impatient.connected() as caller:
        caller.sendall(request_)
        assert caller.recv(1 << 14).split()[1] == status
        caller.sendall(more)
        everything(caller)  # and no end of time


def test_a_request_that_has_begun_is_not_cut_off_by_the_answer_before(
    impatient: Impatient,
) -> None:
    with impatient.connected() as caller:
        for head in (
            POST + b"Content-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
            GET + b"\r\n",
        ):
            caller.sendall(head)
            assert caller.recv(1 << 14)
        end = b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body())
        caller.sendall(POST + end)
        time.sleep(2 * SECONDS)
        caller.sendall(body())
        assert everything(caller).startswith(b"HTTP/1.1 200 ")


def long_request(*headers: bytes) -> bytes:
    """A request for an answer that no buffer holds."""
    content = body(entities=[{"name": f"Place {n}"} for n in range(300)], top_k=1_000)
    length = b"Content-Length: %d" % len(content)
    return POST + b"\r\n".join((length, *headers, b"", content))


@pytest.mark.parametrize("header", [b"Connection: close", b"Connection: keep-alive"])
def test_a_client_that_reads_nothing_is_given_up(impatient: Impatient, header: bytes) -> None:
    connections = impatient.server.server_state.connections
    before = connections.copy()
    with impatient.connected() as caller:
        caller.sendall(long_request(header))
        assert caller.recv(1)  # the answer has begun
        mine = connections - before
        assert mine
        until = time.monotonic() + 20 * SECONDS
        while mine & connections and time.monotonic() < until:
            time.sleep(0.05)
        assert not mine & connections


def test_a_client_that_reads_slowly_is_served_to_the_end(impatient: Impatient) -> None:
    began, answer = time.monotonic(), bytearray()
    with impatient.connected() as caller:
        caller.sendall(long_request(b"Connection: close"))
        while part := caller.recv(1 << 20):
            answer += part
            if time.monotonic() - began < 4 * SECONDS:
                time.sleep(0.05)
    assert time.monotonic() - began > 4 * SECONDS
    assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["results"]) == 300


# a service that has too much to do


@pytest.fixture
def overloaded(impatient: Impatient) -> Iterator[Impatient]:
    much = impatient.queue.reserve(1_000_000_000)
    yield impatient
    much.release()


@pytest.mark.parametrize("size", [1, 50, 1_000, 1 << 20])
def test_what_is_refused_leaves_its_neighbours_their_answers(
    overloaded: Impatient, size: int
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
    with overloaded.connected() as caller:
        for at in range(0, len(whole), size):
            caller.sendall(whole[at : at + size])
        said = re.findall(rb"HTTP/1.1 (\d+) ", everything(caller))
    assert said == 2 * [*len(refused) * [b"503"], b"200"]


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
def test_a_head_that_is_wrong_is_told_so_all_the_same(overloaded: Impatient, fields: bytes) -> None:
    with overloaded.connected() as caller:
        caller.sendall(PLAIN + fields + b"\r\n{}")
        assert everything(caller).startswith(b"HTTP/1.1 400 ")


def test_who_does_not_send_what_it_announced_is_not_waited_for(overloaded: Impatient) -> None:
    with overloaded.connected() as caller:
        caller.sendall(PLAIN + b"Content-Length: 1000\r\n\r\n{")
        assert everything(caller).startswith(b"HTTP/1.1 503 ")  # and no end of time


def test_who_reads_no_refusal_is_cut_off(overloaded: Impatient) -> None:
    with overloaded.connected() as caller, pytest.raises(ConnectionError):
        flood(caller, 1_000 * (PLAIN + b"Content-Length: 0\r\n\r\n"))
