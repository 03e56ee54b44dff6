"""Tests of internal errors: the response, the log and the metrics."""

import asyncio
import json
import logging

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from labelwright.service.middleware.request_log import RequestLogMiddleware
from labelwright.service.telemetry.logs import REQUESTS, JsonLines, TextLines
from labelwright.service.telemetry.metrics import Metrics

CANARY = "Kanarienvogel"


async def _fail(scope: Scope, receive: Receive, send: Send) -> None:
    raise KeyError(CANARY)


async def _fail_after_start(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise KeyError(CANARY)


def get(app: RequestLogMiddleware) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(f"/{CANARY}", headers={"X-Request-Id": "my-id"})

    return asyncio.run(send())


def test_an_internal_error_is_logged_with_its_location_and_without_its_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics()
    with caplog.at_level(logging.INFO):
        response = get(RequestLogMiddleware(_fail, metrics, None))
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"] == "my-id"
    assert response.headers["x-content-type-options"] == "nosniff"
    error, request = [record for record in caplog.records if record.name == REQUESTS]
    line = json.loads(JsonLines().format(error))
    assert (line["level"], line["request_id"]) == ("error", "my-id")
    kind, innermost, *_ = line["error"]
    assert kind == "KeyError"
    assert "test_request_log.py" in innermost
    assert "_fail" in innermost
    assert json.loads(JsonLines().format(request))["status"] == 500
    for lines in (JsonLines(), TextLines()):
        for record in (error, request):
            assert CANARY not in lines.format(record)
            assert "\n" not in lines.format(record)
    assert b'status="500"' in metrics.exposition()


def test_an_error_after_the_start_of_the_response_closes_the_connection() -> None:
    metrics = Metrics()
    with pytest.raises(KeyError):
        get(RequestLogMiddleware(_fail_after_start, metrics, None))
    assert b"labelwright_requests_under_way 0.0" in metrics.exposition()
