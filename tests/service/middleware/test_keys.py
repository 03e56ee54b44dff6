"""Tests of the file of API keys, and of the rate limits of keys."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.entities.errors import RateError, RequestError, StorageError
from labelwright.service.middleware import keys
from labelwright.service.middleware.keys import Keyring, KeyVerifier, Role
from labelwright.service.middleware.rate_limit import NO_LIMIT, Rate, RateLimiter


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "state" / "keys.json")


def test_a_key_is_valid_until_it_is_revoked(
    keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "RELOAD_SECONDS", 0.0)
    key_verifier = KeyVerifier(keyring)
    assert key_verifier.verify("lw_0_0") is None
    texts = {role: keyring.create(role, role) for role in Role}
    for role, text in texts.items():
        found = key_verifier.verify(text)
        assert found
        assert (found.name, found.role) == (role, role)
        for wrong in (text[:-1], f"{text}0", text.swapcase(), text.rpartition("_")[0], "", "lw__"):
            assert key_verifier.verify(wrong) is None
    keyring.revoke("label")
    assert key_verifier.verify(texts[Role.LABEL]) is None
    assert key_verifier.verify(texts[Role.ADMIN])
    keyring.path.unlink()
    assert key_verifier.verify(texts[Role.ADMIN]) is None


def test_the_file_contains_no_secrets_and_only_its_owner_can_read_it(keyring: Keyring) -> None:
    text = keyring.create("a", Role.LABEL, rate=2.5)
    assert stat.S_IMODE(keyring.path.stat().st_mode) == 0o600
    content = keyring.path.read_text()
    assert text.rpartition("_")[2] not in content
    (kept,) = json.loads(content)
    assert kept["burst"] == 2
    assert len(text) > 50
    assert {path.name for path in keyring.path.parent.iterdir()} == {"keys.json", "keys.lock"}


def test_keys_that_are_created_in_parallel_are_all_stored(keyring: Keyring) -> None:
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda n: keyring.create(f"key {n}", Role.LABEL), range(24)))
    key_verifier = KeyVerifier(keyring)
    assert {key.name for text in created if (key := key_verifier.verify(text))} == {
        f"key {n}" for n in range(24)
    }


@pytest.mark.parametrize("name", ["", "x" * 101, "two\nlines", "taken"])
def test_a_name_that_is_invalid_or_in_use_is_refused(keyring: Keyring, name: str) -> None:
    keyring.create("taken", Role.LABEL)
    with pytest.raises(RequestError):
        keyring.create(name, Role.LABEL)
    assert len(keyring.read()) == 1


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'[{"id": "a"}]', b"\xff", b'[{"role": "root"}]'], ids=repr
)
def test_with_a_damaged_file_no_key_is_valid(
    keyring: Keyring, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(keys, "RELOAD_SECONDS", 0.0)
    text = keyring.create("a", Role.ADMIN)
    key_verifier = KeyVerifier(keyring)
    assert key_verifier.verify(text)
    keyring.path.write_bytes(content)
    assert key_verifier.verify(text) is None
    for act in (keyring.read, lambda: keyring.create("b", Role.LABEL)):
        with pytest.raises(StorageError, match="is damaged"):
            act()


def test_a_role_includes_the_roles_before_it() -> None:
    assert [[role.includes(other) for other in Role] for role in Role] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


@given(
    rate=st.floats(0.1, 1000),
    burst=st.integers(1, 50),
    workers=st.integers(1, 4),
    pauses=st.lists(st.floats(0, 2), max_size=100),
)
def test_a_key_never_exceeds_its_burst_and_rate(
    rate: float, burst: int, workers: int, pauses: list[float]
) -> None:
    now = 0.0
    limiter = RateLimiter(workers, lambda: now)
    limit = Rate(rate, burst)
    admitted = 0
    for pause in pauses:
        now += pause
        try:
            limiter.acquire("API key", "a", limit)
            admitted += 1
        except RateError as error:
            now += error.retry_after
            limiter.acquire("API key", "a", limit)  # succeeds after the announced time
            admitted += 1
        assert admitted <= max(1, burst / workers) + rate / workers * now + 1e-6


def test_a_key_without_a_rate_is_not_limited() -> None:
    limiter = RateLimiter(1, lambda: 0.0)
    for _ in range(1000):
        limiter.acquire("API key", "a", NO_LIMIT)


def test_each_name_has_its_own_bucket_and_the_oldest_bucket_is_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("labelwright.service.middleware.rate_limit.BUCKETS_LIMIT", 2)
    limiter, limit = RateLimiter(1, lambda: 0.0), Rate(1, 1)
    for name in ("a", "b", "c"):
        limiter.acquire("address", name, limit)
    for name in ("c", "b"):
        with pytest.raises(RateError, match="the address exceeds its rate"):
            limiter.acquire("address", name, limit)
    limiter.acquire("address", "a", limit)  # its bucket was removed
