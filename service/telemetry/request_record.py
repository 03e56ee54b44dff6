"""Record of one request, the source of the request's metrics, log line and trace."""

import contextlib
import dataclasses
import functools
import ipaddress
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple

STAGE_LIMIT = 100
"""Maximum number of stages in a record; a stream may have millions."""


class Stage(NamedTuple):
    """A part of the work on a request. Times are in seconds of `time.monotonic`."""

    name: str
    start: float
    end: float


class Client(NamedTuple):
    """Sender of a request: its network address, and the id of its API key if it has one.

    An IPv6 address is replaced by its network of 64 bits, because a client may have all of them.
    """

    address: str = ""
    key: str | None = None

    @property
    def payer(self) -> str:
        """The key, or the address without a key: clients with the same payer share its turns."""
        return self.key or self.address


ANYONE = Client()
"""The client of work that no request caused."""


@functools.lru_cache(1 << 12)
def network_of(address: str) -> str:
    """The address of a client, or the network of 64 bits for an IPv6 address."""
    try:
        whole = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(whole, ipaddress.IPv6Address) and not whole.ipv4_mapped:
        return str(ipaddress.ip_network((int(whole), 64), strict=False))
    return str(getattr(whole, "ipv4_mapped", whole))


@dataclasses.dataclass(slots=True)
class RequestRecord:
    """One request: its id, start time, client, rows and stages.

    `start` is in seconds of `time.monotonic`. All methods are thread-safe, because several threads
    may work on the pieces of one stream.
    """

    id: str
    start: float = dataclasses.field(default_factory=time.monotonic)
    client: Client = ANYONE
    rows: int = 0
    stages: list[Stage] = dataclasses.field(default_factory=list)
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock, repr=False)

    def add_rows(self, rows: int) -> None:
        """Add to the number of rows that were read."""
        with self._lock:
            self.rows += rows

    def add_stage(self, name: str, start: float, end: float) -> None:
        """Add a stage, unless there are STAGE_LIMIT stages already."""
        if len(self.stages) < STAGE_LIMIT:
            self.stages.append(Stage(name, start, end))

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the time of a `with` block and add it as a stage, also after an exception."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.add_stage(name, start, time.monotonic())


REQUEST_RECORD: ContextVar[RequestRecord] = ContextVar("request_record")
"""Record of the current request. Compute threads do not see this variable. They get the record with
the job."""


def current_record() -> RequestRecord:
    """The record of the current request. Outside of a request, a new record that nothing reads."""
    return REQUEST_RECORD.get(None) or RequestRecord("")
