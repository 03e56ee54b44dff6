"""Shadow comparison of champion and challenger: the labels that only one of them asserts.

One of the two models responds to a request. After that, a background thread labels the entities
with the other model. While requests wait for compute threads, no request is compared.
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

from typing_extensions import TypedDict  # pydantic needs this TypedDict before Python 3.12

from labelwright.entities.io.files import write_json
from labelwright.models.decisions import Predictions
from labelwright.models.registry import Model
from labelwright.service.process.thread_priority import lower_priority
from labelwright.service.request import ParsedRequest
from labelwright.service.rollout.manager import ModelPair
from labelwright.service.rollout.state import CHALLENGER, CHAMPION

Request = TypeVar("Request", bound=ParsedRequest)
Result = TypeVar("Result")
Parse = Callable[[Model], ParsedRequest]
Serialise = Callable[[Model, Request, Predictions], Result]

QUEUE_LIMIT = 16
"""Maximum number of requests that wait for their comparison; further requests are dropped."""
ENTITY_LIMIT = 100
"""Maximum number of entities compared for one request: others must not wait long."""
NICE = 10
"""Added to the niceness of the comparison thread; twice the value of compute threads."""
SAVE_SECONDS = 1.0
"""Seconds between two writes of the counts while requests are compared."""
_FILES = "comparison-*.json"


class LabelComparison(TypedDict):
    """Numbers of entities for which both models, or only one of them, assert a label."""

    label: str
    both: int
    champion_only: int
    challenger_only: int


class ComparisonCounts(TypedDict):
    """The counts of a comparison as a JSON object."""

    entities: int
    alike: int
    dropped: int
    failed: int
    labels: list[LabelComparison]


@dataclasses.dataclass
class Counts:
    """Numbers of entities for which both models, or only one of them, asserted each label.

    `alike` counts the entities for which both models asserted the same labels. `dropped` counts
    requests that were not compared because other requests waited. `failed` counts requests that
    the compared model failed to label.
    """

    entities: int = 0
    alike: int = 0
    dropped: int = 0
    failed: int = 0
    both: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    champion: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    challenger: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def add(self, champion: list[set[str]], challenger: list[set[str]]) -> None:
        """Count the asserted labels of entities, one set of names for each."""
        for first, second in zip(champion, challenger, strict=True):
            self.entities += 1
            self.alike += first == second
            self.both.update(first & second)
            self.champion.update(first - second)
            self.challenger.update(second - first)

    def merge(self, other: Mapping[str, Any]) -> None:
        """Add the counts in the file of a process."""
        for field in dataclasses.fields(self):
            count = getattr(self, field.name)
            if isinstance(count, collections.Counter):
                count.update(other[field.name])
            else:
                setattr(self, field.name, count + other[field.name])

    def to_json(self, limit: int) -> ComparisonCounts:
        """The counts as a JSON object, with up to `limit` labels, the most disagreements first."""
        differing = self.champion + self.challenger
        names = sorted(self.both | differing, key=lambda name: (-differing[name], name))
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


class ShadowComparison:
    """The comparison in one process; each process of a service saves its counts in `folder`.

    While `is_busy` returns true, requests are not compared but counted as dropped.
    """

    def __init__(self, folder: Path, is_busy: Callable[[], bool]) -> None:
        self._folder, self._is_busy = folder, is_busy
        self._identities: Mapping[str, Any] = {}
        self._counts = Counts()
        self._saved_at = 0.0
        self._waiting: queue.Queue[tuple[ModelPair, Parse, Predictions]] = queue.Queue(QUEUE_LIMIT)
        threading.Thread(target=self._run, name="comparison", daemon=True).start()

    def comparing(
        self, pair: ModelPair, parse: Parse, serialise: Serialise[Request, Result]
    ) -> Serialise[Request, Result]:
        """A function that calls `serialise`, then queues the predictions for comparison."""

        def serialised(model: Model, request: Request, predictions: Predictions) -> Result:
            result = serialise(model, request, predictions)
            self._enqueue(pair, parse, predictions)
            return result

        return serialised

    def drop(self) -> None:
        """Count a request that is not compared."""
        self._counts.dropped += 1

    def counts(self, pair: ModelPair, limit: int) -> ComparisonCounts:
        """The sums of the counts of all processes for a pair of models, as a JSON object."""
        identities, total = _identities(pair), Counts()
        for path in self._folder.glob(_FILES):
            content = json.loads(path.read_bytes())
            if content["between"] == identities:
                total.merge(content["counts"])
        return total.to_json(limit)

    def _enqueue(self, pair: ModelPair, parse: Parse, predictions: Predictions) -> None:
        try:
            self._waiting.put_nowait((pair, parse, predictions))
        except queue.Full:
            self._counts.dropped += 1

    def _run(self) -> None:
        lower_priority(NICE)
        while True:
            pair, parse, predictions = self._waiting.get()
            if self._identities != (identities := _identities(pair)):
                self._identities, self._counts = identities, Counts()
            if self._is_busy():
                self._counts.dropped += 1
            else:
                self._compare(pair, parse, predictions)
            self._save()

    def _compare(self, pair: ModelPair, parse: Parse, predictions: Predictions) -> None:
        try:
            request = parse(pair.compared)
            entities = request.entities.slice(0, ENTITY_LIMIT)
            predicted = pair.compared.bundle.labeler.label(entities, request.query)
            compared = predicted.asserted_names()
        except Exception:  # noqa: BLE001 - the next request may succeed
            self._counts.failed += 1
            return
        responded = predictions.slice(0, len(entities)).asserted_names()
        if pair.champion_responds:
            self._counts.add(champion=responded, challenger=compared)
        else:
            self._counts.add(champion=compared, challenger=responded)

    def _save(self) -> None:
        """Write the counts to `folder` if no request waits or SAVE_SECONDS have passed."""
        if self._waiting.empty() or time.monotonic() - self._saved_at > SAVE_SECONDS:
            self._saved_at = time.monotonic()
            path = self._folder / _FILES.replace("*", str(os.getpid()))
            with contextlib.suppress(OSError):  # the disk may be full for a while
                write_json(path, {"between": self._identities, "counts": vars(self._counts)})


def _identities(pair: ModelPair) -> dict[str, Any]:
    return {CHAMPION: pair.champion.identity, CHALLENGER: pair.challenger.identity}
