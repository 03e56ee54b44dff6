"""Tests of metrics, logs, traces and the common headers of all responses."""

import http.server
import json
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import psutil
import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from labelwright.service.middleware.keys import Keyring, Role
from tests.processes import HOST, PATIENCE, Service, environment, serving
from tests.service.waiting import wait_until

pytest_plugins = ["tests.worlds"]

ALERTS = Path(__file__).parents[3] / "deploy" / "alerts.yaml"
CANARY = "Kanarienvogel"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


class Collector(http.server.ThreadingHTTPServer):
    """An OpenTelemetry collector that keeps the spans it receives."""

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Receive)
        self.spans: list[Span] = []


class _Receive(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        """Receive an export of spans as protobuf."""
        body = self.rfile.read(int(self.headers["content-length"]))
        sent = ExportTraceServiceRequest.FromString(body)
        assert self.path == "/v1/traces"
        for resource in sent.resource_spans:
            for scope in resource.scope_spans:
                self.server.spans.extend(scope.spans)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Log nothing."""


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
    """A service of two workers that needs keys and exports traces."""
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
    """A key that was created while the service ran."""
    text = Keyring(guarded.log.parent / "keys.json").create("tests", Role.LABEL)
    wait_until(lambda: post_labels(guarded, text).status_code == 200)
    return text


def post_labels(service: Service, key: str, **headers: str) -> httpx.Response:
    """Label one place on a new connection. In the names of `headers`, `_` is replaced by `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(
        f"{service.url}/v1/labels",
        json={"entities": [{"name": f"Joe's Pizza {CANARY}"}], "top_k": 1},
        headers={"Authorization": f"Bearer {key}", **named},
        timeout=60,
    )


def metrics(service: Service, key: str) -> dict[str, float]:
    """The values of all metrics, by name and labels."""
    response = httpx.get(f"{service.url}/metrics", headers={"X-API-Key": key}, timeout=60)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        sample.name + "".join(f"|{k}={v}" for k, v in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def lines(service: Service) -> list[dict[str, Any]]:
    """The log lines of a service, parsed from JSON."""
    return [json.loads(line) for line in service.log.read_text().splitlines()]


# metrics


def test_metrics_of_all_workers_are_summed(guarded: Service, key: str) -> None:
    requests = "labelwright_requests_total|method=POST|route=/v1/labels|status=200"
    before = metrics(guarded, key)
    for _ in range(20):
        assert post_labels(guarded, key).status_code == 200
    after = metrics(guarded, key)
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
    assert grown[requests] == 20
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
    wait_until(lambda: metrics(guarded, key)["labelwright_queue_rows"] == 0)


def test_a_killed_worker_is_replaced_and_counted_and_no_metric_decreases(
    guarded: Service, key: str
) -> None:
    before = metrics(guarded, key)
    victim, *_ = workers_of(guarded)
    victim.kill()
    restarts = "labelwright_worker_restarts_total"
    wait_until(lambda: metrics(guarded, key)[restarts] == before[restarts] + 1)
    wait_until(lambda: model_workers(metrics(guarded, key)) == 2)
    after = metrics(guarded, key)
    counted = [name for name in before if name.split("|")[0].endswith(("_total", "_count"))]
    assert counted
    assert all(after[name] >= before[name] for name in counted)


def workers_of(service: Service) -> list[psutil.Process]:
    """The worker processes of a service."""
    children = psutil.Process(service.process.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def model_workers(found: dict[str, float]) -> float:
    return sum(value for name, value in found.items() if name.startswith("labelwright_model_w"))


def test_only_the_most_frequent_labels_have_counters(client: httpx.Client) -> None:
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


def test_unknown_paths_and_methods_create_no_series(client: httpx.Client) -> None:
    for name in ("a", "b"):
        client.request("PROPFIND", f"/{name}/{CANARY}?{CANARY}")
    text = client.get("/metrics").text
    assert CANARY not in text
    assert "PROPFIND" not in text
    assert 'method="other",route="none",status="404"' in text


# logs


def test_a_request_has_one_log_line_with_its_id_and_without_its_content(
    guarded: Service, key: str
) -> None:
    response = post_labels(guarded, key, X_Request_Id="My.id_1-2")
    assert response.headers["x-request-id"] == "My.id_1-2"
    wait_until(lambda: "My.id_1-2" in guarded.log.read_text())
    (line,) = [line for line in lines(guarded) if line.get("request_id") == "My.id_1-2"]
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
    log = guarded.log.read_text()
    assert CANARY not in log
    assert key.rpartition("_")[2] not in log
    assert "Application startup complete." in [line["message"] for line in lines(guarded)]


@pytest.mark.parametrize("sent", ["", "a b", "x" * 65, 'a"b', "é".encode().decode("latin-1")])
def test_an_invalid_request_id_is_replaced(client: httpx.Client, sent: str) -> None:
    response = client.get("/livez", headers=[(b"X-Request-Id", sent.encode("latin-1"))])
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])


# traces


def test_a_request_is_a_span_of_its_clients_trace_with_a_child_for_each_stage(
    guarded: Service, key: str, collector: Collector
) -> None:
    response = post_labels(guarded, key, traceparent=f"00-{TRACE}-{PARENT}-01")
    assert response.status_code == 200

    def own_spans() -> list[Span]:
        return [span for span in collector.spans if span.trace_id.hex() == TRACE]

    wait_until(lambda: len(own_spans()) == 5)
    (whole,) = [span for span in own_spans() if span.kind == Span.SPAN_KIND_SERVER]
    parts = {span.name: span for span in own_spans() if span is not whole}
    assert whole.name == "POST /v1/labels"
    assert whole.parent_span_id.hex() == PARENT
    assert set(parts) == {"queue", "read", "label", "write"}
    for part in parts.values():
        assert part.parent_span_id == whole.span_id
        assert whole.start_time_unix_nano <= part.start_time_unix_nano
        assert part.start_time_unix_nano <= part.end_time_unix_nano <= whole.end_time_unix_nano
    attributes = {attribute.key: attribute.value for attribute in whole.attributes}
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["labelwright.rows"].int_value == 1
    assert abs(whole.end_time_unix_nano / 1e9 - time.time()) < PATIENCE


def test_metrics_have_the_whole_path_of_each_route(client: httpx.Client) -> None:
    operations = client.get("/openapi.json").json()["paths"]
    for path, methods in operations.items():
        for method in methods:
            client.request(method, re.sub(r"\{\w+\}", "x", path), timeout=PATIENCE)
    routes = {
        sample.labels["route"]
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == "labelwright_requests_total"
    }
    assert routes >= set(operations)
    assert "/v1/feedback/export" in routes
    assert "/feedback" not in routes


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
def test_all_responses_have_security_headers_and_no_cors_headers(
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


def test_the_reference_page_loads_nothing_from_other_hosts(client: httpx.Client) -> None:
    page = client.get("/docs").text
    assert re.findall(r'(?:href|src)="([^"]+)"', page) == ["docs/style.css", "openapi.json"]
    assert "<script" not in page
    assert client.get("/docs/style.css").headers["content-type"].startswith("text/css")
    for operation in ("POST /v1/labels", "GET /v1/model", "GET /readyz"):
        assert f"<code>{operation}</code>" in page


@pytest.mark.parametrize("path", ["/docs", "/"])
def test_the_pages_work_under_a_path_prefix(client: httpx.Client, path: str) -> None:
    links = re.findall(r'(?:href|src)="([^"#]+)"', client.get(path).text)
    assert links
    for link in links:  # a proxy removes the prefix
        prefix, _, rest = urljoin(f"/a/prefix{path}", link).partition("/a/prefix")
        assert prefix == ""
        assert client.get(rest).status_code == 200


def test_without_a_key_only_health_is_visible(guarded: Service) -> None:
    statuses = {
        path: httpx.get(guarded.url + path, timeout=60).status_code
        for path in ("/livez", "/readyz", "/metrics", "/v1/model", "/docs", "/openapi.json", "/x")
    }
    assert {path for path, status in statuses.items() if status == 200} == {"/livez", "/readyz"}
    assert set(statuses.values()) == {200, 401}


def test_a_foreign_host_is_refused_on_loopback(service: Service) -> None:
    with socket.create_connection((HOST, service.port), timeout=60) as connection:
        connection.sendall(
            b"GET /v1/model HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 421 ")


# shutdown


def test_a_revoked_key_stops_working_and_the_shared_folder_is_deleted(
    guarded: Service, key: str
) -> None:
    keyring = Keyring(guarded.log.parent / "keys.json")
    keyring.revoke("tests")
    revoked = time.monotonic()
    wait_until(lambda: post_labels(guarded, key).status_code == 401)
    assert time.monotonic() - revoked < 10
    assert list(guarded.log.parent.glob("labelwright-*"))
    assert guarded.stop(signal.SIGTERM) == 0
    assert not list(guarded.log.parent.glob("labelwright-*"))
    assert "Traceback" not in guarded.log.read_text()
