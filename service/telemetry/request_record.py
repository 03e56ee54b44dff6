"""Record of one request, from which its metrics, its log line and its trace are made."""

import contextlib
import dataclasses
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


@dataclasses.dataclass(slots=True)
class RequestRecord:
    """One request: its id, start time, the id of its API key, its rows and stages.

    All methods are thread-safe: several threads may work on the pieces of one stream.
    """

    id: str
    start: float = dataclasses.field(default_factory=time.monotonic)
    key: str | None = None
    rows: int = 0
    stages: list[Stage] = dataclasses.field(default_factory=list)
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock, repr=False)

    def add_rows(self, rows: int) -> None:
        """Add to the number of rows that were read."""
        with self._lock:
            self.rows += rows

    def add_stage(self, name: str, start: float, end: float) -> None:
        """Add a stage; after the first STAGE_LIMIT, stages are dropped."""
        if len(self.stages) < STAGE_LIMIT:
            self.stages.append(Stage(name, start, end))

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body of a `with` statement as a stage, also if it raises."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.add_stage(name, start, time.monotonic())


REQUEST_RECORD: ContextVar[RequestRecord] = ContextVar("request_record")
"""Record of the current request. Other threads do not see it and must be given the record."""


def current_record() -> RequestRecord:
    """The record of the current request, or an unused one outside of requests."""
    return REQUEST_RECORD.get(None) or RequestRecord("")
