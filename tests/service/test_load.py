"""Tests of overload over HTTP: deadlines, refusals, silent clients and readiness."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Coroutine
from typing import Any

import httpx
import pytest

from labelwright.service.protocols.label_messages import EXPLAINED_COST, estimated_rows
from tests.processes import HOST, Service
from tests.service.test_app import PLACES, body, post_labels, problem_of
from tests.service.waiting import wait_until

pytest_plugins = ["tests.worlds"]
PATIENCE = 60.0


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 2 * PATIENCE))


def test_clients_that_send_no_body_do_not_block_others(
    client: httpx.Client, service: Service
) -> None:
    head = (
        b"POST /v1/labels HTTP/1.1\r\nHost: localhost\r\nX-Request-Timeout: 60\r\n"
        b"Content-Length: 99000\r\n\r\n"
    )
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            silent = stack.enter_context(socket.create_connection((HOST, service.port)))
            silent.sendall(head)
        client.headers["X-Request-Timeout"] = "5"
        # The silent clients may send their bodies within 60 seconds.
        wait_until(lambda: client.post("/v1/labels", content=body()).status_code == 200, 30)


def test_explained_requests_cost_more() -> None:
    plain, explained = (
        estimated_rows(b'{"entities": [{}, {}], "explain": %b}' % explain)
        for explain in (b"false", b"true")
    )
    assert (plain, explained) == (2, 2 * EXPLAINED_COST)


def test_a_request_that_cannot_meet_its_deadline_gets_503_and_retry_after(
    client: httpx.Client,
) -> None:
    many = body(entities=[{"name": f"Place {n}"} for n in range(100)], explain=True)
    response = client.post("/v1/labels", content=many, headers={"X-Request-Timeout": "0.05"})
    assert problem_of(response)["status"] == 503
    assert int(response.headers["retry-after"]) >= 1
    assert post_labels(client, PLACES, top_k=1)["results"]  # on the same connection


@pytest.mark.parametrize("given", ["", "soon", "0", "-1", "nan", "inf", "61"])
def test_an_invalid_timeout_is_refused(client: httpx.Client, given: str) -> None:
    response = client.post("/v1/labels", content=body(), headers={"X-Request-Timeout": given})
    assert problem_of(response)["status"] == 400


def test_an_early_refusal_has_the_error_format_of_its_path(
    client: httpx.Client,
) -> None:
    many = body(entities=[{"name": f"Place {n}"} for n in range(20)], explain=True)
    members = {
        "/v1/labels": {"type", "title", "status", "detail"},
        "/v2/models/small/infer": {"error"},
        "/invocations": {"error_code", "message"},
    }

    async def scenario() -> None:
        async with httpx.AsyncClient(base_url=client.base_url, timeout=PATIENCE) as session:
            busy = [
                asyncio.create_task(session.post("/v1/labels", content=many)) for _ in range(40)
            ]
            for path, expected in members.items():
                response = await refused_early(session, path)
                assert set(response.json()) == expected
                assert "default-src" in response.headers["content-security-policy"]
                assert int(response.headers["retry-after"]) >= 1
            await asyncio.gather(*busy)

    run(scenario())


async def refused_early(session: httpx.AsyncClient, path: str) -> httpx.Response:
    """Send requests until one is refused before it reaches the middleware; returns this refusal."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        response = await session.post(path, content=b"{}", headers={"X-Request-Timeout": "0.01"})
        if response.status_code == 503 and "x-request-id" not in response.headers:
            return response
    raise AssertionError(f"{path}: no request was refused early")


def test_readiness_is_reported_under_overload(client: httpx.Client) -> None:
    many = body(entities=[{"name": f"Place {n}"} for n in range(20)], explain=True)
    # A new connection for each request: the service closes idle ones while the client reuses them.
    unlimited = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    patient = {"X-Request-Timeout": "60"}  # long enough for a slow machine

    async def scenario() -> None:
        async with httpx.AsyncClient(
            base_url=client.base_url, timeout=PATIENCE, limits=unlimited
        ) as session:
            waiting = [
                asyncio.create_task(session.post("/v1/labels", content=many, headers=headers))
                for headers in (patient, *[{}] * 200)
            ]
            while not all(request.done() for request in waiting):
                assert (await session.get("/readyz")).status_code == 200
                await asyncio.sleep(0.2)
            responses = await asyncio.gather(*waiting)
            assert {response.status_code for response in responses} == {200, 503}
            assert all("retry-after" in one.headers for one in responses if one.status_code == 503)

    run(scenario())
