"""What can be seen from outside: figures, logs, traces, and headers of every answer."""

import http.server
import json
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from labelwright.service.middleware.keys import Keyring, Role
from tests.processes import HOST, PATIENCE, Service, environment, serving

pytest_plugins = ["tests.worlds"]

ALERTS = Path(__file__).parents[2] / "deploy" / "alerts.yaml"
CANARY = "Kanarienvogel"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


class Collector(http.server.ThreadingHTTPServer):
    """An OpenTelemetry collector: it keeps the spans that it is sent."""

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Receive)
        self.spans: list[Span] = []


class _Receive(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        """Take an export over HTTP, as protobuf."""
        body = self.rfile.read(int(self.headers["content-length"]))
        sent = ExportTraceServiceRequest.FromString(body)
        assert self.path == "/v1/traces"
        for resource in sent.resource_spans:
            for scope in resource.scope_spans:
                self.server.spans.extend(scope.spans)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def guarded(
    bundle: Path, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service of two workers that asks for keys, and sends traces."""
    folder = tmp_path_factory.mktemp("guarded")
    settings = environment(folder) | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{collector.server_port}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "TMPDIR": str(folder),
    }
    options = ("--model", bundle, "--workers", 2, "--keys")
    with serving(*options, environment=settings, folder=folder) as running:
        yield running


@pytest.fixture(scope="module")
def key(guarded: Service) -> str:
    """A key that was made while the service ran."""
    text = Keyring(guarded.log.parent / "keys.json").create("tests", Role.LABEL)
    await_true(lambda: ask(guarded, text).status_code == 200)
    return text


def ask(service: Service, key: str, **headers: str) -> httpx.Response:
    """The answer about one place, over a connection of its own."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(
        f"{service.url}/v1/labels",
        json={"entities": [{"name": f"Joe's Pizza {CANARY}"}], "top_k": 1},
        headers={"Authorization": f"Bearer {key}", **named},
        timeout=60,
    )


def await_true(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def figures(service: Service, key: str) -> dict[str, float]:
    """All samples, by their name and labels as Prometheus writes them."""
    response = httpx.get(f"{service.url}/metrics", headers={"X-API-Key": key}, timeout=60)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        sample.name + "".join(f"|{k}={v}" for k, v in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def lines(service: Service) -> list[dict[str, Any]]:
    """The log."""
    return [json.loads(line) for line in service.log.read_text().splitlines()]


# figures


def test_figures_of_all_workers_are_added_up(guarded: Service, key: str) -> None:
    asked = "labelwright_requests_total|method=POST|route=/v1/labels|status=200"
    before = figures(guarded, key)
    for _ in range(20):
        assert ask(guarded, key).status_code == 200
    after = figures(guarded, key)
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
    assert grown[asked] == 20
    assert grown["labelwright_rows_total|outcome=labelled"] == 20
    assert grown["labelwright_request_seconds_count|route=/v1/labels"] == 20
    for stage in ("queue", "read", "label", "write"):
        assert grown[f"labelwright_stage_seconds_count|stage={stage}"] == 20
    assert grown["labelwright_top_probability_count"] == 20
    assert 0 < grown["labelwright_top_probability_sum"] <= 20
    assert grown["labelwright_assertions_total"] >= 20
    workers = [name for name in after if name.startswith("labelwright_model_workers")]
    assert [after[name] for name in workers] == [2]
    assert after["labelwright_requests_under_way"] == 1
    await_true(lambda: figures(guarded, key)["labelwright_queue_rows"] == 0)


def test_a_worker_that_dies_is_replaced_and_counted_and_no_figure_is_lost(
    guarded: Service, key: str
) -> None:
    before = figures(guarded, key)
    victim, *_ = workers_of(guarded)
    victim.kill()
    restarts = "labelwright_worker_restarts_total"
    await_true(lambda: figures(guarded, key)[restarts] == before[restarts] + 1)
    await_true(lambda: model_workers(figures(guarded, key)) == 2)
    after = figures(guarded, key)
    counted = [name for name in before if name.split("|")[0].endswith(("_total", "_count"))]
    assert counted
    assert all(after[name] >= before[name] for name in counted)


def workers_of(service: Service) -> list[psutil.Process]:
    """The processes that answer."""
    children = psutil.Process(service.process.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def model_workers(found: dict[str, float]) -> float:
    return sum(value for name, value in found.items() if name.startswith("labelwright_model_w"))


def test_labels_are_counted_one_by_one_up_to_a_limit(client: httpx.Client) -> None:
    text = client.get("/metrics").text
    assert client.get("/v1/model").json()["labels"] > 50
    assert len(re.findall(r"(?m)^labelwright_label_assertions_total", text)) == 50
    assert "_created" not in text


def test_every_metric_of_an_alert_exists(client: httpx.Client) -> None:
    rules = [
        rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    ]
    client.get("/v1/labels")
    known = {
        sample.name
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
    }
    assert len(rules) >= 10
    for rule in rules:
        named = set(re.findall(r"\b(?:labelwright_\w+|up)\b", rule["expr"]))
        assert named, rule["alert"]
        assert named <= known | {"up"}, rule["alert"]


def test_what_was_asked_for_by_strange_names_makes_no_series(client: httpx.Client) -> None:
    for name in ("a", "b"):
        client.request("PROPFIND", f"/{name}/{CANARY}?{CANARY}")
    text = client.get("/metrics").text
    assert CANARY not in text
    assert "PROPFIND" not in text
    assert 'method="other",route="none",status="404"' in text


# logs


def test_a_request_is_one_line_with_its_id_and_nothing_of_its_content(
    guarded: Service, key: str
) -> None:
    response = ask(guarded, key, X_Request_Id="mine.1_a-b")
    assert response.headers["x-request-id"] == "mine.1_a-b"
    await_true(lambda: "mine.1_a-b" in guarded.log.read_text())
    (line,) = [line for line in lines(guarded) if line.get("request_id") == "mine.1_a-b"]
    assert {
        "level": "info",
        "logger": "labelwright.requests",
        "message": "POST /v1/labels",
        "method": "POST",
        "route": "/v1/labels",
        "status": 200,
        "rows": 1,
        "key": key.split("_")[1],
        "client": HOST,
    }.items() <= line.items()
    assert line["milliseconds"] > 0
    assert re.fullmatch("[0-9a-f]{32}", line["trace_id"])
    refused = httpx.post(f"{guarded.url}/v1/{CANARY}?{CANARY}", content=CANARY, timeout=60)
    assert refused.status_code == 401
    said = guarded.log.read_text()
    assert CANARY not in said
    assert key.rpartition("_")[2] not in said
    assert "Application startup complete." in [line["message"] for line in lines(guarded)]


@pytest.mark.parametrize("sent", ["", "a b", "x" * 65, 'a"b', "é".encode().decode("latin-1")])
def test_an_id_that_is_not_sane_is_replaced(client: httpx.Client, sent: str) -> None:
    response = client.get("/livez", headers=[(b"X-Request-Id", sent.encode("latin-1"))])
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])


# traces


def test_a_request_is_a_span_in_its_callers_trace_with_a_span_for_each_stage(
    guarded: Service, key: str, collector: Collector
) -> None:
    response = ask(guarded, key, traceparent=f"00-{TRACE}-{PARENT}-01")
    assert response.status_code == 200

    def mine() -> list[Span]:
        return [span for span in collector.spans if span.trace_id.hex() == TRACE]

    await_true(lambda: len(mine()) == 5)
    (whole,) = [span for span in mine() if span.kind == Span.SPAN_KIND_SERVER]
    parts = {span.name: span for span in mine() if span is not whole}
    assert whole.name == "POST /v1/labels"
    assert whole.parent_span_id.hex() == PARENT
    assert set(parts) == {"queue", "read", "label", "write"}
    for part in parts.values():
        assert part.parent_span_id == whole.span_id
        assert whole.start_time_unix_nano <= part.start_time_unix_nano
        assert part.start_time_unix_nano <= part.end_time_unix_nano <= whole.end_time_unix_nano
    said = {attribute.key: attribute.value for attribute in whole.attributes}
    assert said["http.response.status_code"].int_value == 200
    assert said["labelwright.rows"].int_value == 1
    assert abs(whole.end_time_unix_nano / 1e9 - time.time()) < PATIENCE


# headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200),
        ("GET", "/docs", 200),
        ("GET", "/metrics", 200),
        ("POST", "/v1/labels", 400),
        ("GET", "/nothing", 404),
        ("OPTIONS", "/v1/labels", 405),
    ],
)
def test_every_answer_has_safe_headers_and_none_is_for_other_sites(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    response = client.request(method, path, headers={"Access-Control-Request-Method": "POST"})
    headers = response.headers
    assert response.status_code == status
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert not [n for n in headers if n == "server" or n.startswith("access-control")]
    assert len(headers.get_list("x-request-id")) == 1


def test_the_reference_needs_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/docs").text
    assert re.findall(r'(?:href|src)="([^"]+)"', page) == ["/docs/style.css", "/openapi.json"]
    assert "<script" not in page
    assert client.get("/docs/style.css").headers["content-type"].startswith("text/css")
    for operation in ("POST /v1/labels", "GET /v1/model", "GET /readyz"):
        assert f"<code>{operation}</code>" in page


def test_a_stranger_on_the_network_sees_health_and_no_more(guarded: Service) -> None:
    statuses = {
        path: httpx.get(guarded.url + path, timeout=60).status_code
        for path in ("/livez", "/readyz", "/metrics", "/v1/model", "/docs", "/openapi.json", "/x")
    }
    assert {path for path, status in statuses.items() if status == 200} == {"/livez", "/readyz"}
    assert set(statuses.values()) == {200, 401}


def test_a_name_that_is_not_ours_is_refused_on_loopback(service: Service) -> None:
    with socket.create_connection((HOST, service.port), timeout=60) as caller:
        caller.sendall(b"GET /v1/model HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        assert caller.recv(100).startswith(b"HTTP/1.1 421 ")


# the end


def test_a_key_that_is_revoked_opens_nothing_within_seconds_and_the_folder_goes(
    guarded: Service, key: str
) -> None:
    keyring = Keyring(guarded.log.parent / "keys.json")
    keyring.revoke("tests")
    revoked = time.monotonic()
    await_true(lambda: ask(guarded, key).status_code == 401)
    assert time.monotonic() - revoked < 10
    assert list(guarded.log.parent.glob("labelwright-*"))
    assert guarded.stop(signal.SIGTERM) == 0
    assert not list(guarded.log.parent.glob("labelwright-*"))
    assert "Traceback" not in guarded.log.read_text()
