"""Tests of access control: hosts, origins, keys, roles and rates."""

import asyncio
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from labelwright.service.middleware.access import (
    Access,
    AccessMiddleware,
    access_for,
    keyring,
    required_role,
)
from labelwright.service.middleware.keys import KeyVerifier, Role

PATHS = ("/", "/livez", "/metrics", "/v1/labels", "/v1/feedback", "/v1/feedback/export")


async def _respond(request: Request) -> Response:
    return PlainTextResponse("ok")


def request(
    access: Access, path: str = "/v1/labels", method: str = "POST", **headers: str
) -> httpx.Response:
    """The response of an application behind access control.

    In the names of `headers`, `_` is replaced by `-`.
    """
    inner = Starlette(
        routes=[Route(p, _respond, methods=["GET", "POST", "OPTIONS"]) for p in PATHS]
    )
    app = AccessMiddleware(inner, access, KeyVerifier(keyring()) if access.keys else None)
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, headers=named)

    return asyncio.run(send())


@pytest.mark.parametrize(
    ("address", "keys", "needed"),
    [
        ("127.0.0.1", None, False),
        ("127.8.8.8", None, False),
        ("::1", None, False),
        ("localhost", None, False),
        ("0.0.0.0", None, True),  # noqa: S104
        ("::", None, True),
        ("192.0.2.1", None, True),
        ("labels.example", None, True),
        ("127.0.0.1", True, True),
        ("0.0.0.0", False, False),  # noqa: S104
    ],
)
def test_by_default_keys_are_needed_except_on_loopback_addresses(
    address: str, keys: bool | None, needed: bool
) -> None:
    assert access_for(address, keys, (), 1).keys is needed


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:1", 200),
        ("[::1]", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("evil.example:localhost", 421),
        ("", 421),
    ],
)
def test_only_local_hosts_are_allowed_on_loopback_without_keys(host: str, status: int) -> None:
    allowed = access_for("127.0.0.1", None, (), 1)
    assert request(allowed, host=host).status_code == status
    assert request(allowed, "/livez", host=host).status_code == 200


def test_only_the_allowed_hosts_are_accepted() -> None:
    allowed = access_for("0.0.0.0", False, ("a.example", "*.b.example"), 1)  # noqa: S104
    statuses = {
        host: request(allowed, host=host).status_code
        for host in ("a.example:80", "x.b.example", "b.example", "c.a.example", "localhost")
    }
    assert [host for host, status in statuses.items() if status == 200] == [
        "a.example:80",
        "x.b.example",
    ]
    assert request(access_for("0.0.0.0", False, (), 1), host="any.example").status_code == 200  # noqa: S104
    assert access_for("127.0.0.1", True, (), 1).hosts == ()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://localhost"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "same-origin", "origin": "http://localhost"}, 200),
        ({"sec_fetch_site": "none"}, 200),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
    ],
    ids=str,
)
def test_a_cross_origin_request_is_refused(headers: dict[str, str], status: int) -> None:
    assert request(Access(), **headers).status_code == status


def test_without_a_valid_key_only_health_paths_and_the_page_respond(home: Path) -> None:
    text = keyring().create("a", Role.ADMIN)
    closed = Access(keys=True)
    for path in PATHS:
        for headers in ({}, {"authorization": "Bearer lw_0_0"}, {"authorization": f"Basic {text}"}):
            response = request(closed, path, "GET", **headers)
            assert response.status_code == (200 if path in ("/", "/livez") else 401)
            assert text not in response.text
    assert request(closed).headers["www-authenticate"] == "Bearer"
    assert request(closed).json()["status"] == 401
    assert request(closed, authorization=f"bearer {text}").status_code == 200
    assert request(closed, x_api_key=text).status_code == 200


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        (Role.LABEL, {"/", "/livez", "/metrics", "/v1/labels"}),
        (Role.FEEDBACK, {"/", "/livez", "/metrics", "/v1/labels", "/v1/feedback"}),
        (Role.ADMIN, set(PATHS)),
    ],
)
def test_a_role_may_request_its_paths_and_no_others(
    home: Path, role: Role, allowed: set[str]
) -> None:
    text = keyring().create("a", role)
    statuses = {
        path: request(Access(keys=True), path, x_api_key=text).status_code for path in PATHS
    }
    assert {path for path, status in statuses.items() if status == 200} == allowed
    assert set(statuses.values()) <= {200, 403}


def test_the_role_depends_on_the_exact_path() -> None:
    assert required_role("POST", "/v1/feedback") is Role.FEEDBACK
    assert required_role("DELETE", "/v1/feedback") is Role.ADMIN
    assert required_role("POST", "/v1/feedback/") is Role.ADMIN
    assert required_role("GET", "/v1/feedback/export") is Role.ADMIN
    assert required_role("GET", "/v1/feedbacks") is Role.LABEL
    assert required_role("GET", "/livez/") is Role.LABEL


def test_a_key_over_its_rate_gets_429_and_retry_after(home: Path) -> None:
    text = keyring().create("a", Role.LABEL, rate=0.01, burst=1)
    app = AccessMiddleware(PlainTextResponse("ok"), Access(keys=True), KeyVerifier(keyring()))

    async def send() -> list[httpx.Response]:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://localhost",
            headers={"X-API-Key": text},
        ) as client:
            return [
                await client.get(path)
                for path in ("/v1/labels", "/v1/labels", "/metrics", "/livez")
            ]

    first, second, *unlimited = asyncio.run(send())
    assert first.status_code == 200
    assert second.status_code == 429
    assert 1 <= int(second.headers["retry-after"]) <= 100
    assert "0.01 requests a second" in second.json()["detail"]
    assert [response.status_code for response in unlimited] == [200, 200]
