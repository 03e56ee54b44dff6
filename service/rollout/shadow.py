"""Champion and challenger side by side: which labels one asserts and the other does not.

What one model has answered, the other labels as well, on a thread of its own after the answer is
made. Where requests wait, nothing is compared: it is the first work to be dropped.
"""

import collections
import contextlib
import dataclasses
import json
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from labelwright.entities.io.files import write_json
from labelwright.models.decisions import Predictions
from labelwright.models.registry import Model
from labelwright.service.process.thread_priority import lower_priority
from labelwright.service.request import ParsedRequest
from labelwright.service.rollout.manager import Pair
from labelwright.service.rollout.state import CHALLENGER, CHAMPION

Request = TypeVar("Request", bound=ParsedRequest)
Result = TypeVar("Result")
Parse = Callable[[Model], ParsedRequest]
Serialise = Callable[[Model, Request, Predictions], Result]

WAITING = 16
"""Answers that wait to be compared, each with its request; more are dropped."""
ENTITIES = 100
"""Entities of a request that are compared, so that a large one does not hold up the others."""
NICE = 10
"""By how much its thread gives way: twice as much as those that answer."""
PAUSE = 1.0
"""Seconds between two writings of the figures."""
_FILES = "comparison-*.json"


@dataclasses.dataclass
class Counts:
    """What two models have asserted: for each label how often both did, and only one of them.

    `alike` are the entities of which they asserted the same; `dropped` the requests that were not
    compared for want of time, `failed` those that the other model could not answer.
    """

    entities: int = 0
    alike: int = 0
    dropped: int = 0
    failed: int = 0
    both: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    champion: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    challenger: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def add(self, champion: list[set[str]], challenger: list[set[str]]) -> None:
        """Count what was asserted of some entities."""
        for ours, theirs in zip(champion, challenger, strict=True):
            self.entities += 1
            self.alike += ours == theirs
            self.both.update(ours & theirs)
            self.champion.update(ours - theirs)
            self.challenger.update(theirs - ours)

    def merge(self, given: Mapping[str, Any]) -> None:
        """Add the counts of another process."""
        for field in dataclasses.fields(self):
            here = getattr(self, field.name)
            if isinstance(here, collections.Counter):
                here.update(given[field.name])
            else:
                setattr(self, field.name, here + given[field.name])

    def told(self, limit: int) -> dict[str, Any]:
        """The same as JSON has it; labels by disagreement, the greatest first."""
        apart = self.champion + self.challenger
        names = sorted(self.both | apart, key=lambda name: (-apart[name], name))
        return {
            "entities": self.entities,
            "alike": self.alike,
            "dropped": self.dropped,
            "failed": self.failed,
            "labels": [
                {
                    "label": name,
                    "both": self.both[name],
                    "champion_only": self.champion[name],
                    "challenger_only": self.challenger[name],
                }
                for name in names[:limit]
            ],
        }


class Comparison:
    """Counts of one process, kept in a folder beside those of the others."""

    def __init__(self, folder: Path, busy: Callable[[], bool]) -> None:
        self._folder, self._busy = folder, busy
        self._between: Mapping[str, Any] = {}
        self._counts = Counts()
        self._written = 0.0
        self._waiting: queue.Queue[tuple[Pair, Parse, Predictions]] = queue.Queue(WAITING)
        threading.Thread(target=self._work_off, name="comparison", daemon=True).start()

    def compared(
        self, pair: Pair, parse: Parse, serialise: Serialise[Request, Result]
    ) -> Serialise[Request, Result]:
        """`serialise`, followed by a comparison of the predictions in the background."""

        def serialised(model: Model, request: Request, predictions: Predictions) -> Result:
            result = serialise(model, request, predictions)
            self._offer(pair, parse, predictions)
            return result

        return serialised

    def told(self, pair: Pair, limit: int) -> dict[str, Any]:
        """The counts of all processes for two models."""
        between, total = _between(pair), Counts()
        for path in self._folder.glob(_FILES):
            content = json.loads(path.read_bytes())
            if content["between"] == between:
                total.merge(content["counts"])
        return {**between, **total.told(limit)}

    def _offer(self, pair: Pair, parse: Parse, predictions: Predictions) -> None:
        try:
            self._waiting.put_nowait((pair, parse, predictions))
        except queue.Full:
            self._counts.dropped += 1

    def _work_off(self) -> None:
        lower_priority(NICE)
        while True:
            pair, parse, predictions = self._waiting.get()
            if self._between != (between := _between(pair)):
                self._between, self._counts = between, Counts()
            if self._busy():
                self._counts.dropped += 1
            else:
                self._compare(pair, parse, predictions)
            self._keep()

    def _compare(self, pair: Pair, parse: Parse, predictions: Predictions) -> None:
        try:
            request = parse(pair.other)
            few = request.entities.slice(0, ENTITIES)
            other = pair.other.bundle.labeler.label(few, request.query).asserted_names()
        except Exception:  # noqa: BLE001 - whatever it is, the next may do
            self._counts.failed += 1
            return
        answered = predictions.slice(0, len(few)).asserted_names()
        both = (answered, other) if pair.champion_answers else (other, answered)
        self._counts.add(*both)

    def _keep(self) -> None:
        """Write the counts where the other processes find them."""
        if self._waiting.empty() or time.monotonic() - self._written > PAUSE:
            self._written = time.monotonic()
            path = self._folder / _FILES.replace("*", str(os.getpid()))
            with contextlib.suppress(OSError):  # a disk may be full for a while
                write_json(path, {"between": self._between, "counts": vars(self._counts)})


def _between(pair: Pair) -> dict[str, Any]:
    return {CHAMPION: pair.champion.identity, CHALLENGER: pair.challenger.identity}
