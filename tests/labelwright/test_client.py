"""Tests of the Python client: retries, errors and disconnection."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from labelwright import Client
from labelwright.entities.errors import DataError, ServiceError
from tests.processes import HOST, Service

pytest_plugins = ["tests.worlds"]

PLACES: list[dict[str, Any]] = [{"name": "Joe's Pizza", "country": "US"}, {"name": "Kiosk"}]


@pytest.fixture
def labels(service: Service) -> Client:
    """A client of the shared service."""
    return Client(service.url)


class Unreliable(BaseHTTPRequestHandler):
    """A service that is overloaded, then fails after one result, and then sends all results."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Respond according to the number of requests so far."""
        self.close_connection = True
        rows = [json.loads(line) for line in self.body().splitlines()]
        self.requests.append([row["id"] for row in rows])
        if len(self.requests) == 1:
            self.send_response(503)
            self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for row in rows[: 1 if len(self.requests) == 2 else None]:
            line = json.dumps({"id": row["id"], "labels": []}).encode() + b"\n"
            self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
        if len(self.requests) > 2:
            self.wfile.write(b"0\r\n\r\n")

    def body(self) -> bytes:
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size + 2)[:-2]
        self.rfile.readline()
        return content

    def log_message(self, *words: Any) -> None:
        """Log nothing."""

    requests: list[list[str]] = []  # noqa: RUF012


@pytest.fixture
def unreliable() -> Iterator[str]:
    Unreliable.requests = []
    with ThreadingHTTPServer((HOST, 0), Unreliable) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()


def test_the_client_sends_rows_without_a_result_again(unreliable: str) -> None:
    results = list(Client(unreliable).label_rows([{"id": each} for each in "abc"]))
    assert [result["id"] for result in results] == ["a", "b", "c"]
    assert Unreliable.requests == [["a", "b", "c"], ["a", "b", "c"], ["b", "c"]]


def test_the_client_fails_after_several_failed_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labelwright.client.TRIES", 2)
    with pytest.raises(ServiceError, match="2 times in a row"):
        list(Client(f"http://{HOST}:9").label_rows(PLACES))


LARGE = 17 << 20
"""More bytes than the service accepts in one message."""
ROWS = 2_000
NAMES = [f"Joe's Pizza {n % 7}" for n in range(ROWS)]
NOTES = ["x" * (LARGE // ROWS)] * ROWS


@pytest.mark.parametrize(
    "notes",
    [
        pa.array(NOTES),
        pa.array([f"{n}{note}" for n, note in enumerate(NOTES)]).dictionary_encode(),
        pa.array(NOTES, pa.string_view()),
        pa.array([[note] for note in NOTES]),
        pa.array([{"note": note} for note in NOTES]),
    ],
    ids=lambda notes: str(notes.type),
)
def test_a_chunk_of_any_size_is_labelled(labels: Client, notes: pa.Array) -> None:
    names = pa.table({"name": NAMES})
    assert labels.label(names.append_column("note", notes), top_k=1) == labels.label(names, top_k=1)


def test_the_client_labels_frames(labels: Client) -> None:
    table = pa.table({"id": ["a", "b", "c"], "name": ["Joe's Pizza", None, "Kiosk"]})
    expected = labels.label(table)
    assert len(expected) == 3
    frame = table.to_pandas()
    for same in (frame, frame.set_index(frame["name"]), frame.astype("category"), frame[:0]):
        assert labels.label(same) == expected[: len(same)]
    stream = pa.RecordBatchReader.from_batches(table.schema, table.to_batches())
    assert labels.label(stream) == expected  # as frames of Polars and DuckDB
    with pytest.raises(DataError, match="column 'name'"):
        labels.label(pd.DataFrame({"name": ["a", ["b"]]}))


def test_an_exception_of_the_callers_iterator_is_raised(labels: Client) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield PLACES[0]
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(labels.label_rows(rows()))


def test_a_client_that_disconnects_leaves_no_traceback(labels: Client, service: Service) -> None:
    before = service.log.stat().st_size
    endless = ({"name": f"Bar {number}"} for number in iter(int, 1))
    results = labels.label_rows(endless)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(list(labels.label_rows(PLACES))) == len(PLACES)
    assert "Traceback" not in service.log.read_text()[before:]


@pytest.mark.parametrize("address", ["127.0.0.1:8000", "ftp://x", "http://"])
def test_an_invalid_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="http://HOST:PORT"):
        Client(address)
