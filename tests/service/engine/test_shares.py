"""Tests of the shares of memory."""

import pytest

from labelwright.service.engine.shares import Holding, Shares
from labelwright.service.telemetry.request_record import Client, network_of

LIMIT = 1_000
A, B = Client("192.0.2.1"), Client("192.0.2.2")


def largest(shares: Shares, client: Client) -> int:
    """The largest amount that a client may take now; it is taken."""
    amount = next(n for n in range(LIMIT, -1, -1) if shares.change(client, n))
    assert amount == 0 or not shares.change(client, 1)
    return amount


def test_an_address_may_hold_three_quarters_and_every_further_address_a_part_of_the_rest() -> None:
    shares = Shares(LIMIT)
    amounts = [largest(shares, Client(f"192.0.2.{n}")) for n in range(4)]
    assert amounts == [750, 187, 47, 12]
    assert shares.total == sum(amounts)


def test_the_addresses_of_one_key_share_the_limit_of_the_key() -> None:
    shares = Shares(LIMIT)
    amounts = [largest(shares, Client(f"192.0.2.{n}", "k")) for n in range(5)]
    assert amounts[0] == 750
    assert 0 < amounts[1] < 187
    assert sum(amounts) == 875
    assert largest(shares, Client("192.0.2.9", "other")) > 0


def test_released_amounts_are_free_again() -> None:
    shares = Shares(LIMIT)
    held = Holding(shares, A)
    assert held.resize(700)
    assert not held.resize(800)
    assert held.amount == shares.total == 700
    assert not shares.change(B, 300)
    assert held.resize(0)
    assert shares.total == 0
    assert largest(shares, B) == 750


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_the_addresses_of_an_ipv6_network_are_one_client(address: str, network: str) -> None:
    assert network_of(address) == network
