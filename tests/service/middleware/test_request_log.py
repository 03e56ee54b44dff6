"""A mistake of ours: the caller hears of it, the log says where, and nobody says what."""

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


async def _mistaken(scope: Scope, receive: Receive, send: Send) -> None:
    raise KeyError(CANARY)


async def _mistaken_late(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise KeyError(CANARY)


def get(app: RequestLogMiddleware) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(f"/{CANARY}", headers={"X-Request-Id": "mine"})

    return asyncio.run(send())


def test_a_mistake_is_answered_and_logged_without_its_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics()
    with caplog.at_level(logging.INFO):
        response = get(RequestLogMiddleware(_mistaken, metrics, None))
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"] == "mine"
    assert response.headers["x-content-type-options"] == "nosniff"
    mistake, request = [record for record in caplog.records if record.name == REQUESTS]
    said = json.loads(JsonLines().format(mistake))
    assert (said["level"], said["request_id"]) == ("error", "mine")
    kind, innermost, *_ = said["error"]
    assert kind == "KeyError"
    assert "test_request_log.py" in innermost
    assert "_mistaken" in innermost
    assert json.loads(JsonLines().format(request))["status"] == 500
    for lines in (JsonLines(), TextLines()):
        for record in (mistake, request):
            assert CANARY not in lines.format(record)
            assert "\n" not in lines.format(record)
    assert b'status="500"' in metrics.exposition()


def test_an_answer_that_breaks_off_is_cut_and_nothing_stays_under_way() -> None:
    metrics = Metrics()
    with pytest.raises(KeyError):
        get(RequestLogMiddleware(_mistaken_late, metrics, None))
    assert b"labelwright_requests_under_way 0.0" in metrics.exposition()
