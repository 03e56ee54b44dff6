"""What is noted of a request while it is answered; metrics, logs and traces are made of it."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple


class Stage(NamedTuple):
    """A part of the work on a request: from when to when, in seconds of `time.monotonic`."""

    name: str
    begin: float
    end: float


@dataclasses.dataclass(slots=True)
class Note:
    """One request: its id, the id of the key it came with, its rows, and the stages of its work."""

    id: str
    begin: float = dataclasses.field(default_factory=time.monotonic)
    key: str | None = None
    rows: int = 0
    stages: list[Stage] = dataclasses.field(default_factory=list)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note how long the body takes, also when it fails; any thread may."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.stages.append(Stage(name, begin, time.monotonic()))


NOTE: ContextVar[Note] = ContextVar("note")
"""The note of the request that is being answered; work on other threads must be given it."""


def current_note() -> Note:
    """The note of this request; one that nobody reads where no notes are taken."""
    return NOTE.get(None) or Note("")
