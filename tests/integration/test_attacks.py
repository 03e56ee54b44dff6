"""Tests of attacks with small means: other clients get their responses, and memory is limited."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import orjson
import pytest

from labelwright.service.middleware.keys import Keyring, Role
from tests.processes import Service, environment, serving
from tests.repeats import repeats
from tests.service.attacks import (
    ATTACKER,
    COSTLY,
    VICTIM,
    Attack,
    attacked,
    chunk,
    heads,
    held_bodies,
    repeated,
    request,
    unread,
)

if TYPE_CHECKING:
    from tests.conftest import World

pytest_plugins = ["tests.worlds"]
pytestmark = [pytest.mark.integration, pytest.mark.alone, pytest.mark.repeated]

MEMORY = 1_000.0
"""Maximum memory of the process under attack, in MB."""
SECONDS = float(repeats(2, 8))
"""Duration of an attack."""
STREAM = (
    b"POST /v1/labels?top_k=1000 HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
)
LINES = chunk(b'{"name": "x"}\n' * 2_000)
LARGE = request(orjson.dumps({"entities": [{"name": "x"}] * 1_000, "top_k": 1_000}))
GET = b"GET /v1/labels?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def victim(world: "World", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that needs no keys, for these tests only."""
    folder = tmp_path_factory.mktemp("victim")
    with serving(environment=environment(world.home), folder=folder) as service:
        yield service


@pytest.fixture(scope="module")
def guarded(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that needs keys."""
    folder = tmp_path_factory.mktemp("guarded")
    with serving(
        "--model", bundle, "--keys", environment=environment(folder), folder=folder
    ) as service:
        yield service


def key(service: Service, name: str) -> str:
    """The header with a new key of a service."""
    return f"X-API-Key: {Keyring(service.log.parent / 'keys.json').create(name, Role.LABEL)}"


def test_heads_without_a_key_reserve_nothing(guarded: Service) -> None:
    outcome = attacked(guarded, heads(1_000), SECONDS, key(guarded, "heads"))
    assert set(outcome.statuses) == {200}, outcome


@pytest.mark.parametrize("with_key", [True, False], ids=["keys", "no keys"])
def test_one_client_cannot_hold_the_memory_of_others(
    guarded: Service, victim: Service, with_key: bool
) -> None:
    if with_key:
        attack = held_bodies(18, key(guarded, "attacker"))
        outcome = attacked(guarded, attack, SECONDS, key(guarded, "victim"))
    else:
        outcome = attacked(victim, held_bodies(18), SECONDS)
    assert set(outcome.statuses) == {200}, outcome
    assert outcome.memory < MEMORY, outcome


@pytest.mark.parametrize("name", COSTLY)
def test_small_requests_that_take_long_do_not_block_others(victim: Service, name: str) -> None:
    outcome = attacked(victim, repeated(COSTLY[name](), 4), SECONDS)
    assert set(outcome.statuses) == {200}, outcome
    assert sorted(outcome.seconds)[len(outcome.seconds) // 2] < 2, outcome
    assert outcome.memory < MEMORY, outcome


@pytest.mark.parametrize(
    "attack",
    [
        unread([STREAM, LINES], 40),
        unread([LARGE], 100),
        unread([GET], 200),
        unread([STREAM, 3 * LINES, b"0\r\n\r\n", 5_000 * GET], 40),
    ],
    ids=["streams", "responses", "other responses", "pipelined requests"],
)
def test_clients_that_read_nothing_hold_little_memory(victim: Service, attack: Attack) -> None:
    outcome = attacked(victim, attack, 2 * SECONDS)
    assert set(outcome.statuses) == {200}, outcome
    assert outcome.memory < MEMORY, outcome


def test_the_rate_of_an_address_is_limited(
    world: "World", tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("limited")
    options = ("--address-rate", 1, "--address-burst", 5)
    with serving(*options, environment=environment(world.home), folder=folder) as service:
        statuses = {address: _statuses(service, address) for address in (ATTACKER, VICTIM)}
    for found in statuses.values():
        assert found.count(200) in range(5, 8)
        assert found.count(429) == 10 - found.count(200)


def _statuses(service: Service, address: str) -> list[int]:
    """The statuses of ten requests from an address."""
    with httpx.Client(transport=httpx.HTTPTransport(local_address=address)) as client:
        return [client.get(f"{service.url}/v1/model").status_code for _ in range(10)]
