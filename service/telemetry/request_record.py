"""What is noted of a request while it is answered; metrics, logs and traces are made of it."""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple

STAGES = 100
"""Stages that are kept of a request: a stream may have millions."""


class Stage(NamedTuple):
    """A part of the work on a request: from when to when, in seconds of `time.monotonic`."""

    name: str
    begin: float
    end: float


@dataclasses.dataclass(slots=True)
class RequestRecord:
    """One request: its id, the id of the key it came with, its rows, and the stages of its work.

    Any thread may add to it, and threads that work on pieces of one stream do so at a time.
    """

    id: str
    begin: float = dataclasses.field(default_factory=time.monotonic)
    key: str | None = None
    rows: int = 0
    stages: list[Stage] = dataclasses.field(default_factory=list)
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock, repr=False)

    def read(self, rows: int) -> None:
        """Note that so many more rows have been read."""
        with self._lock:
            self.rows += rows

    def add_stage(self, name: str, begin: float, end: float) -> None:
        """Note a stage, of those the first STAGES."""
        if len(self.stages) < STAGES:
            self.stages.append(Stage(name, begin, end))

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note how long the body takes, also when it fails."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.add_stage(name, begin, time.monotonic())


REQUEST_RECORD: ContextVar[RequestRecord] = ContextVar("note")
"""The note of the request that is being answered; work on other threads must be given it."""


def current_record() -> RequestRecord:
    """The note of this request; one that nobody reads where no notes are taken."""
    return REQUEST_RECORD.get(None) or RequestRecord("")
