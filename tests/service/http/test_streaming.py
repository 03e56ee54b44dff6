"""Tests of streams of rows and labels, with the Python client and with plain HTTP requests."""

import asyncio
import contextlib
import gc
import io
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import psutil
import pyarrow as pa
import pytest
from starlette.requests import Request

from labelwright import Client
from labelwright.entities.errors import DataError
from labelwright.models.decisions import LabelQuery
from labelwright.models.registry import Model
from labelwright.service.engine.engine import Engine
from labelwright.service.engine.queue import BATCH_ROWS
from labelwright.service.http.streaming import LabelStreamResponse, Piece
from labelwright.service.protocols.ndjson import JsonLines
from labelwright.service.rollout.manager import ModelManager
from tests.processes import HOST, PATIENCE, Service
from tests.service.waiting import wait_until

pytest_plugins = ["tests.worlds"]

PLACES: list[dict[str, Any]] = [
    {"id": "a", "name": "Joe's Pizza", "country": "US"},
    {"id": "b", "name": "Bar", "lat": 200, "lon": 4},
    {"name": "Kiosk"},
]
STREAMS = 11
"""Number of streams that one address may open, if there are no others."""
NDJSON, ARROW = "application/x-ndjson", "application/vnd.apache.arrow.stream"
QUERY: dict[str, Any] = {"top_k": 2, "only": ["*a*", "*e*"], "policy": "broad"}


@pytest.fixture
def labels(service: Service) -> Client:
    """The Python client of the shared service."""
    return Client(service.url)


@pytest.fixture(scope="module")
def expected(service: Service) -> Any:
    """The results of a single JSON request for PLACES."""
    with service.client() as client:
        response = client.post("/v1/labels", json={"entities": PLACES, **QUERY})
        return response.json()["results"]


def stream(client: httpx.Client, kind: str, content: bytes, **query: Any) -> httpx.Response:
    headers = {"Content-Type": kind}
    return client.post("/v1/labels", content=content, headers=headers, params=query)


def arrow(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, **options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_a_stream_of_json_lines_has_the_results_of_a_single_request(
    labels: Client, expected: Any
) -> None:
    assert list(labels.label_rows(PLACES, **QUERY)) == expected


def test_the_headers_of_a_stream_name_the_model(client: httpx.Client) -> None:
    model = client.get("/v1/model").json()
    response = stream(client, NDJSON, b'{"name": "Kiosk"}')
    for part in ("name", "version", "content"):
        assert response.headers[f"x-model-{part}"] == model[part]


@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "dictionaries"])
def test_a_stream_of_arrow_batches_has_the_results_of_a_single_request(
    labels: Client, expected: Any, encoded: bool
) -> None:
    table = pa.Table.from_pylist(
        [{"id": None, "lat": None, "lon": None, "country": None, **p} for p in PLACES]
    )
    if encoded:
        table = table.set_column(4, "name", table["name"].dictionary_encode())
    predictions = labels.label(table, **QUERY)
    assert predictions["id"].to_pylist() == [result["id"] for result in expected]
    for labelled, error, result in zip(
        predictions["labels"].to_pylist(), predictions["error"].to_pylist(), expected, strict=True
    ):
        assert error == result.get("error", {}).get("detail")
        assert (labelled is None) == (error is not None)
        names = [label["label"] for label in labelled or []]
        assert names == [label["label"] for label in result.get("labels", [])]


def test_results_arrive_before_the_last_rows_are_sent(labels: Client) -> None:
    """The client sends each row only after it has received the result of the previous row."""
    received = threading.Semaphore(1)

    def one_by_one() -> Iterator[pa.RecordBatch]:
        for number in range(5):
            assert received.acquire(timeout=30)
            yield pa.record_batch({"name": [f"Pizza {number}"]})

    ids = []
    for labelled in labels.label_batches(one_by_one()):
        ids += labelled["id"].to_pylist()
        received.release()
    assert ids == ["0", "1", "2", "3", "4"]


def test_memory_is_constant_and_slow_readers_are_throttled(
    labels: Client, service: Service
) -> None:
    process, sent, batches = psutil.Process(service.process.pid), 0, 60
    names = [f"Pizzeria {n}" for n in range(1_000)]
    batch = pa.record_batch({"name": names, "unknown": ["x" * 1_000] * len(names)})

    def many() -> Iterator[pa.RecordBatch]:
        nonlocal sent
        for _ in range(batches):
            sent += 1
            yield batch

    for _ in labels.label_batches(many(), top_k=50):
        pass  # fills all caches
    before, sent = process.memory_info().rss, 0
    labelled = labels.label_batches(many(), top_k=50)
    rows = next(labelled).num_rows
    threading.Event().wait(1.0)  # time to send all rows, if the sender were not throttled
    assert sent < batches
    rows += sum(batch.num_rows for batch in labelled)
    assert rows == batches * len(names)
    assert process.memory_info().rss - before < 40 << 20


def test_a_few_bytes_that_encode_many_rows_do_not_fill_the_memory(
    client: httpx.Client, service: Service
) -> None:
    process = psutil.Process(service.process.pid)
    sink = io.BytesIO()
    batch = pa.record_batch({"name": pa.nulls(1 << 20)})
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        for _ in range(2_000):
            writer.write_batch(batch)
    kind = {"Content-Type": ARROW}
    before = process.memory_info().rss
    with client.stream("POST", "/v1/labels", content=sink.getvalue(), headers=kind) as response:
        parts = response.iter_bytes()
        for _ in range(10):
            assert next(parts)
        assert process.memory_info().rss - before < 200 << 20
    # The work of the disconnected client is cancelled.
    wait_until(lambda: not _metric(client, "labelwright_queue_rows"))


def test_only_invalid_lines_get_errors(client: httpx.Client) -> None:
    content = b'{"name": "Bar"}\n\n{"name": \n[]\n{"name": "\xff"}\r\n{"name": "Kiosk"}'
    results = [json.loads(line) for line in stream(client, NDJSON, content).text.splitlines()]
    errors = [result.get("error", {}).get("detail") for result in results]
    assert errors == [
        None,
        "not valid JSON",
        "an entity must be an object",
        "not valid JSON",
        None,
    ]
    assert [result["id"] for result in results] == ["0", "1", "2", "3", "4"]


def test_only_the_row_whose_text_is_not_utf8_gets_an_error(client: httpx.Client) -> None:
    names = pa.array([b"Bar", b"\xff", b"Kiosk"]).view(pa.string())
    response = stream(client, ARROW, arrow(pa.table({"name": names})))
    errors = pa.ipc.open_stream(response.content).read_all()["error"].to_pylist()
    assert errors == [None, "name: not valid UTF-8", None]


NULLS = pa.table({"name": pa.nulls(2_000_000)})
COMPRESSED = {"options": pa.ipc.IpcWriteOptions(compression="zstd")}


@pytest.mark.parametrize(
    ("kind", "content", "query", "words"),
    [
        (NDJSON, b"{}", {"top_k": 0}, "top_k"),
        (NDJSON, b"{}", {"topk": 3}, "not known"),
        (NDJSON, b"{}", {"policy": "x"}, "unknown policy"),
        (NDJSON, b"x" * (1 << 21), {}, "a line may have"),
        (ARROW, b"", {}, "incomplete"),
        (ARROW, b"x" * 100, {}, "not an Arrow IPC stream"),
        (ARROW, arrow(pa.table({"name": ["a"]}))[:-50], {}, "incomplete"),
        (ARROW, arrow(pa.table({"other": ["a"]})), {}, "no column is known"),
        (ARROW, arrow(pa.table({"name": [1]})), {}, "its kind is text"),
        (ARROW, arrow(pa.table({"name": ["a"]}), **COMPRESSED), {}, "must not be compressed"),
        (ARROW, arrow(NULLS), {}, "a batch may have 1,048,576 rows"),
        (ARROW, b"\xff\xff\xff\xff\xff\xff\xff\x7f", {}, "not an Arrow IPC stream"),
        ("application/json", b"{}", {"top_k": 3}, "put it into the body"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_an_invalid_stream_is_refused(
    client: httpx.Client, kind: str, content: bytes, query: Any, words: str
) -> None:
    response = stream(client, kind, content, **query)
    assert response.status_code == 422
    assert words in response.json()["detail"]


@pytest.mark.parametrize("coding", ["gzip", "br"])
@pytest.mark.parametrize("kind", [NDJSON, ARROW])
def test_a_compressed_stream_is_refused(client: httpx.Client, kind: str, coding: str) -> None:
    headers = {"Content-Type": kind, "Content-Encoding": coding}
    refused = client.post("/v1/labels", content=b"{}", headers=headers)
    assert refused.status_code == 415
    assert refused.headers["accept-encoding"] == "identity"
    assert "uncompressed" in refused.json()["detail"]


def test_a_stream_may_have_the_identity_encoding(client: httpx.Client) -> None:
    headers = {"Content-Type": NDJSON, "Content-Encoding": "identity"}
    response = client.post("/v1/labels", content=b'{"name": "Bar"}', headers=headers)
    assert response.json()["labels"]


def test_the_log_counts_all_rows_of_a_stream(service: Service) -> None:
    """Each row is sent after the result of the previous row, so that each row is one piece."""
    received = threading.Semaphore(1)

    def one_by_one() -> Iterator[dict[str, Any]]:
        for number in range(5):
            assert received.acquire(timeout=30)
            yield {"name": f"Pizza {number}"}

    name = "stream-of-five"
    labels = Client(service.url, headers={"X-Request-Id": name})
    for batch in labels.label_batches(pa.RecordBatch.from_pylist([row]) for row in one_by_one()):
        assert batch.num_rows == 1
        received.release()
    wait_until(lambda: name in service.log.read_text())
    logged = [line for line in service.log.read_text().splitlines() if name in line]
    assert [json.loads(line)["rows"] for line in logged] == [5]


def test_the_streams_of_one_address_leave_memory_for_other_addresses(
    client: httpx.Client, service: Service
) -> None:
    start = (
        f"POST /v1/labels HTTP/1.1\r\nHost: localhost\r\nContent-Type: {NDJSON}\r\n"
        'Transfer-Encoding: chunked\r\n\r\n12\r\n{"name": "Kiosk"}\n\r\n'
    ).encode()
    # Wait for requests of earlier tests. The request for the metrics is counted too.
    wait_until(lambda: _metric(client, "labelwright_requests_under_way") == 1)
    with contextlib.ExitStack() as stack:
        for _ in range(STREAMS):
            sender = stack.enter_context(socket.create_connection((HOST, service.port), timeout=60))
            sender.sendall(start)
            assert sender.recv(15) == b"HTTP/1.1 200 OK"
        shed = _metric(client, "labelwright_shed_total")
        refused = stream(client, NDJSON, b'{"name": "Bar"}')
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert _metric(client, "labelwright_shed_total") == shed + 1
        single = client.post("/v1/labels", json={"entities": PLACES})
        assert single.status_code == 200
        other = socket.create_connection((HOST, service.port), 60, ("127.0.0.2", 0))
        stack.enter_context(other).sendall(start)
        assert other.recv(15) == b"HTTP/1.1 200 OK"
    wait_until(lambda: stream(client, NDJSON, b'{"name": "Bar"}').status_code == 200)


def _metric(client: httpx.Client, name: str) -> float:
    found = client.get("/metrics").text.splitlines()
    (line,) = (line for line in found if line.startswith(f"{name} "))
    return float(line.split()[-1])


class Failing(JsonLines):
    """A format with three pieces that fail. The first piece fails after the other two."""

    def __init__(self) -> None:
        super().__init__(LabelQuery())
        self._started = threading.Semaphore(0)

    def split(self, received: Sequence[bytes], last: bool) -> Iterator[Piece]:
        """Split any body into three pieces."""
        for read in (self._late, self._early, self._early):
            yield Piece(2 * BATCH_ROWS, read, lambda *_: b"")

    def _late(self, model: Model) -> Any:
        for _ in range(2):
            assert self._started.acquire(timeout=60)
        raise DataError("the first")

    def _early(self, model: Model) -> Any:
        self._started.release()
        raise DataError("secret")


def test_only_the_error_of_the_first_piece_is_raised_and_no_error_is_logged(
    manager: ModelManager,
) -> None:
    logged: list[dict[str, Any]] = []
    earlier_threads = set(threading.enumerate())
    engine = Engine(manager, threads=2)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x", "more_body": False}

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
        request = Request({"type": "http", "headers": []}, receive)
        response = LabelStreamResponse(request, engine, Failing())
        with pytest.raises(DataError, match="the first"):
            await response.begin()

    asyncio.run(scenario())
    engine.close()
    for thread in set(threading.enumerate()) - earlier_threads:
        if thread.name.startswith("compute-"):
            thread.join(PATIENCE)  # the thread has a reference to an exception, and that to tasks
    gc.collect()
    assert not logged


def test_a_stream_that_fails_has_an_error_and_stays_incomplete(client: httpx.Client) -> None:
    good = arrow(pa.table({"name": ["Bar"]}))[:-8]

    def broken() -> Iterator[bytes]:
        yield good
        threading.Event().wait(0.5)
        yield b"x" * 100

    received = b""
    with (
        client.stream("POST", "/v1/labels", content=broken(), headers={"Content-Type": ARROW}) as r,
        contextlib.suppress(httpx.RemoteProtocolError),
    ):
        assert r.status_code == 200
        for part in r.iter_bytes():
            received += part
        pytest.fail("the response has an end")
    last = pa.ipc.open_stream(received).read_all().to_pylist()[-1]
    assert last == {
        "id": None,
        "labels": None,
        "primary": None,
        "error": "not an Arrow IPC stream",
    }
