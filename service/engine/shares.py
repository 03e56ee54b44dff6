"""Memory of a worker process, divided among clients: nobody can hold all of it."""

from labelwright.service.telemetry.request_record import Client

MEMORY_LIMIT = 256 << 20
"""Maximum size of everything that all requests hold in memory, in bytes: bodies, streams, and
responses that the clients have not read yet."""
ADDRESS_FACTOR, KEY_FACTOR = 3, 7
"""An address may hold up to 3 times as much as is free, so at most 3/4 of all. A key may hold up to
7 times as much as is free, so that one address cannot use up the share of the key."""


class Shares:
    """A limited resource, and the amounts that clients hold of it.

    The limit of a client is a multiple of the amount that is free. If nobody else needs the
    resource, the client may hold most of it. Something is free for further clients at any time.
    This is the dynamic threshold of A. K. Choudhury and E. L. Hahne, "Dynamic Queue Length
    Thresholds for Shared-Memory Packet Switches", IEEE/ACM Transactions on Networking 6(2), 1998.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[str, int] = {}
        self.total = 0

    def change(self, client: Client, amount: int) -> bool:
        """Add to the amount that a client holds; returns False and adds nothing above its share.

        A negative amount is always accepted.
        """
        address, key = client
        if amount > 0:
            free = self._limit - self.total - amount
            if self._held.get(address, 0) + amount > ADDRESS_FACTOR * free:
                return False
            if key is not None and self._held.get(key, 0) + amount > KEY_FACTOR * free:
                return False
        self.total += amount
        self._add(address, amount)
        if key is not None:
            self._add(key, amount)
        return True

    def _add(self, holder: str, amount: int) -> None:
        held = self._held.get(holder, 0) + amount
        if held:
            self._held[holder] = held
        else:
            self._held.pop(holder, None)


class Holding:
    """The amount that one request holds."""

    def __init__(self, shares: Shares, client: Client) -> None:
        self._shares, self._client = shares, client
        self.amount = 0

    def resize(self, amount: int) -> bool:
        """Change the amount; returns False and changes nothing if it exceeds the client's share."""
        changed = self._shares.change(self._client, amount - self.amount)
        if changed:
            self.amount = amount
        return changed
